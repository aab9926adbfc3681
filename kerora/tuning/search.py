"""A search that is about to run: its settings, where its results go, and who watches it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerora.settings.fit import FitConfig
from kerora.settings.tune import TuneConfig
from kerora.tuning.records import Record
from kerora.tuning.space import Space, Value
from kerora.tuning.workbench import Workbench


class StudyFolder:
    """Paths of one study.

    Args:
        path: the study's folder; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.log = self.path / "experiment_log.csv"
        self.best = self.path / "best.yaml"
        self.report = self.path / "report.html"
        self.submission = self.path / "submission.csv"


class Observer:
    """Sees a search going on; this one looks away."""

    def begin(self, search: "Search") -> None:
        """Called once, before the first trial."""

    def update(self, records: Sequence[Record]) -> None:
        """Called now and then with all trials."""

    def end(self) -> None:
        """Called once, after the last trial, also after an error."""


@dataclass(frozen=True)
class Search:
    """A search that is about to run.

    Attributes:
        config: the settings without a search.
        settings: the search's own settings, settled: name of the study and number of trials.
        space: what is searched.
        bench: data and base models.
        defaults: values of the searched settings without a search, settled.
        folder: where the results go.
        maximize: whether more of the metric is better.
        deadline: time of day in seconds after which no trial begins, or None.
    """

    config: FitConfig
    settings: TuneConfig
    space: Space
    bench: Workbench
    defaults: Mapping[str, Value]
    folder: StudyFolder
    maximize: bool
    deadline: float | None

    @property
    def paths(self) -> list[str]:
        """The searched settings."""
        return [parameter.path for parameter in self.space.parameters]
