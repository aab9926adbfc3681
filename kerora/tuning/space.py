"""Search spaces: the searched settings of a fit, their values and their conditions.

A space is a mapping of settings to ranges, in a YAML file or in Python:

    lora.rank: [4, 8, 16]                                            # one of these
    lora.dropout: {low: 0.0, high: 0.2, step: 0.05}                  # a number, here in steps
    training.learning_rate: {low: 1e-4, high: 5e-3, log: true}       # a number on a log scale
    training.warmup: {low: 0.0, high: 0.2, when: {training.schedule: [cosine, linear]}}

If a condition does not hold, the setting keeps the value that it has without a search. Keys may be
nested by group as in a config, or names of options: ``rank: [4, 8, 16]``. Every value is checked with
the type and the range of its setting.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml

from kerora.errors import ConfigError, nearest
from kerora.settings.fit import FitConfig
from kerora.settings.flat import by_option
from kerora.settings.resolve import Setting, resolve, settings, to_dict

BUNDLED = Path(__file__).with_name("spaces")
RANGE_KEYS = ("low", "high", "step", "log", "choices", "when")
Value = None | bool | int | float | str
"""A value as Optuna stores it. A list of names is text with commas, because Optuna has no lists."""

_SAME_ROWS = "it changes the scored rows, so scores could not be compared"
_NOT_SEARCHED = {
    "run": "it names an output",
    "runs_dir": "it names an output",
    "training.seed": "it also changes the validation rows; use --repeats for several seeds",
    "training.save_steps": "it does not change the result",
    "language.samples": "it does not change the result",
    "language.sample_tokens": "it does not change the result",
    "training.calibrate": "the scores of a search are those without a temperature",
    "training.monitor": "the score is that of --metric; set it for all trials",
}
# of the groups that say what the rows are, the settings that leave the scored rows as they are
_ROWS_SEARCHED = ("data.text", "data.text_join", "data.train", "language.pack")


@dataclass(frozen=True)
class Range:
    """Bounds of a number.

    Attributes:
        low: smallest value.
        high: largest value.
        step: distance between two values, or None.
        log: whether values are sampled on a log scale.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def holds(self, value: Any) -> bool:
        """Tell whether a value is a number inside the bounds."""
        # bool is a subclass of int in Python
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


@dataclass(frozen=True)
class Parameter:
    """A searched setting.

    Attributes:
        path: dotted name of the setting. It is also its name in Optuna.
        choices: the values of a categorical setting, else empty.
        range: bounds of a number. None for a categorical setting.
        whole: whether the number is an integer.
        when: condition: values or bounds of other searched settings. This setting is searched only if they hold.
    """

    path: str
    choices: tuple[Value, ...] = ()
    range: Range | None = None
    whole: bool = False
    when: Mapping[str, "tuple[Value, ...] | Range"] = field(default_factory=dict)

    @property
    def distribution(self) -> optuna.distributions.BaseDistribution:
        """The parameter as a distribution of Optuna."""
        if self.range is None:
            return optuna.distributions.CategoricalDistribution(self.choices)
        low, high, step, log = self.range.low, self.range.high, self.range.step, self.range.log
        if self.whole:
            return optuna.distributions.IntDistribution(int(low), int(high), log=log, step=int(step or 1))
        return optuna.distributions.FloatDistribution(low, high, log=log, step=step)

    def holds(self, value: Value) -> bool:
        """Tell whether the search could propose a value."""
        if self.range is None:
            # the types too, because True == 1 and 1 == 1.0 in Python
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        # first, because a setting without a value is None, which cannot be subtracted from
        if not self.range.holds(value):
            return False
        # a float such as 0.15 is not exactly low + n x step
        steps = 0.0 if not self.range.step else (value - self.range.low) / self.range.step  # type: ignore[operator]
        return abs(steps - round(steps)) < 1e-9

    def suggest(self, trial: optuna.Trial) -> Value:
        """Let Optuna choose a value."""
        if self.range is None:
            chosen: Value = trial.suggest_categorical(self.path, self.choices)
            return chosen
        low, high, step, log = self.range.low, self.range.high, self.range.step, self.range.log
        if self.whole:
            return trial.suggest_int(self.path, int(low), int(high), step=int(step or 1), log=log)
        return trial.suggest_float(self.path, low, high, step=step, log=log)

    def grid(self) -> list[Value]:
        """Return all values, in order.

        Raises:
            ConfigError: the setting is continuous.
        """
        if self.range is None:
            return list(self.choices)
        if not self.whole and not self.range.step:
            raise ConfigError(f"The grid needs a step or a list of values for '{self.path}', which is continuous.")
        step = self.range.step or 1
        # + 1e-9, because 0.3 / 0.1 is 2.9999999999999996 in floats
        count = int((self.range.high - self.range.low) / step + 1e-9) + 1
        values = [self.range.low + number * step for number in range(count)]
        # rounded, so that 0.15 is not 0.15000000000000002 in files and comparisons
        return [int(value) if self.whole else round(value, 12) for value in values]

    def as_dict(self) -> dict[str, Any]:
        """Return the parameter as plain values, for storage and comparison."""
        plain: dict[str, Any] = {"choices": list(self.choices)} if self.range is None else _plain_range(self.range)
        when = {path: _plain_range(test) if isinstance(test, Range) else list(test) for path, test in self.when.items()}
        return plain | ({"when": when} if when else {})


