"""A search before it runs: its settings, the folder of its results, and its observer."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerora.settings.fit import FitConfig
from kerora.settings.resolve import FILES
from kerora.settings.tune import TuneConfig
from kerora.tuning.records import Record
from kerora.tuning.space import Space, Value
from kerora.tuning.workbench import Workbench


class StudyFolder:
    """Paths of one study.

    Args:
        path: the folder of the study. It need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.log = self.path / "experiment_log.csv"
        self.best = self.path / "best.yaml"
        self.report = self.path / "report.html"
        self.submission = self.path / "submission.csv"
        self.logs = self.path / "logs"
        self.data = self.path / "data"


class Observer:
    """Receives the progress of a search. This base class does nothing."""

    def begin(self, search: "Search") -> None:
        """Called once, before the first trial."""

    def update(self, records: Sequence[Record]) -> None:
        """Called repeatedly during the search, with all trials."""

    def end(self) -> None:
        """Called once, after the last trial or after an error."""


@dataclass(frozen=True)
class Search:
    """A search before it runs.

    Attributes:
        config: the settings of every trial that are not searched.
        settings: the settings of the search, settled: metric, space, name of the study, number of trials.
        space: the search space.
        bench: data and base models.
        defaults: settled default values of the searched settings.
        folder: the folder of the results.
        maximize: whether a higher value of the metric is better.
        deadline: Unix time in seconds after which no trial starts, or None.
    """

    config: FitConfig
    settings: TuneConfig
    space: Space
    bench: Workbench
    defaults: Mapping[str, Value]
    folder: StudyFolder
    maximize: bool
    deadline: float | None

    def with_own_rows(self, config: FitConfig) -> FitConfig:
        """Return the settings of a trial with the files of this search: those of a continued study may have moved."""
        names = [key.removeprefix("data.") for key in FILES if key not in self.paths]
        files = {name: getattr(self.config.data, name) for name in names}
        return dataclasses.replace(config, data=dataclasses.replace(config.data, **files))

    @property
    def metric(self) -> str:
        """The optimised metric."""
        assert self.settings.metric is not None
        return self.settings.metric

    @property
    def paths(self) -> list[str]:
        """The searched settings."""
        return [parameter.path for parameter in self.space.parameters]
