"""What every task provides to the rest of Kerora: data, models, training, reports, exchange.

A task is a folder of modules with these names. Each module is a face of the task: it holds the functions and the
values that a protocol below lists. `kerora.tasks.registry` names the folder and imports a face when it is first used.
So a report does not load Keras, and a prediction does not load scikit-learn.

    rows.py      `RowsFace`      read the data; no Keras
    model.py     `ModelFace`     build models; no scikit-learn
    predict.py   `PredictFace`   label new rows; no scikit-learn. Optional
    answers.py   `AnswersFace`   evaluated answers, for thresholds; no Keras
    task.py      `TrainingFace`  train and evaluate
    search.py    `SearchFace`    search the settings. Optional
    results.py   `ResultsFace`   read a run folder, compare runs; no Keras
    page.py      `PageFace`      the HTML pages; no Keras
    screen.py    `ScreenFace`    the terminal; no Keras
    baseline.py  `BaselineFace`  a simple model to compare with; scikit-learn's linear models
    exchange.py  `ExchangeFace`  other tools' names, snippets, probes, in `kerora.tasks.exchange_contract`

`Any` stands for the types that differ between tasks: the model, the rows, the results.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig

# for type checkers alone: a report or a table of rows must not load Keras
if TYPE_CHECKING:
    import keras
    import numpy as np
    from rich.console import RenderableType

    from kerora.data.batches import Batches
    from kerora.data.row_reader import RowReader
    from kerora.evaluation.coverage import CoverageCurve
    from kerora.models.presets import Preset

# not train: the numbers of rows that the model has seen say little about new ones
EVALUATED = ("validation", "test")
"""The splits that are evaluated."""
COURSE_COLUMNS = ("learning_rate", "seconds", "validation_seconds", "tokens_per_second", "peak_memory_mb")
"""The columns of history.csv that every task has. They follow the columns of the task itself."""
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1", *COURSE_COLUMNS)
"""The columns that a `History` in a user's script records by default. They are those of a classifier."""


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating some rows.

    Attributes:
        metrics: metrics by split.
        details: further results that the task writes, such as predictions.
        notes: lines about what was fitted on the validation rows.
    """

    metrics: dict[str, dict[str, Any]]
    details: Any = None
    notes: tuple[str, ...] = ()


class RowsFace(Protocol):
    """rows.py: the data."""

    def load(self, config: FitConfig, without: Sequence[str] = ()) -> Any:
        """Load the data that the settings name, split into parts. `without` names parts that are not read.

        Raises:
            DataError: a file or a row cannot be used.
        """

    def load_part(self, spec: str, config: FitConfig, head: Any, split: str) -> Any:
        """Load rows to evaluate a trained run on.

        Args:
            spec: a data set, file or folder.
            config: the settings of the run, with the data settings of the new rows.
            head: what `ModelFace.read_head` returned for the run.
            split: the part to take if the source has parts.

        Raises:
            DataError: the rows cannot be used, or do not fit the run.
        """

    def check_fits(self, dataset: Any, head: Any, run: object) -> None:
        """Check that a dataset has the form that a run was trained on. `run` names the run in messages.

        Raises:
            DataError: the dataset has another form.
        """

    def counts(self, dataset: Any) -> str:
        """Return the kind and the number of the rows, as text for one line."""

    def show(self, config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
        """Print a summary of the data before training. See `kerora data show`."""


class ModelFace(Protocol):
    """model.py: the models."""

    def build(self, config: FitConfig, preset: "Preset", dataset: Any) -> Any:
        """Build the model for a dataset, without LoRA."""

    def read_head(self, run: RunFolder) -> Any:
        """Read what the model of a run needs in addition to the settings, such as class names.

        Raises:
            RunError: a file is missing or damaged.
        """

    def of_run(self, config: FitConfig, preset: "Preset", head: Any, dtype: str) -> Any:
        """Build the model of a run, without its adapter. `head` is what `read_head` returned."""

    def head_of(self, model: Any) -> Any:
        """Return of a model what `read_head` reads of a run."""

    def write_head(self, run: RunFolder, model: Any) -> None:
        """Write what `read_head` reads."""

    def plain_copy(self, model: Any, seed: int | None = None) -> Any:
        """Return the base of a model in float32. If the task has a head, it is a new, untrained one."""

    def of_folder(self, directory: Path, like: Any) -> Any:
        """Load an exported Keras preset with its head. `like` is the exported model."""

    def shape(self, model: Any) -> str:
        """Return in words what two models must have in common to be merged."""


class PredictFace(Protocol):
    """predict.py: `kerora predict`. A task without it leaves ``predict`` out of `Task.commands`.

    Attributes:
        FORMAT: how the files show a float, such as ``.6f``.
    """

    FORMAT: str

    def columns(self, model: Any, submission: bool) -> list[str]:
        """Return the columns that follow ``id``."""

    def predict(self, model: Any, rows: Any, batch_size: int, submission: bool) -> Iterable[list[Any]]:
        """Yield the values of these columns for each row."""

    def answer(self, values: Sequence[Any]) -> Any:
        """Return what `FitResult.predict` gives for a row, from the values that `predict` yields."""

    def filled(self, model: Any, fill: str) -> list[Any]:
        """Return the values of a row that cannot be used in a submission, from `--fill`.

        Raises:
            ConfigError: the model cannot give such values.
        """


class AnswersFace(Protocol):
    """answers.py: the evaluated answers, for thresholds. Only a task with `Task.abstains` has it.

    The columns of `PredictFace.columns` then begin with ``label`` and ``score``.
    """

    def validation_curve(self, run: RunFolder) -> "CoverageCurve":
        """Return the coverage curve of the validation rows of a run.

        Raises:
            RunError: predictions.csv is missing or damaged, or does not hold these rows, or they are too few.
        """

    def unsure(self, values: Sequence[Any]) -> float:
        """Return how unsure an answer is, from the values that `predict` yields."""

    def curves(self, folder: RunFolder, head: Any) -> "dict[str, CoverageCurve]":
        """Return the coverage curve of each split of predictions.csv. `head` is what `ModelFace.read_head` returned."""


class TrainingFace(Protocol):
    """task.py: training and evaluation.

    Attributes:
        COLUMNS: the columns of history.csv: those of the task, then `COURSE_COLUMNS`.
        MONITOR: the metric that early stopping uses by default.
        MONITORS: the metrics that early stopping can use.
        LOSSES: the losses that `--loss` can name. The first one is the default.
    """

    COLUMNS: tuple[str, ...]
    MONITOR: str
    MONITORS: frozenset[str]
    LOSSES: tuple[str, ...]

    def check(self, config: FitConfig, dataset: Any) -> None:
        """Refuse settings that the task would ignore, or that do not fit the data.

        Raises:
            ConfigError: such a setting is given.
        """

    def prepare(self, config: FitConfig, dataset: Any, model: Any) -> None:
        """Set on the model what training needs in addition to the weights."""

    def training_batches(self, config: FitConfig, dataset: Any, model: Any) -> "Batches":
        """Make the batches of the training part."""

    def compile(self, model: Any, config: FitConfig, optimizer: Any, step: Any) -> None:
        """Compile the model with the task's loss and metrics."""

    def validation(self, config: FitConfig, dataset: Any, model: Any) -> "keras.callbacks.Callback":
        """Return the callback that evaluates the validation rows at the end of each epoch.

        It adds each metric that is a number to the logs, as ``val_<name>``.
        """

    def notes(self, dataset: Any, model: Any, batches: Any) -> list[str]:
        """Return the lines about the data for the heading of a run. `batches` are the training batches."""

    def concerns(self, config: FitConfig, dataset: Any, model: Any) -> list[str]:
        """Return one line for each finding about the data that a training should not pass over in silence."""

    def evaluate(self, model: Any, rows: Mapping[str, Any], config: FitConfig, *, cache: bool = False) -> Evaluation:
        """Evaluate rows by split and write no files. `cache` keeps the tokens on disk."""

    def settle(self, model: Any, evaluation: Evaluation, config: FitConfig) -> Evaluation:
        """Fit on the evaluated validation rows what decides after the logits, such as a temperature.

        It is set on the model, and `ModelFace.write_head` writes it. Return the evaluation with it: the metrics, and
        in `notes` what was fitted. A task without such a step returns the evaluation as it is.
        """

    def write_details(self, folder: RunFolder, model: Any, evaluation: Evaluation) -> None:
        """Write the details of an evaluation, such as predictions.csv."""

    def demonstrate(self, model: Any, rows: Any, config: FitConfig) -> Any:
        """Apply the model to a few rows, for the report. Return None if the predictions are enough."""

    def write_demonstration(self, run: RunFolder, found: Any, trained: bool) -> None:
        """Write what `demonstrate` returned. The results after training are added to those before training."""

    def adapter_facts(self, config: FitConfig, dataset: Any | None) -> dict[str, Any]:
        """Return the keys of the task for adapter_config.json. `dataset` is None if an adapter is imported alone."""


