"""What every task provides for exports and imports; see `kerora.tasks.contract`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kerora.settings.fit import FitConfig

# for type checkers alone: the names of the hub must not load Keras
if TYPE_CHECKING:
    import numpy as np

    from kerora.models.presets import Preset
    from kerora.tasks.probe import Probe


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
        difference: what the largest difference of an export is, in words.
        outputs: what the outputs of a head are, in words.
    """

    pipeline: str
    keras_class: str
    auto_class: str
    suffix: str
    decoder_suffix: str
    compared: str
    text_compared: str
    scores: tuple[str, ...]
    difference: str = "largest logit difference"
    outputs: str = "Classes"


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

    def labels(self, model: Any) -> dict[str, Any]:
        """Return the content of labels.json in exports that have this file. Empty if the task has no classes."""

    def decision(self, form: str, model: Any) -> str:
        """Return what a model card says about the step from logits to answers, in Markdown. May be empty.

        Args:
            form: format of the export.
            model: the exported model.
        """

    def hub_config(self, model: Any) -> dict[str, Any]:
        """Return the keys that the task adds to transformers' config.json."""

    def logits(self, model: Any, probe: "Probe") -> "np.ndarray":
        """Return the logits that the model itself gives for the rows. See `Probe.logits`."""

    def probe(self, model: Any, config: FitConfig) -> "Probe":
        """Return rows to compare an export on.

        Raises:
            DataError: there are no rows.
        """

    def compare(self, logits: "np.ndarray", reference: "np.ndarray") -> tuple[float, float]:
        """Return the largest difference of an output of an export, and the share of the rows with the same result.

        Args:
            logits: what the export computes, as `Probe.logits` returns it.
            reference: the same of the run.
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
