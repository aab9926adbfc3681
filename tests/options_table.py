"""Makes the tables of docs/options.md from the settings in kerora/settings and the commands in kerora/cli.

    python -m tests.options_table

replaces what lies between the marks, such as `<!-- options -->` and `<!-- /options -->`.
"""

import re
from itertools import groupby

import click

from kerora.cli.main import COMMANDS, group
from kerora.config import FitConfig, PretrainConfig, Setting, settings
from kerora.settings.base import Settings
from kerora.settings.headings import heading_of
from kerora.settings.language import Sampling
from kerora.settings.tune import TuneConfig
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "options.md"
# options that `setting_options` makes; the tables of settings hold them
SETTING = "setting__"


def options_table(root: type[Settings] = FitConfig) -> str:
    """Return the table as Markdown: option, key of the YAML file, default, meaning."""
    lines = ["| option | key | default | meaning |", "|---|---|---|---|"]
    for heading, items in groupby(settings(root), key=lambda item: heading_of(item.path, root)):
        lines.append(f"| **{heading}** | | | |")
        lines += [_line(item) for item in items]
    return "\n".join(lines)


def commands_table() -> str:
    """Return the options that are no settings, by command, and which groups of settings a command takes."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        for path, leaf in _leaves(f"kerora {name}", command):
            lines.append(f"| **`{path}`** | | |")
            lines += [_command_line(option) for option in leaf.params if _is_own(option)]
    return "\n".join(lines)


def sampling_table() -> str:
    """Return the options of `kerora generate` and `kerora chat` that choose the next token."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for item in settings(Sampling):
        lines.append(f"| `{item.option}` | {_default(item.default)} | {_escaped(item.help)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return every table of docs/options.md by its mark."""
    return {
        "options": options_table(),
        "pretrain options": options_table(PretrainConfig),
        "tune options": options_table(TuneConfig),
        "sampling options": sampling_table(),
        "command options": commands_table(),
    }


def between(mark: str) -> re.Pattern[str]:
    """Return the pattern of what lies between two marks; the table is its group 1."""
    return re.compile(rf"(?<=<!-- {mark} -->\n)(.*?)(?=\n<!-- /{mark} -->)", re.DOTALL)


def _leaves(path: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [(f"{path} {name}", inner) for name, inner in command.commands.items()]


def _is_own(parameter: click.Parameter) -> bool:
    elsewhere = str(parameter.name).startswith(SETTING) or parameter.name in ("stops", "debug")
    return isinstance(parameter, click.Option) and not elsewhere


def _command_line(parameter: click.Parameter) -> str:
    assert isinstance(parameter, click.Option)
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    required = "required" if parameter.required else ""
    shown = f"`{parameter.default}`" if parameter.show_default else required
    choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
    return f"| {names} | {shown} | {_escaped(parameter.help or '')}{_one_of(choices)} |"


def _line(item: Setting) -> str:
    is_flag = item.type in (bool, bool | None)
    option = f"`{item.option}`, `--no-{item.option[2:]}`" if is_flag else f"`{item.option}`"
    return f"| {option} | `{item.path}` | {_default(item.default)} | {_escaped(item.help)}{_one_of(item.choices)} |"


def _one_of(choices: object) -> str:
    names = ", ".join(f"`{choice}`" for choice in choices or ())  # type: ignore[attr-defined]
    return f" One of {names}." if names else ""


def _escaped(text: str) -> str:
    # Two brackets in a row would be a link in Markdown.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("][", "]\\[")


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def write_page() -> None:
    """Put the tables into docs/options.md."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, table in tables().items():
        text = between(mark).sub(lambda _, table=table: table, text)  # type: ignore[misc]
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page()
