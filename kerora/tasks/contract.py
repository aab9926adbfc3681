"""What every task provides to the rest of Kerora: data, models, training, reports, exchange.

A task is a folder of modules with these names. Each module is a face of the task: it holds the functions and the
values that a protocol below lists. `kerora.tasks.registry` names the folder and imports a face when it is first used.
So a report does not load Keras, and a prediction does not load scikit-learn.

    rows.py      `RowsFace`      read the data; no Keras
    model.py     `ModelFace`     build models; no scikit-learn
    predict.py   `PredictFace`   label new rows; no scikit-learn
    task.py      `TrainingFace`  train and evaluate
    results.py   `ResultsFace`   read a run folder, compare runs; no Keras
    page.py      `PageFace`      the HTML pages; no Keras
    screen.py    `ScreenFace`    the terminal; no Keras
    exchange.py  `ExchangeFace`  other tools' names, snippets, probes

`Any` stands for the types that differ between tasks: the model, the rows, the results.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    from kerora.models.presets import Preset
    from kerora.tasks.probe import Probe

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

    def write_head(self, run: RunFolder, model: Any) -> None:
        """Write what `read_head` reads."""

    def plain_copy(self, model: Any, seed: int | None = None) -> Any:
        """Return the base of a model in float32. If the task has a head, it is a new, untrained one."""

    def of_folder(self, directory: Path, like: Any) -> Any:
        """Load an exported Keras preset with its head. `like` is the exported model."""

    def shape(self, model: Any) -> str:
        """Return in words what two models must have in common to be merged."""


class PredictFace(Protocol):
    """predict.py: `kerora predict`. A task without it leaves ``predict`` out of `Task.commands`."""

    def columns(self, model: Any, submission: bool) -> list[str]:
        """Return the columns that follow ``id``."""

    def predict(self, model: Any, rows: Any, batch_size: int, submission: bool) -> Iterable[list[Any]]:
        """Yield the values of these columns for each row."""

    def filled(self, label: str) -> list[Any]:
        """Return the values of a submission for a row that cannot be used and gets a given label."""


class TrainingFace(Protocol):
    """task.py: training and evaluation.

    Attributes:
        COLUMNS: the columns of history.csv: those of the task, then `COURSE_COLUMNS`.
        MONITOR: the metric that early stopping uses by default.
        MONITORS: the metrics that early stopping can use.
    """

    COLUMNS: tuple[str, ...]
    MONITOR: str
    MONITORS: frozenset[str]

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
        """Return the callback that evaluates the validation rows at the end of each epoch."""

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


@dataclass(frozen=True)
class HubNames:
    """The names that other tools use for a task and its models.

    Attributes:
        pipeline: the pipeline tag of the Hugging Face hub.
        keras_class: KerasHub's task class without the name of the architecture.
        auto_class: the class of transformers that loads any model of the task.
        suffix: end of the class names in transformers.
        decoder_suffix: the same for decoders that KerasHub converts.
        compared: what the agreement of an export counts, in words, such as ``same label``.
        text_compared: what the agreement from texts counts, in words.
        scores: metrics of the model card. The first two are also in its metadata.
    """

    pipeline: str
    keras_class: str
    auto_class: str
    suffix: str
    decoder_suffix: str
    compared: str
    text_compared: str
    scores: tuple[str, ...]


class PlainHead(Protocol):
    """The head of a task beside a Keras preset of a kind that KerasHub has no such task for."""

    def write(self, model: Any, directory: Path) -> None:
        """Write the head into the folder of the preset."""

    def load(self, directory: Path) -> "Callable[[dict[str, np.ndarray]], Any]":
        """Load preset and head with plain KerasHub; return what makes logits of inputs."""

    def loading(self, model: Any) -> str:
        """Return the lines of Python that load preset and head."""


class ExchangeFace(Protocol):
    """exchange.py: exports and imports.

    Attributes:
        NAMES: the names that other tools use for the task.
        KEEPS_OUTPUT: whether an export keeps the output layer and the generation settings of the base model.
        ONNX_NOTE: a note about the ONNX file. May be empty.
        PLAIN_HEAD: how an export writes the head where KerasHub has no such task. None if that cannot happen.
    """

    NAMES: HubNames
    KEEPS_OUTPUT: bool
    ONNX_NOTE: str
    PLAIN_HEAD: PlainHead | None

    def loading(self, form: str, model: Any, base: str, inputs: str) -> str:
        """Return the lines of Python that load an export of a format."""

    def classes(self, model: Any) -> tuple[str, ...]:
        """Return the class names. Empty if the task has no classes."""

    def hub_config(self, model: Any) -> dict[str, Any]:
        """Return the keys that the task adds to transformers' config.json."""

    def decision(self, model: Any) -> dict[str, Any]:
        """Return what turns logits into answers and has no place in the files of other tools, for labels.json.

        Such as the thresholds of classes. Empty if the logits say all.
        """

    def logits(self, model: Any, probe: "Probe") -> "np.ndarray":
        """Return the logits that the model itself gives for the rows. See `Probe.logits`."""

    def probe(self, model: Any, config: FitConfig) -> "Probe":
        """Return rows to compare an export on.

        Raises:
            DataError: there are no rows.
        """

    def text_agreement(
        self,
        probe: "Probe",
        reference: "np.ndarray",
        tokens: "Callable[[], Sequence[Sequence[int]]]",
        logits: "Callable[[], np.ndarray]",
    ) -> float:
        """Return the share of the rows for which the tokenizer of the export leads to the same result.

        Args:
            probe: the rows.
            reference: the logits of the run for these rows.
            tokens: returns the token ids of each row from the tokenizer of the export, not truncated.
            logits: returns the logits of the export for each row, computed from its text.
        """

    def keras_agreement(
        self, plain: Any, directory: Path, probe: "Probe", reference: "np.ndarray", model: Any
    ) -> float:
        """Return the same share for an exported Keras preset.

        Args:
            plain: function that computes logits from inputs with plain KerasHub.
            directory: the preset.
            probe: the rows.
            reference: the logits of the run for these rows.
            model: the exported model.
        """

    def imported(self, folder: Path, config: FitConfig, preset: "Preset", dataset: Any | None) -> Any:
        """Build the model for an adapter of PEFT, without the adapter.

        Raises:
            AdapterError: the adapter does not fit the preset.
            ConfigError: the settings do not fit the adapter.
        """
