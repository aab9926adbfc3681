"""Opens the tools of `--log`, and keeps their faults away from the training."""

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kerora.errors import ConfigError, Interrupted
from kerora.notices import notice
from kerora.settings.secrets import masked
from kerora.tracking.contract import State, Tool, TrackedRun
from kerora.tracking.mlflow import MLflow
from kerora.tracking.tensorboard import TensorBoard
from kerora.tracking.wandb import WeightsAndBiases

TOOLS: dict[str, Callable[[], Tool]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def check_tools(names: Sequence[str]) -> None:
    """Check that the packages of the tools are installed.

    Raises:
        ConfigError: one is missing. The message has the command that installs it.
    """
    for name in names:
        found = importlib.util.find_spec(name)
        # A folder of that name in the working directory is found too: wandb makes one. It has no origin.
        if found is None or found.origin is None:
            raise ConfigError(f"--log {name} needs the package {name}. Install it: pip install 'kerora[{name}]'")


def check_start(names: Sequence[str]) -> None:
    """Check that the tools can start, before there is a run folder: packages, servers, credentials.

    Raises:
        ConfigError: one cannot.
    """
    check_tools(names)
    for name in dict.fromkeys(names):
        try:
            TOOLS[name]().check()
        except Exception as error:
            raise _cannot_start(name, error) from error


def _cannot_start(name: str, error: Exception) -> ConfigError:
    return ConfigError(f"--log {name} cannot start: {reason(error)}. Mend it, or leave {name} out.")


class Tracking:
    """The tools of one training. Use it as a context manager, around the training.

    A tool that fails after its start is left out from then on, with one note, and the training goes on.

    Args:
        names: the tools.
        run: the training.
        resumed: the identifier of the run in each tool, as `identifiers` was before the stop. Empty for a new run.
        strict: whether a tool that cannot start is an error. Otherwise it is a note, as for a training that continues.

    Attributes:
        identifiers: the identifier of the run in each tool.
    """

    def __init__(
        self, names: Sequence[str], run: TrackedRun, resumed: Mapping[str, str] | None = None, *, strict: bool = True
    ) -> None:
        self.identifiers: dict[str, str] = dict(resumed or {})
        self._tools: dict[str, Tool] = {}
        self._values: Mapping[str, float] = {}
        self._files: Sequence[Path] = ()
        for name in dict.fromkeys(names):
            self._start(name, replace(run, resumed=self.identifiers.get(name)), strict)

    def __bool__(self) -> bool:
        """Tell whether any tool is left."""
        return bool(self._tools)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | Interrupted)
        state: State = "finished" if error is None else "stopped" if interrupted else "failed"
        values, files = self._values, self._files
        self._each(lambda tool: tool.finish(values, files, state))

    def log(self, group: str, row: Mapping[str, Any], step: int) -> None:
        """Add one point to the curves of a group.

        Args:
            group: ``epoch`` or ``step``. It stands before the names of the curves.
            row: the values by name. What is no finite number is left out.
            step: number of optimizer updates so far.
        """
        values = numbers(row, f"{group}/")
        self._each(lambda tool: tool.log(values, step))

    def conclude(self, metrics: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Keep what is logged when the training ends.

        Args:
            metrics: the final metrics, nested. Names are joined with ``/``.
            files: the files of the report.
        """
        self._values, self._files = numbers(metrics), files

    def _start(self, name: str, run: TrackedRun, strict: bool) -> None:
        tool = TOOLS[name]()
        try:
            identifier = tool.start(run)
        except Exception as error:
            if strict:
                raise _cannot_start(name, error) from error
            notice(f"--log {name} cannot start, so the training continues without it: {reason(error)}")
            return
        self._tools[name] = tool
        if identifier is not None:
            self.identifiers[name] = identifier

    def _each(self, work: Callable[[Tool], None]) -> None:
        for name, tool in list(self._tools.items()):
            try:
                work(tool)
            except Exception as error:
                del self._tools[name]
                notice(f"Logging to {name} failed, so the training continues without it: {reason(error)}")


def numbers(nested: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the finite numbers of nested values, by names that are joined with ``/``.

    The values of each class are left out: the report has them, and their names can be any text.
    """
    found: dict[str, float] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and key != "per_class":
            found |= numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{key}"] = float(value)
    return found


def loggable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the tools take them: without those that are not set, lists as text, secrets masked."""
    joined = {key: ",".join(value) if isinstance(value, list | tuple) else value for key, value in settings.items()}
    return {
        key: masked(value) if isinstance(value, str) else value for key, value in joined.items() if value is not None
    }


def reason(error: BaseException) -> str:
    """Return the reason of an error on one line, without secrets."""
    text = masked(" ".join(str(error).split()).rstrip("."))
    return text[:200] or type(error).__name__