class BaselineFace(Protocol):
    """baseline.py: the simple model that a trained model should beat."""

    def baseline(
        self, config: FitConfig, model: Any, train: Any, rows: Mapping[str, Any], evaluation: Evaluation
    ) -> dict[str, dict[str, Any]]:
        """Fit the baseline on the training rows and compare it with the trained model. Write nothing.

        Args:
            config: the settings of the run.
            model: the trained model.
            train: the training rows of the run.
            rows: the evaluated rows by split.
            evaluation: what `TrainingFace.evaluate` returned for these rows and this model.

        Returns:
            What `kerora.evaluation.tested.outcome` returns, by split.

        Raises:
            DataError: the rows allow no baseline. The run is complete without it.
        """


class SearchFace(Protocol):
    """search.py: `kerora tune`. The settings of a task without it cannot be searched.

    The value of a metric after an epoch is ``val_<name>`` in the logs; see `TrainingFace.validation`. All trials train
    one model, one after another, so `TrainingFace.prepare` must set all that it sets, and not only what changed.

    Attributes:
        METRICS: metrics of the validation rows, in the order of their columns in experiment_log.csv. Each must be known
            to `kerora.evaluation.directions`.
        METRIC: the default of the setting `metric`.
        SPACE: the default of the setting `space`: the name of a bundled space.
    """

    METRICS: tuple[str, ...]
    METRIC: str
    SPACE: str

    def reader(self, config: FitConfig) -> "RowReader[Any, Any]":
        """Return the reader of the rows."""

    def check(self, metric: str, dataset: Any, searched: Collection[str]) -> None:
        """Check that a metric can compare the trials. `searched` names the searched settings, such as ``lora.rank``.

        Raises:
            ConfigError: the validation rows do not define the metric, or a searched setting changes what it measures.
        """

    def predictions(self, validation: "keras.callbacks.Callback", rows: Any) -> "dict[str, np.ndarray]":
        """Return what `resampled` needs of the newest epoch, in small types, because it is stored for each trial.

        Args:
            validation: what `TrainingFace.validation` returned.
            rows: the validation rows.

        Returns:
            Arrays by name. Each has an entry for each row, in the order of the rows.
        """

    def resampled(
        self, metric: str, predictions: "Mapping[str, np.ndarray]", dataset: Any
    ) -> "Callable[[np.ndarray], float] | str":
        """Return a function that computes a metric from the number of times that each validation row counts.

        The function takes an int64 array (rows,). It returns NaN where the metric is undefined. If the metric cannot be
        computed from `predictions`, return the reason instead: a clause for a message.
        """

    def weak(self, metrics: Mapping[str, Any], dataset: Any) -> str | None:
        """Return a sentence if validation metrics are no better than those of a constant answer, else None."""

    def submission(self, run: RunFolder) -> tuple[Sequence[str], Iterable[Sequence[Any]]] | None:
        """Return columns and rows of the predicted test rows of a finished run, or None if it has no predictions."""


