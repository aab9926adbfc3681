"""What every task gives to the chains of Kerora: data, models, training, reports, exchange.

A task is a folder of modules with these names. Each module is a face of the task: it holds the functions and the
values that a protocol below lists. `kerora.tasks.registry` names the folder, and imports a face when a chain asks for
it. So a report loads no Keras, and a prediction no scikit-learn.

    rows.py      `RowsFace`      read the data; no Keras
    model.py     `ModelFace`     build models; no scikit-learn
    predict.py   `PredictFace`   label new rows; no scikit-learn
    task.py      `TrainingFace`  train and evaluate
    results.py   `ResultsFace`   read a run folder, compare runs; no Keras
    page.py      `PageFace`      the HTML pages; no Keras
    screen.py    `ScreenFace`    the terminal; no Keras
    exchange.py  `ExchangeFace`  other tools' names, snippets, probes

`Any` stands for what is a task's own: its model, its rows, its results.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig

if TYPE_CHECKING:
    import keras
    import numpy as np
    from rich.console import RenderableType

    from kerora.data.batches import Batches
    from kerora.models.presets import Preset
    from kerora.tasks.probe import Probe

EVALUATED = ("validation", "test")
"""The splits that are evaluated."""
COURSE_COLUMNS = ("learning_rate", "seconds", "validation_seconds", "tokens_per_second", "peak_memory_mb")
"""The columns of history.csv that every task has, behind its own."""
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1", *COURSE_COLUMNS)
"""What a `History` in anyone's script records by default: the columns of a classifier."""


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of some rows came to.

    Attributes:
        metrics: metrics by split.
        details: what the task writes beside them.
    """

    metrics: dict[str, dict[str, Any]]
    details: Any = None


class RowsFace(Protocol):
    """rows.py: the data."""

    def load(self, config: FitConfig, without: Sequence[str] = ()) -> Any:
        """Load the data of the settings, split; `without` names parts that are not read.

        Raises:
            DataError: a file or a row cannot be used.
        """

    def load_part(self, spec: str, config: FitConfig, head: Any, split: str) -> Any:
        """Load rows that a trained run is to be evaluated on.

        Args:
            spec: a data set, file or folder.
            config: the run's settings, with those of the new data.
            head: what `ModelFace.read_head` read of the run.
            split: the part to take of a source that has parts.

        Raises:
            DataError: the rows cannot be used, or do not fit the run.
        """

    def check_fits(self, dataset: Any, head: Any, run: object) -> None:
        """Check that a dataset has the form that a run was trained on; `run` names it in messages.

        Raises:
            DataError: it has another one.
        """

    def counts(self, dataset: Any) -> str:
        """Return what the rows are and how many of them there are, for one line."""

    def show(self, config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
        """Print what one should know of the data before training; see `kerora data show`."""


class ModelFace(Protocol):
    """model.py: the models."""

    def build(self, config: FitConfig, preset: "Preset", dataset: Any) -> Any:
        """Build the model for a dataset, without LoRA."""

    def read_head(self, run: RunFolder) -> Any:
        """Read what a run's model needs beside its settings, such as class names.

        Raises:
            RunError: a file is missing or damaged.
        """

    def of_run(self, config: FitConfig, preset: "Preset", head: Any, dtype: str) -> Any:
        """Build the model of a run, without its adapter; `head` is what `read_head` returned."""

    def write_head(self, run: RunFolder, model: Any) -> None:
        """Write what `read_head` reads."""

    def plain_copy(self, model: Any, seed: int | None = None) -> Any:
        """Return the base of a model, float32, with a fresh head where it has one."""

    def of_folder(self, directory: Path, like: Any) -> Any:
        """Load an exported Keras preset with its head; `like` is the exported model."""

    def shape(self, model: Any) -> str:
        """Return in words what two models must have alike to be merged."""


class PredictFace(Protocol):
    """predict.py: `kerora predict`. A task without it leaves ``predict`` out of `Task.commands`."""

    def columns(self, model: Any, submission: bool) -> list[str]:
        """Return the columns behind ``id``."""

    def predict(self, model: Any, rows: Any, batch_size: int, submission: bool) -> Iterable[list[Any]]:
        """Yield for each row the values of these columns."""


class TrainingFace(Protocol):
    """task.py: training and evaluation.

    Attributes:
        COLUMNS: the columns of history.csv, its own and `COURSE_COLUMNS`.
        MONITOR: what early stopping follows by default.
        MONITORS: what it can follow.
    """

    COLUMNS: tuple[str, ...]
    MONITOR: str
    MONITORS: frozenset[str]

    def check(self, config: FitConfig) -> None:
        """Refuse settings that the task would pass over.

        Raises:
            ConfigError: there is one.
        """

    def prepare(self, config: FitConfig, dataset: Any, model: Any) -> None:
        """Set on the model what training needs beside its weights."""

    def training_batches(self, config: FitConfig, dataset: Any, model: Any) -> "Batches":
        """Make the batches of the training part."""

    def compile(self, model: Any, config: FitConfig, optimizer: Any, step: Any) -> None:
        """Compile the model with the task's loss and metrics."""

    def validation(self, config: FitConfig, dataset: Any, model: Any) -> "keras.callbacks.Callback":
        """Return the callback that measures the validation part at each epoch's end."""

    def notes(self, dataset: Any, model: Any, batches: Any) -> list[str]:
        """Return the lines about data that the heading of a run holds; `batches` are the training batches."""

    def evaluate(self, model: Any, rows: Mapping[str, Any], config: FitConfig, *, cache: bool = False) -> Evaluation:
        """Evaluate rows by split; writes nothing. `cache` keeps their tokens on disk."""

    def write_details(self, folder: RunFolder, model: Any, evaluation: Evaluation) -> None:
        """Write what an evaluation has beside its metrics, such as predictions.csv."""

    def demonstrate(self, model: Any, rows: Any, config: FitConfig) -> Any:
        """Let the model do its work on a few rows, for the report; None where the predictions show it."""

    def write_demonstration(self, run: RunFolder, found: Any, trained: bool) -> None:
        """Write what `demonstrate` found before training, or after it beside that."""

    def adapter_facts(self, config: FitConfig, dataset: Any | None) -> dict[str, Any]:
        """Return the task's keys of adapter_config.json; the dataset is None where an adapter was imported alone."""


