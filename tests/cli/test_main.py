"""Exit codes, one line for every refusal, tracebacks only on demand, closed and full outputs."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from kerora.cli.main import COMMANDS, run
from kerora.errors import DataError, Interrupted
from kerora.version import __version__
from tests.cli.conftest import Kerora, start
from tests.conftest import ROOT


def test_help_and_version(kerora: Kerora) -> None:
    bare, asked = kerora(), kerora("--help")
    assert (bare.code, asked.code) == (0, 0)
    assert bare.out == asked.out == kerora("-h").out
    assert all(f"\n  {name} " in asked.out for name in COMMANDS)
    assert kerora("--version").out == f"kerora, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_of_its_options(kerora: Kerora, name: str) -> None:
    answer = kerora(name, "--help")
    assert answer.code == 0 and answer.out.startswith(f"Usage: kerora {name}") and answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute", "x"], "No such command 'evalute'. Did you mean 'evaluate'? See: kerora --help"),
        (["xyzzy"], "No such command 'xyzzy'. See: kerora --help"),
        (["fit", "--learning-rat", "3"], "No such option '--learning-rat'. Did you mean '--learning-rate'?"),
        (["fit", "--rank"], "Option '--rank' requires an argument. See: kerora"),
        (["fit", "--rank", "many"], "Invalid value for '--rank': 'many' is not a valid integer. See: kerora fit"),
        (["fit", "--schedule", "cosin"], "'cosin' is not one of 'cosine', 'linear', 'constant'. See: kerora fit"),
        (["fit", "rows.csv"], "Got unexpected extra argument (rows.csv). Name data with --data. See: kerora"),
        (["predict"], "Missing argument 'RUN'. See: kerora predict --help"),
        (["data", "shwo"], "No such command 'shwo'."),
        (["--nonsense"], "No such option '--nonsense'. See: kerora --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(kerora: Kerora, arguments: list[str], message: str) -> None:
    # click words some of these differently from version to version, but for the quotes
    assert message.replace("'", "") in kerora(*arguments).error.replace("'", "")


@pytest.mark.parametrize(
    ("command", "given", "own"),
    [
        ("fit", "--lr", "--learning-rate"),
        ("fit", "--model", "--preset"),
        ("fit", "--lora-r", "--rank"),
        ("fit", "--lora_alpha", "--alpha"),
        ("fit", "--gradient-accumulation-steps", "--accumulate"),
        ("fit", "--per_device_train_batch_size", "--batch-size"),
        ("fit", "--output_dir", "--run"),
        ("tune", "--max-seq-length", "--max-length"),
        ("tune", "--n-trials", "--trials"),
        ("evaluate", "--test-file", "--test"),
        ("predict", "--text-column", "--text"),
        ("generate", "--max-new-tokens", "--max-tokens"),
        ("export", "--output-dir", "--output"),
        ("pretrain", "--num-train-epochs", "--epochs"),
    ],
)
def test_names_of_other_tools_are_answered_with_the_own_name(
    kerora: Kerora, command: str, given: str, own: str
) -> None:
    assert f"Here it is {own}." in kerora(command, given, "3").error


def test_a_name_of_another_tool_is_not_answered_where_the_command_has_no_such_option(kerora: Kerora) -> None:
    assert "Here it is" not in kerora("report", "--lora-r", "3").error


@pytest.mark.parametrize("name", ["fit", "tune", "pretrain", "evaluate", "generate"])
def test_help_has_the_headings_of_the_docs(kerora: Kerora, name: str) -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    found = [line[:-1] for line in kerora(name, "--help").out.splitlines() if line and line[0] != " "][1:]
    assert found[0] == "Options" and len(found) > 1
    assert all(f"| **{heading}** |" in page or heading == "Sampling" for heading in found[1:])


@pytest.mark.parametrize("arguments", [["--debug", "evaluate", "nowhere"], ["evaluate", "nowhere", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(kerora: Kerora, arguments: list[str]) -> None:
    answer = kerora(*arguments)
    assert answer.code == 2 and "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("Error: There is no run folder at nowhere.")
    assert "Traceback" not in kerora("evaluate", "nowhere").error


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `kerora init` raise an error."""

    @click.command("init")
    def command() -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("kerora.cli.init"), "command", command)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("two\n lines"), 2, "Error: two lines\n"),
        (Interrupted("stopped", signal.SIGTERM), 143, "Error: stopped\n"),
        (KeyboardInterrupt(), 130, "Error: Interrupted.\n"),
        (OSError(28, "No space left on device"), 2, "Error: Output: No space left on device. Free space or write"),
        (PermissionError(13, "Permission denied", "a.csv"), 2, "Error: a.csv: Permission denied. Change its perm"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_exit_codes(
    kerora: Kerora, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    monkeypatch.setattr("kerora.cli.main._discard_output", lambda: None)
    raising(error, monkeypatch)
    answer = kerora("init")
    assert answer.code == code and answer.err.startswith(message) and answer.err.count("\n") == bool(message)


@pytest.mark.parametrize("error", [ValueError("broken"), EOFError("cut"), OSError(5, "Input/output error")])
def test_a_bug_shows_its_traceback_and_exits_1(
    kerora: Kerora, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    raising(error, monkeypatch)
    answer = kerora("init")
    assert answer.code == 1 and "Traceback" in answer.err
    assert answer.err.endswith("Error: This is a bug in Kerora. The traceback above shows the place.\n")


def test_sigterm_unwinds_and_its_handler_is_put_back(kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)

    @click.command("init")
    def command() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(importlib.import_module("kerora.cli.init"), "command", command)
    assert kerora("init").code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_python_dash_m_and_shell_completion() -> None:
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kerora"]
    done = subprocess.run([*command, "fti"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("Error: No such command 'fti'. Did you mean 'fit'?")
    environment |= {"_KERORA_COMPLETE": "bash_complete", "COMP_WORDS": "kerora ev", "COMP_CWORD": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "plain,evaluate\n"


def test_closed_and_full_outputs(tmp_path: Path) -> None:
    """`kerora ... | head` is no error to talk about, a full disk is one line."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start("--help", stdout=writer)
    os.close(writer)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (141, b"")
    with open("/dev/full", "wb") as full:
        process = start("--help", stdout=full)
        _, errors = process.communicate()
    assert process.returncode == 2
    assert errors == b"Error: Output: No space left on device. Free space or write elsewhere.\n"


def test_run_works_outside_the_main_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        assert pool.submit(run, ["--version"]).result() == 0
