"""What a training tells a tracking tool, and the methods that every tool has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """A training, as the tools show it.

    Attributes:
        name: name of the run.
        folder: folder for local logs, such as RUN/logs.
        settings: the settings by dotted key. Secrets are masked.
        facts: short texts about the run, such as the versions of Kerora and Keras.
        resumed: the identifier that the tool gave to this run before the stop. None for a new run.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)
    resumed: str | None = None


class Tool(Protocol):
    """One tool. Any method may raise any exception: `Tracking` turns it into a note."""

    def check(self) -> None:
        """Raise what keeps the tool from starting, as far as it shows before there is a run folder."""

    def start(self, run: TrackedRun) -> str | None:
        """Open the run of the tool. Return its identifier, with which a resume finds it again, or None."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve. `step` is the number of optimizer updates so far."""

    def finish(self, values: Mapping[str, float], files: Sequence[Path], state: State) -> None:
        """Log the final values and the files of the report, and close the run of the tool."""
