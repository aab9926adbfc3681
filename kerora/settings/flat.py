"""Settings by the names of their options, without their groups: ``epochs`` for ``training.epochs``."""

from collections.abc import Collection, Mapping
from typing import Any

from kerora.errors import ConfigError, nearest
from kerora.settings.base import Settings
from kerora.settings.fit import FitConfig
from kerora.settings.foreign import ABSENT, own_name
from kerora.settings.resolve import Setting, flatten, settings


def by_option(root: type[Settings] = FitConfig) -> dict[str, list[Setting]]:
    """Return the settings by the name of their option with ``_`` between words: ``batch_size``, ``data``."""
    found: dict[str, list[Setting]] = {}
    for item in settings(root):
        found.setdefault(item.option[2:].replace("-", "_"), []).append(item)
    return found


def from_flat(
    given: Mapping[str, Any], root: type[Settings] = FitConfig, others: Collection[str] = (), call: str = "kerora.fit"
) -> dict[str, Any]:
    """Return settings by dotted path.

    Args:
        given: values by the name of the option, by dotted path, or by group (``training={"epochs": 1}``).
        root: the class of the settings.
        others: further names that the call accepts, for the message.
        call: the call, for the message.

    Raises:
        ConfigError: a name is unknown (the error gives the nearest one) or is that of several settings, or a
            setting is given twice.
    """
    known = by_option(root)
    groups = {item.path.partition(".")[0] for item in settings(root) if "." in item.path}
    paths: dict[str, Any] = {}
    for name, value in given.items():
        if "." in name or (name in groups and isinstance(value, Mapping | Settings)):
            found = flatten({name: value}, root=root)
        elif name not in known:
            raise _unknown(name, {*known, *others}, call)
        elif len(known[name]) > 1:
            choices = " or ".join(f"'{item.path}'" for item in known[name])
            raise ConfigError(f"{call}: '{name}' is the name of several settings. Give {choices} as a dict.")
        else:
            found = {known[name][0].path: value}
        twice = next((path for path in found if path in paths), None)
        if twice is not None:
            raise ConfigError(f"{call}: '{twice}' is given twice. Leave one of the two out.")
        paths |= found
    return paths


def _unknown(name: str, names: Collection[str], call: str) -> ConfigError:
    own = own_name(name, names)
    if own is None and name in ABSENT:
        return ConfigError(f"{call} has no setting '{name}'. {ABSENT[name]}")
    hint = f" Here it is '{own}'." if own else nearest(name, names)
    return ConfigError(f"{call} has no setting '{name}'.{hint} `kerora init` writes a file with every setting.")
