"""Messages name the options of the command line. For a script, this module names the arguments of Python instead."""

import functools
import re
from collections.abc import Mapping

from kerora.settings.flat import by_option
from kerora.settings.language import Sampling
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import Setting
from kerora.settings.tune import TuneConfig

# Options that are no settings, with the names of the arguments of `kerora.predict`, `kerora.export`, `kerora.fit`, ...
ARGUMENTS = {
    **{name: name for name in ("config", "resume", "output", "fill", "weights")},
    "output-format": "form",
}
FLAGS = ("force", "submission")
EXPORTS = ("peft", "keras", "transformers", "onnx", "kerora")
"""Values of the option ``--format`` of an export, which is no setting and has the name ``form`` in Python."""
# A message can hold a whole command, as a remedy: it stays.
_COMMAND = r"`(?:kerora|pip|uv|python|wandb|mlflow) [^`]*`|\b(?:kerora|pip|uv) [a-z]+ .*?(?=, or |\. [A-Z]|\.?$)"
_OPTION = r"""(?<![\w/.'"-])--(?P<no>no-)?(?P<name>[a-z][a-z-]*[a-z])"""
_VALUE = r"""(?: (?P<value>'[^']*'|"[^"]*"|(?!--|\()[^\s;`]*[^\s;`.,:)?!]))?"""
_WORDS = re.compile(f"(?P<command>{_COMMAND})|{_OPTION}{_VALUE}", re.DOTALL)
# A lower-case word after an option is a part of the sentence, not a value.
_PROSE = re.compile(r"[a-z]+")
_PLAIN = re.compile(r"'.*'|\".*\"|-?\d[\d.e-]*|[A-Z][A-Z_]*", re.DOTALL)


def in_python(text: str, renamed: Mapping[str, str] | None = None) -> str:
    """Return a message with arguments in place of options: ``label=`` for ``--label``.

    A value is kept: ``--encoding cp1252`` becomes ``encoding='cp1252'``. Commands and options that Python does not have
    stay.

    Args:
        text: the message.
        renamed: names of arguments where they are not those of the options.
    """
    return _WORDS.sub(lambda found: _argument(found, renamed or {}), text)


def _argument(found: re.Match[str], renamed: Mapping[str, str]) -> str:
    whole, option, value = found.group(), found["name"], found["value"]
    if found["command"] is not None:
        return whole
    after = whole[whole.index(option) + len(option) :]
    if option == "set" and value is not None and "=" in value:
        key, _, content = value.strip("'\"").partition("=")
        return f"{key.rpartition('.')[2]}={content!r}"
    items = _settings().get(option.replace("-", "_"), ())
    name = ARGUMENTS.get(option) or option.replace("-", "_")
    if not items and option not in ARGUMENTS and option not in FLAGS:
        return whole
    name = renamed.get(name, name)
    if option in FLAGS or any(item.type is bool for item in items):
        return f"{name}={found['no'] is None}{after}"
    if option == "format" and value in EXPORTS:
        return f"form={value!r}"
    choices = [choice for item in items for choice in item.choices]
    if value is None or (_PROSE.fullmatch(value) and value not in choices):
        return f"{name}={after}"
    return f"{name}={value if _PLAIN.fullmatch(value) else repr(value)}"


@functools.cache
def _settings() -> dict[str, list[Setting]]:
    """Return all settings by the name of their option with ``_`` between words."""
    found = by_option()
    for root in (TuneConfig, PretrainConfig, Sampling):
        for name, items in by_option(root).items():
            found.setdefault(name, []).extend(items)
    return found