class ResultsFace(Protocol):
    """results.py: the results in the folder of a finished run."""

    def needed(self, run: RunFolder) -> Sequence[Path]:
        """Return the files that a report needs."""

    def read(self, common: Mapping[str, Any]) -> Any:
        """Return a `RunResults` of the task.

        Args:
            common: the fields of `RunResults`.

        Raises:
            RunError: a file is damaged.
        """

    def split(self, results: Any, name: str | None) -> Any:
        """Return the results of a split. Default: the split that the task reports first.

        Raises:
            RunError: the run does not have the split.
        """

    def summary(self, results: Any, split: Any) -> dict[str, Any]:
        """Return what `kerora report --json` prints about the split."""

    def compare(self, runs: Sequence[Any], split: str | None) -> Any:
        """Compare runs, which must all be of this task.

        Raises:
            RunError: a run is given twice, or does not hold the split.
        """


class PageFace(Protocol):
    """page.py: the report as HTML, and the files beside it."""

    def render(self, results: Any, split: Any, version: str) -> str:
        """Return the page of one run."""

    def summary(self, results: Any, split: Any) -> str:
        """Return the run as a part of a page, for notebooks. See `kerora.evaluation.html.render_summary`."""

    def render_comparison(self, comparison: Any, reports: Sequence[Path], page: Path, version: str) -> str:
        """Return the page that shows runs side by side.

        Args:
            comparison: what `ResultsFace.compare` returned.
            reports: the pages of the single runs, for links.
            page: the path that the page will have.
            version: Kerora's version, for the footer.
        """

    def files(self, results: Any, split: Any) -> dict[str, str | bytes]:
        """Return the contents of the other files in the folder of report.html, by file name."""


class ScreenFace(Protocol):
    """screen.py: the text for the terminal."""

    def title(self, results: Any, split: Any) -> str:
        """Return the heading of the report of a run."""

    def notes(self, results: Any, split: Any) -> list[str]:
        """Return warnings that a reader should see before the numbers."""

    def report(self, results: Any, split: Any) -> "Iterator[RenderableType | None]":
        """Yield the parts of the report of a run. None stands for a part without content."""

    def comparison(self, comparison: Any) -> "tuple[list[str], list[Any]]":
        """Return the notes and the tables of a comparison."""

    def evaluation(
        self, folder: RunFolder, metrics: Mapping[str, Any], head: Any
    ) -> "Iterator[tuple[str, list[RenderableType]]]":
        """Yield the parts of an evaluation with their headings. A heading may be empty."""
