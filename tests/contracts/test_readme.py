"""The README tells the truth: its commands parse, its tour and its Python run, its tables are the code's."""

import io
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from kerora.cli.main import COMMANDS, group, run
from kerora.config import FitConfig, PretrainConfig
from kerora.settings.tune import TuneConfig
from tests.conftest import ROOT
from tests.options_table import options_table

README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMED_PRESET = "distil_bert_base_en_uncased"
Call = tuple[list[str], str]
# enough to write a whole run folder, too little to learn anything
SHORT = ["--max-steps", "4", "--max-length", "32", "--quiet"]


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {title!r}"
    return found[1]


def blocks(text: str, *languages: str) -> list[str]:
    return [
        body
        for language, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if language in languages
    ]


def command_lines(text: str) -> list[str]:
    """Return the shell lines: all of an `sh` block, those behind `$` of a `console` block."""
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    return lines


def kerora_calls(text: str) -> list[Call]:
    """Return each kerora call with what `echo` pipes into it."""
    calls = []
    for line in command_lines(text):
        piped = ""
        for part in line.split(" | "):
            words = shlex.split(part, comments=True)
            if words[:1] == ["echo"]:
                piped = words[1]
            elif words[:1] == ["kerora"]:
                calls.append((words[1:], piped))
    return calls


def parse(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> None:
    """Let click read a call without doing it."""
    if isinstance(command, click.Group) and not arguments[0].startswith("-"):
        context = click.Context(command, parent=parent, info_name=command.name)
        _, inner, rest = command.resolve_command(context, arguments)
        assert inner is not None
        parse(inner, rest, context)
    else:
        command.make_context(command.name, list(arguments), parent=parent)


ALL_CALLS = kerora_calls(README)


def test_the_readme_shows_many_calls_of_every_command() -> None:
    assert len(ALL_CALLS) >= 15
    assert {arguments[0] for arguments, _ in ALL_CALLS if not arguments[0].startswith("-")} == set(COMMANDS)


@pytest.mark.parametrize("arguments", [call for call, _ in ALL_CALLS], ids=" ".join)
def test_every_call_parses(arguments: list[str]) -> None:
    try:
        parse(group, arguments)
    except click.exceptions.Exit as request:
        assert request.exit_code == 0


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse(group, ["fit", "--rnak", "8"])
    with pytest.raises(click.UsageError):
        parse(group, ["data", "shwo", "tickets"])


def test_the_tables_of_options_are_those_of_the_settings() -> None:
    for mark, root in (("options", FitConfig), ("pretrain options", PretrainConfig), ("tune options", TuneConfig)):
        marked = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", README, re.DOTALL)
        assert marked
        assert marked[1].strip() == options_table(root), "run tests/options_table.py and paste what it prints"


def test_the_table_of_commands_is_complete() -> None:
    listed = re.findall(r"^\| `kerora (\w+)", section("Commands"), re.MULTILINE)
    assert list(dict.fromkeys(listed)) == list(COMMANDS)


def test_named_files_exist() -> None:
    for name in re.findall(r"`((?:configs|examples|tests|benchmarks|kerora)/[\w./-]+\.\w+)`", README):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (ROOT / name).exists(), name


def test_the_readme_names_no_path_of_a_developer() -> None:
    assert not re.search(r"/(work|tmp|root|home|Users)/", README)


def test_the_tour_and_the_python_run(
    tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for arguments, piped in kerora_calls(section("A five-minute tour")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(piped.encode()), isatty=lambda: False))
        extra = SHORT if arguments[0] == "fit" else []
        assert run([*arguments, *extra]) == 0, (arguments, capsys.readouterr().err)
    assert (tmp_path / "runs" / "tickets" / "report" / "report.html").is_file()
    namespace: dict[str, object] = {}
    for block in blocks(section("Python"), "python"):
        source = block.replace(f'"{NAMED_PRESET}"', repr(str(tiny_preset))).replace("epochs=3", "epochs=1")
        exec(compile(source, "README.md", "exec"), namespace)