class ResultsFace(Protocol):
    """results.py: what a finished run left in its folder."""

    def needed(self, run: RunFolder) -> Sequence[Path]:
        """Return the files that a report cannot do without."""

    def read(self, common: Mapping[str, Any]) -> Any:
        """Return a `RunResults` of the task.

        Args:
            common: the fields of `RunResults`.

        Raises:
            RunError: a file is damaged.
        """

    def split(self, results: Any, name: str | None) -> Any:
        """Return what is to be reported of a split, or by default of the one that counts.

        Raises:
            RunError: the run does not have it.
        """

    def summary(self, results: Any, split: Any) -> dict[str, Any]:
        """Return what `kerora report --json` says of the split."""

    def compare(self, runs: Sequence[Any], split: str | None) -> Any:
        """Compare runs, which all are of this task.

        Raises:
            RunError: a run is given twice, or does not hold the split.
        """


class PageFace(Protocol):
    """page.py: the report as HTML, and the files beside it."""

    def render(self, results: Any, split: Any, version: str) -> str:
        """Return the page of one run."""

    def render_comparison(self, comparison: Any, reports: Sequence[Path], page: Path, version: str) -> str:
        """Return the page that shows runs side by side; `reports` are their own pages, `page` is where it will be."""

    def files(self, results: Any, split: Any) -> dict[str, str | bytes]:
        """Return the contents of the files beside report.html, by name."""


class ScreenFace(Protocol):
    """screen.py: what is printed on a terminal."""

    def title(self, results: Any, split: Any) -> str:
        """Return the heading of a run's report."""

    def notes(self, results: Any, split: Any) -> list[str]:
        """Return what a reader should know first."""

    def report(self, results: Any, split: Any) -> "Iterator[RenderableType | None]":
        """Yield the parts of a run's report; None stands for one that there is not."""

    def comparison(self, comparison: Any) -> "tuple[list[str], list[Any]]":
        """Return the notes and the tables of a comparison."""

    def evaluation(
        self, folder: RunFolder, metrics: Mapping[str, Any], head: Any
    ) -> "Iterator[tuple[str, list[RenderableType]]]":
        """Yield the parts of an evaluation, each with its heading, which may be empty."""


@dataclass(frozen=True)
class HubNames:
    """What other tools call a task and its models.

    Attributes:
        pipeline: the pipeline tag of the Hugging Face hub.
        keras_class: KerasHub's task class without the architecture's stem.
        auto_class: transformers' class that loads any such model.
        suffix: end of transformers' class names; `decoder_suffix` that of decoders which KerasHub converts.
        decoder_suffix: see `suffix`.
        compared: what the agreement of an export counts, such as ``same label``.
        text_compared: what the agreement from texts counts, in words.
        scores: metrics of the model card; the first two stand in its metadata.
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
        NAMES: what other tools call the task.
        KEEPS_OUTPUT: whether an export keeps the base's own output layer and generation settings.
        ONNX_NOTE: what to know of an ONNX file, or nothing.
        PLAIN_HEAD: how the head stands beside a preset that KerasHub has no such task for; None where it cannot.
    """

    NAMES: HubNames
    KEEPS_OUTPUT: bool
    ONNX_NOTE: str
    PLAIN_HEAD: PlainHead | None

    def loading(self, form: str, model: Any, base: str, inputs: str) -> str:
        """Return the lines of Python that load an export of a format."""

    def classes(self, model: Any) -> tuple[str, ...]:
        """Return the class names, empty where there are none."""

    def hub_config(self, model: Any) -> dict[str, Any]:
        """Return what transformers' config.json says of the task beside the model's shape."""

    def logits(self, model: Any, probe: "Probe") -> "np.ndarray":
        """Return the model's own logits of the rows; see `Probe.logits`."""

    def probe(self, model: Any, config: FitConfig) -> "Probe":
        """Return rows to compare an export on.

        Raises:
            DataError: there are none.
        """

    def text_agreement(
        self,
        probe: "Probe",
        reference: "np.ndarray",
        tokens: "Callable[[], Sequence[Sequence[int]]]",
        logits: "Callable[[], np.ndarray]",
    ) -> float:
        """Return how far an export's own tokenizer leads to the same.

        Args:
            probe: the rows.
            reference: the run's logits of them.
            tokens: returns the export's token ids of each row, not cut.
            logits: returns the export's logits of each row, from its text.
        """

    def keras_agreement(
        self, plain: Any, directory: Path, probe: "Probe", reference: "np.ndarray", model: Any
    ) -> float:
        """Return the same of an exported Keras preset.

        Args:
            plain: what makes logits of inputs with plain KerasHub.
            directory: the preset.
            probe: the rows.
            reference: the run's logits of them.
            model: the exported model.
        """

    def imported(self, folder: Path, config: FitConfig, preset: "Preset", dataset: Any | None) -> Any:
        """Build the model that an adapter of PEFT fits, without the adapter.

        Raises:
            AdapterError: the adapter does not fit the preset.
            ConfigError: the settings do not fit the adapter.
        """