@dataclass(frozen=True)
class Space:
    """The searched settings. Each setting comes after the settings that its condition uses.

    Attributes:
        parameters: one item per setting.
        name: short name for study folders.
    """

    parameters: tuple[Parameter, ...]
    name: str = "space"

    def active(self, parameter: Parameter, values: Mapping[str, Value]) -> bool:
        """Tell whether the condition of a parameter holds for the values of the parameters before it."""
        return all(
            # not in values: the parent itself is inactive, so this setting is too
            path in values and (test.holds(values[path]) if isinstance(test, Range) else values[path] in test)
            for path, test in parameter.when.items()
        )

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """Let Optuna choose a value for every setting whose condition holds."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if self.active(parameter, values):
                values[parameter.path] = parameter.suggest(trial)
        return values

    def defaults(self, config: FitConfig) -> dict[str, Value]:
        """Return the values that a config has for the settings of this space."""
        return {parameter.path: value_of(config, parameter.path) for parameter in self.parameters}

    def grid(self) -> list[dict[str, Value]]:
        """Return every combination once. A combination leaves out settings whose condition does not hold.

        Raises:
            ConfigError: a setting is continuous.
        """
        points: list[dict[str, Value]] = [{}]
        for parameter in self.parameters:
            points = [
                {**point, parameter.path: value} if value is not _ABSENT else point
                for point in points
                for value in (parameter.grid() if self.active(parameter, point) else [_ABSENT])
            ]
        return points

    def as_dict(self) -> dict[str, Any]:
        """Return the space as plain values, for storage and comparison."""
        return {parameter.path: parameter.as_dict() for parameter in self.parameters}


_ABSENT: Any = object()  # not None, because None is a possible value of a setting


def load_space(spec: "str | Path | Mapping[str, Any] | Space") -> Space:
    """Read a search space.

    Args:
        spec: the name of a bundled space, a YAML file, a mapping of the same form, or a space.

    Raises:
        ConfigError: there is no such space, a setting is unknown (with the nearest name) or cannot be searched, or a
            range is empty, contradictory, or outside the range of the setting.
    """
    if isinstance(spec, Space):
        return spec
    if isinstance(spec, Mapping):
        return _parse(spec, "space")
    path = Path(spec)
    if path.parent == Path() and not path.suffix and (BUNDLED / f"{spec}.yaml").is_file():
        path = BUNDLED / f"{spec}.yaml"
    elif not path.is_file():
        names = sorted(file.stem for file in BUNDLED.glob("*.yaml"))
        hint = nearest(str(spec), names)
        raise ConfigError(
            f"There is no search space {str(spec)!r}.{hint} Give a YAML file, or one of {', '.join(names)}."
        )
    try:
        return _parse(_read(path), path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def value_of(config: FitConfig, path: str) -> Value:
    """Return the value of a dotted setting, in the form in which Optuna stores it."""
    value: Any = to_dict(config)
    for name in path.split("."):
        value = value[name]
    return encoded(value)


def encoded(value: Any) -> Any:
    """Return a list of names as text with commas, and any other value as it is."""
    return ",".join(value) if isinstance(value, list | tuple) else value


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}. Check --space.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not valid YAML: {' '.join(str(error).split())}") from error


def _parse(content: Any, name: str) -> Space:
    if not isinstance(content, Mapping) or not content:
        raise ConfigError("A search space needs settings with ranges, for example lora.rank: [4, 8, 16].")
    known = {item.path: item for item in settings()}
    pairs = list(_flat(content, "", known))
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(path for path, _ in pairs if [other for other, _ in pairs].count(path) > 1)
        raise ConfigError(f"The search space names '{twice}' twice. Leave one of the two out.")
    parameters = {path: _parameter(known[path], spec) for path, spec in found.items()}
    for parameter in parameters.values():
        _check_conditions(parameter, parameters)
    return Space(tuple(_ordered(parameters)), name)


def _flat(nested: Mapping[Any, Any], prefix: str, known: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    groups = {path.rpartition(".")[0] for path in known} - {""}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        if path in known:
            yield path, value
        elif path in groups and isinstance(value, Mapping):
            yield from _flat(value, f"{path}.", known)
        elif (full := _full(path)) in known:
            yield full, value
        else:
            # a mistyped setting is mostly the right name in the wrong group, or without a group
            by_name = {full.rpartition(".")[2]: full for full in known}
            close = nearest(path, known) or nearest(by_name.get(str(key), ""), known, 1)
            raise ConfigError(f"Unknown setting '{path}' in the search space.{close or nearest(str(key), by_name)}")


def _full(name: str) -> str:
    """Return the dotted path of the setting that has an option of this name, or the name."""
    found = by_option().get(name, ())
    return found[0].path if len(found) == 1 else name


def _parameter(item: Setting, spec: Any) -> Parameter:
    path = item.path
    reason = _NOT_SEARCHED.get(path)
    if path.startswith(("data.", "language.")) and path not in _ROWS_SEARCHED:
        reason = reason or _SAME_ROWS
    if reason:
        raise ConfigError(f"'{path}' cannot be searched: {reason}.")
    if isinstance(spec, list | tuple):
        spec = {"choices": spec}
    if not isinstance(spec, Mapping):
        raise ConfigError(f"'{path}' needs a list of values, or low and high. Received: {spec!r}")
    unknown = next((str(key) for key in spec if key not in RANGE_KEYS), None)
    if unknown is not None:
        raise ConfigError(f"'{path}' has the unknown key '{unknown}'.{nearest(unknown, RANGE_KEYS)}")
    when = _conditions(path, spec.get("when"))
    if "choices" in spec:
        beside = [key for key in ("low", "high", "step", "log") if key in spec]
        if beside:
            raise ConfigError(f"'{path}' has choices and also {beside[0]}. Give one of them.")
        return Parameter(path, choices=_choices(path, spec["choices"]), when=when)
    return _number_parameter(item, spec, when)


def _choices(path: str, values: Any) -> tuple[Value, ...]:
    if not isinstance(values, list | tuple) or not values:
        raise ConfigError(f"'{path}' has an empty list of choices. Name at least one value. Received: {values!r}")
    # checked first: 1e-3, which YAML reads as text, is then the same value as 0.001
    choices = tuple(_checked(path, value) for value in values)
    twice = next((value for place, value in enumerate(choices) if value in choices[:place]), _ABSENT)
    if twice is not _ABSENT:
        raise ConfigError(f"'{path}' names the choice {twice!r} twice.")
    return choices


def _number_parameter(item: Setting, spec: Mapping[str, Any], when: Mapping[str, Any]) -> Parameter:
    path = item.path
    missing = [key for key in ("low", "high") if key not in spec]
    if missing:
        raise ConfigError(f"'{path}' needs {' and '.join(missing)}, or a list of choices.")
    # both ends are checked as settings: if they are valid, every value between them is
    low, high = _checked(path, spec["low"]), _checked(path, spec["high"])
    # the checked value of a float setting is a float, so this is the type of the setting
    whole, log, step = isinstance(low, int), spec.get("log", False), spec.get("step")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high)):
        raise ConfigError(f"'{path}' is not a number. Give a list of choices. Received: low {low!r}, high {high!r}")
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low >= high:
        raise ConfigError(f"'{path}' has an empty range: low {low:g} is not below high {high:g}.")
    if not isinstance(log, bool):
        raise ConfigError(f"'{path}': log must be true or false. Received: {log!r}")
    if log and low <= 0:
        raise ConfigError(f"'{path}' has a log range. Its low must be greater than 0. Received: {low:g}")
    if log and step is not None:
        raise ConfigError(f"'{path}' has both log and step. Give one of them.")
    if step is not None:
        step = _checked_step(path, step, whole, high - low)
    return Parameter(path, range=Range(low, high, step, log), whole=whole, when=when)


def _checked_step(path: str, step: Any, whole: bool, width: float) -> float:
    kinds = int if whole else int | float
    if isinstance(step, str):  # YAML 1.1 reads 1e-3 as text
        step = _as_number(step)
    if isinstance(step, bool) or not isinstance(step, kinds) or not 0 < step <= width:
        raise ConfigError(f"'{path}' needs a step between 0 and the width of the range, {width:g}. Received: {step!r}")
    return step


def _as_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _checked(path: str, value: Any) -> Value:
    """Convert a value to the type of the setting, or raise the error of the setting."""
    return value_of(resolve({path: value}), path)


def _conditions(path: str, when: Any) -> dict[str, tuple[Value, ...] | Range]:
    if when is None:
        return {}
    if not isinstance(when, Mapping) or not when:
        raise ConfigError(f"'{path}': when needs settings and values, for example training.schedule: cosine.")
    return {_full(str(parent)): _condition(path, _full(str(parent)), test) for parent, test in when.items()}


def _condition(path: str, parent: str, test: Any) -> tuple[Value, ...] | Range:
    if isinstance(test, Mapping):
        if set(test) != {"low", "high"}:
            raise ConfigError(
                f"'{path}': the condition on '{parent}' needs low and high, or values. Received: {test!r}"
            )
        low, high = (_as_number(value) if isinstance(value, str) else value for value in (test["low"], test["high"]))
        if not isinstance(low, int | float) or not isinstance(high, int | float) or low > high:
            raise ConfigError(f"'{path}': the condition on '{parent}' is empty: low {low!r}, high {high!r}.")
        return Range(low, high)
    values = test if isinstance(test, list | tuple) else (test,)
    known = parent in {item.path for item in settings()}
    return tuple(_checked(parent, value) if known else value for value in values)


def _check_conditions(parameter: Parameter, parameters: Mapping[str, Parameter]) -> None:
    for parent, test in parameter.when.items():
        if parent not in parameters:
            raise ConfigError(
                f"'{parameter.path}' depends on '{parent}', which the space does not search."
                f"{nearest(parent, parameters)}"
            )
        if isinstance(test, Range):
            if not _overlap(test, parameters[parent]):
                raise ConfigError(f"'{parameter.path}': '{parent}' never lies between {test.low:g} and {test.high:g}.")
            continue
        for value in test:
            if not parameters[parent].holds(value):
                raise ConfigError(
                    f"'{parameter.path}' depends on '{parent}' being {value!r}, but it is never {value!r}."
                )


def _overlap(test: Range, parent: Parameter) -> bool:
    if parent.range is not None:
        return test.low <= parent.range.high and parent.range.low <= test.high
    return any(test.holds(choice) for choice in parent.choices)


def _ordered(parameters: Mapping[str, Parameter]) -> Sequence[Parameter]:
    """Return the parameters in the order of the file, but each one after the parameters that it depends on."""
    done: dict[str, Parameter] = {}
    while len(done) < len(parameters):
        # the first ready one each time keeps the order of the file as far as possible
        waiting = (item for path, item in parameters.items() if path not in done)
        ready = next((item for item in waiting if set(item.when) <= set(done)), None)
        if ready is None:
            circle = ", ".join(path for path in parameters if path not in done)
            raise ConfigError(f"The conditions of the space form a circle: {circle}. Remove one of them.")
        done[ready.path] = ready
    return list(done.values())


def _plain_range(bounds: Range) -> dict[str, Any]:
    whole: dict[str, Any] = {"low": bounds.low, "high": bounds.high, "step": bounds.step, "log": bounds.log}
    return dict(
        # without defaults, so that a space compares equal to a file that leaves them out
        itertools.filterfalse(lambda pair: pair[1] in (None, False) and pair[0] not in ("low", "high"), whole.items())
    )
