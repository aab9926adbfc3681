"""README and docs tell the truth: commands parse, tours and Python run, tables are the code's."""

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from kerora.cli.main import COMMANDS, group, run
from kerora.data import sources
from tests.contracts.pages import (
    CLASSIFY,
    DOCS,
    PAGES,
    PYTHON,
    QUICKSTART,
    README,
    ROOT,
    blocks,
    console_lines,
    kerora_calls,
    printed_file,
    shell_lines,
)
from tests.options_table import between, tables

# what running text names without being a command of its own
BENCHMARK_OPTIONS = {"--seeds", "--only"}
NAMED_PRESET = "distil_bert_base_en_uncased"
# enough to write a whole run folder, too little to learn anything
SHORT = ["--max-steps", "4", "--max-length", "32", "--quiet"]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
CALLS = {
    name: [call for call, _ in kerora_calls([*shell_lines(text), *console_lines(text)])] for name, text in TEXTS.items()
}


def parse(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> None:
    """Let click read a call without doing it."""
    if isinstance(command, click.Group) and not arguments[0].startswith("-"):
        context = click.Context(command, parent=parent, info_name=command.name)
        _, inner, rest = command.resolve_command(context, arguments)
        assert inner is not None
        parse(inner, rest, context)
    else:
        command.make_context(command.name, list(arguments), parent=parent)


def test_the_pages_show_many_calls_of_every_command() -> None:
    calls = [call for found in CALLS.values() for call in found]
    assert len(calls) >= 80
    assert {call[0] for call in calls if not call[0].startswith("-")} == set(COMMANDS)


@pytest.mark.parametrize("name", TEXTS)
def test_every_call_parses(name: str) -> None:
    for arguments in CALLS[name]:
        try:
            parse(group, arguments)
        except click.exceptions.Exit as request:
            assert request.exit_code == 0
        except click.UsageError as error:
            pytest.fail(f"kerora {' '.join(arguments)}: {error.message}")


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse(group, ["fit", "--rnak", "8"])
    with pytest.raises(click.UsageError):
        parse(group, ["data", "shwo", "tickets"])


@pytest.mark.parametrize("name", TEXTS)
def test_commands_outside_blocks_and_their_options_exist(name: str) -> None:
    """What stands in running text between backticks."""
    context = click.Context(group)
    prose = re.sub(r"^```.*?^```$", "", TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    for text in re.findall(r"`kerora (\w[^`]*)`", prose):
        word = text.split()[0]
        assert word == "COMMAND" or group.get_command(context, word) is not None, text
    known = {name for command in COMMANDS for name in options_of(group.get_command(context, command))}
    known |= {"--help", "--version"} | BENCHMARK_OPTIONS
    for option in re.findall(r"`(--[a-z][\w-]*)", prose):
        assert option in known, option


def options_of(command: click.Command | None) -> set[str]:
    assert command is not None
    if isinstance(command, click.Group):
        return {name for inner in command.commands.values() for name in options_of(inner)}
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_the_tables_of_options_are_those_of_the_code() -> None:
    page = TEXTS["options.md"]
    for mark, table in tables().items():
        marked = between(mark).search(page)
        assert marked, mark
        assert marked[1] == table, "run python -m tests.options_table"


def test_the_table_of_commands_is_complete() -> None:
    listed = re.findall(r"^\| `kerora (\w+)", TEXTS["commands.md"], re.MULTILINE)
    assert list(dict.fromkeys(listed)) == list(COMMANDS)


def test_named_files_exist() -> None:
    for name, text in TEXTS.items():
        for path in re.findall(r"`((?:configs|examples|tests|benchmarks|kerora|docs)/[\w./-]+\.\w+)`", text):
            assert (ROOT / path).is_file(), (name, path)


def test_no_page_names_a_path_of_a_developer() -> None:
    for name, text in TEXTS.items():
        assert not re.search(r"/(work|tmp|root|home|Users)/", text), name


@pytest.fixture
def few_messages(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave every sixth of the bundled messages: a page must run, and need not learn anything."""
    lines = sources.BUNDLED_FILE.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path_factory.mktemp("messages") / sources.BUNDLED_FILE.name
    path.write_text("".join(lines[::6]), encoding="utf-8")
    monkeypatch.setattr(sources, "BUNDLED_FILE", path)


@pytest.mark.usefixtures("few_messages")
@pytest.mark.parametrize("text", [QUICKSTART, README, CLASSIFY], ids=["quickstart.md", "README.md", "classify.md"])
def test_the_tours_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line of a `console` block runs in order, the fits cut short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    lines = console_lines(text)
    assert len(lines) >= 3
    for line in lines:
        written = printed_file(line) if line.startswith("printf") else None
        if written:
            (tmp_path / written[0]).write_text(written[1], encoding="utf-8")
            continue
        ((arguments, piped),) = kerora_calls([line])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(piped.encode()), isatty=lambda: False))
        extra = SHORT if arguments[0] == "fit" else []
        assert run([*arguments, *extra]) == 0, (arguments, capsys.readouterr().err)


@pytest.mark.usefixtures("few_messages")
@pytest.mark.parametrize("text", [README, PYTHON], ids=["README.md", "python.md"])
def test_the_python_runs(text: str, tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    code = blocks(text, "python")
    assert code
    for block in code:
        source = block.replace(f'"{NAMED_PRESET}"', repr(str(tiny_preset))).replace("epochs=3", "epochs=1")
        exec(compile(source, "page.md", "exec"), namespace)


def test_blocks_of_code_have_a_language() -> None:
    for name, text in TEXTS.items():
        fences = re.findall(r"^```(\w*)$", text, re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "console", "python", "py", "yaml", "xml"} and set(fences[1::2]) <= {""}, name
    assert DOCS.is_dir()
