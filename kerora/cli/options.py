"""Options that are derived from the settings and shared by the commands."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from kerora.fast.lean_import import import_keras_lean
from kerora.runfolder import RunFolder
from kerora.settings.base import Settings
from kerora.settings.fit import FitConfig
from kerora.settings.headings import heading_of
from kerora.settings.language import Sampling
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import Setting, load_yaml, parse_assignment, resolve, settings

# The names of parameters must be identifiers, so a dotted path has "__" for each dot. The prefix keeps the settings
# apart from the options of a command, such as "run" as an argument and as a setting.
_PREFIX = "setting__"
Command = Callable[..., Any]


class SettingOption(click.Option):
    """An option of a setting.

    Args:
        heading: the heading above the option in the help.
        *args: as in `click.Option`.
        **kwargs: as in `click.Option`.
    """

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class SettingsCommand(click.Command):
    """A command whose help lists its own options first, and then the settings under the headings of the docs."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by heading."""
        # "Options" comes first, because the options of the command itself are few and used most.
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def setting_options(
    *prefixes: str, leave_out: tuple[str, ...] = (), root: type[Settings] = FitConfig
) -> Callable[[Command], Command]:
    """Add an option for every setting whose dotted path starts with one of `prefixes`.

    Args:
        prefixes: such as ``"data."``; ``""`` takes all.
        leave_out: dotted paths to leave out.
        root: the class of the settings: `FitConfig` or `PretrainConfig`.
    """

    def decorate(function: Command) -> Command:
        chosen = [item for item in settings(root) if item.path.startswith(prefixes) and item.path not in leave_out]
        for item in reversed(chosen):  # the help lists the option that is applied last first
            function = _option(item, heading_of(item.path, root))(function)
        return function

    return decorate


def config_options(function: Command) -> Command:
    """Add ``--config FILE`` and the repeatable ``--set KEY=VALUE``."""
    function = click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set any setting by its key. Overrides options and --config.",
    )(function)
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option("--config", "config_file", type=path, help="YAML file with settings. Options override it.")(
        function
    )


def sampling_options(temperature: float | None = None) -> Callable[[Command], Command]:
    """Add the options of `Sampling`.

    Args:
        temperature: default in place of the default of the setting.
    """

    def decorate(function: Command) -> Command:
        function = click.option(
            "--stop", "stops", multiple=True, help="Text that ends a continuation. Can be repeated."
        )(function)
        # --stop is not split at commas, unlike lists of settings: a stop text can hold one.
        for item in reversed([item for item in settings(Sampling) if item.path != "stop"]):
            # The help must show the default of the command, not that of the setting.
            if item.path == "temperature" and temperature is not None:
                item = dataclasses.replace(item, default=temperature)
            function = _option(item, heading_of(item.path, Sampling))(function)
        return function

    return decorate


def abstain_options(function: Command) -> Command:
    """Add the options that withhold answers of a low probability; see `kerora.tasks.abstention`."""
    function = click.option(
        "--target-accuracy",
        type=float,
        metavar="NUMBER",
        help="Withhold answers so that the others have at least this accuracy (0 to 1) with 95 % confidence. The "
        "validation rows of the run give the threshold.",
    )(function)
    return click.option(
        "--abstain-below",
        type=float,
        metavar="NUMBER",
        help="Withhold the answer of a row whose score is below this probability (0 to 1).",
    )(function)


def sampling_of(values: Mapping[str, Any], **defaults: Any) -> Sampling:
    """Return the `Sampling` of the given options.

    Args:
        values: the values of the options.
        **defaults: defaults in place of the defaults of the settings.
    """
    names = {item.path for item in settings(Sampling)}
    given = {name: value for name, value in collect(values).items() if name in names}
    return Sampling(**{**defaults, **given, "stop": tuple(values.get("stops", ()))})


def collect(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user gave as options, by dotted path."""
    given = {
        name.removeprefix(_PREFIX).replace("__", "."): value
        for name, value in values.items()
        # Not given: click has None for single options, and an empty tuple for repeated ones.
        if name.startswith(_PREFIX) and value not in (None, ())
    }
    # One value is a list of names as in CSV. Repeated, each value is one name, which may hold a comma.
    return {key: value[0] if isinstance(value, tuple) and len(value) == 1 else value for key, value in given.items()}


def resolve_options(values: Mapping[str, Any]) -> FitConfig:
    """Resolve defaults < ``--config`` < options < ``--set``."""
    return resolve(*_layers(values, FitConfig))


def resolve_pretrain_options(values: Mapping[str, Any]) -> PretrainConfig:
    """Resolve the settings of a pre-training in the same order."""
    return resolve(*_layers(values, PretrainConfig), root=PretrainConfig)


def _layers(values: Mapping[str, Any], root: type[Settings]) -> list[dict[str, Any]]:
    layers = [load_yaml(values["config_file"], root)] if values.get("config_file") else []
    return [*layers, collect(values), *(parse_assignment(text, root) for text in values.get("assignments", ()))]


def _option(item: Setting, heading: str) -> Callable[[Command], Command]:
    def option(*names: str, **facts: Any) -> Callable[[Command], Command]:
        return click.option(*names, cls=SettingOption, heading=heading, **facts)

    name = _PREFIX + item.path.replace(".", "__")
    kind = _plain_type(item.type)
    # The option itself has the default None: a value is then always the user's, and --config is not overridden.
    help = f"{item.help} [default: {_show(item.default)}]" if item.default not in (None, ()) else item.help
    # default=None: click would else give False, which would override a true value of --config.
    if kind is bool:
        return option(f"{item.option}/--no-{item.option[2:]}", name, default=None, help=help)
    many = typing.get_origin(kind) is tuple
    # A list of choices is one value with commas, so the settings check it.
    if item.choices and not many:
        return option(item.option, name, type=click.Choice(item.choices), help=help)
    metavar = {int: "INTEGER", float: "NUMBER"}.get(kind, "TEXT")
    # click reports a wrong number with the name of the option. Other types are checked by the settings.
    click_type = kind if kind in (int, float) else str
    return option(item.option, name, type=click_type, metavar=metavar, help=help, multiple=many)


def _plain_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) is types.UnionType:
        annotation = next(arm for arm in typing.get_args(annotation) if arm is not type(None))
    return annotation


def _show(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return ",".join(default) if isinstance(default, tuple) else str(default)


def import_models(*runs: str) -> None:
    """Check that the run folders exist, then import Keras. The import takes seconds, so faults come first.

    Raises:
        RunError: a folder is not a run.
    """
    for run in runs:
        RunFolder.open(run)
    import_keras_lean()
