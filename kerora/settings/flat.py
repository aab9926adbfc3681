"""Settings by the names of their options, without their groups: ``epochs`` for ``training.epochs``."""

from collections.abc import Collection, Mapping
from typing import Any

from kerora.errors import ConfigError, nearest
from kerora.settings.base import Settings
from kerora.settings.fit import FitConfig
from kerora.settings.foreign import own_name
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
        ConfigError: a name is unknown (the error gives the nearest one), or is that of several settings.
    """
    known = by_option(root)
    groups = {item.path.partition(".")[0] for item in settings(root) if "." in item.path}
    paths: dict[str, Any] = {}
    for name, value in given.items():
        if "." in name or (name in groups and isinstance(value, Mapping | Settings)):
            paths |= flatten({name: value}, root=root)
        elif name in known:
            if len(known[name]) > 1:
                choices = " or ".join(f"'{item.path}'" for item in known[name])
                raise ConfigError(f"{call}: '{name}' is the name of several settings. Give {choices} as a dict.")
            paths[known[name][0].path] = value
        else:
            names = {*known, *others}
            own = own_name(name, names)
            hint = f" Here it is '{own}'." if own else nearest(name, names)
            raise ConfigError(f"{call} has no setting '{name}'.{hint} `kerora init` writes a file with every setting.")
    return paths
