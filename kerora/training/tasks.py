"""What a run does differently for each task; `kerora.training.fit` asks for it and does all else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from kerora.data.batches import Batches
from kerora.data.rows import Dataset
from kerora.lora.inject import LoraSummary
from kerora.lora.quantize import Quantised
from kerora.models.presets import Preset
from kerora.models.task import Task
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig

EVALUATED = ("validation", "test")


@dataclass
class Parts:
    """What a run is made of, before anything is written.

    Attributes:
        config: the settings, those that depend on data and model settled.
        dataset: the rows.
        model: the model with its adapter.
        summary: counts of its weights.
        batches: the training batches.
        quantised: what quantising the base came to; None where it is float.
    """

    config: FitConfig
    dataset: Dataset
    model: Task
    summary: LoraSummary
    batches: Batches
    quantised: Quantised | None = None


class FitTask(Protocol):
    """A task that `kerora fit` can train.

    Attributes:
        columns: of history.csv.
    """

    columns: tuple[str, ...]

    def load(self, config: FitConfig) -> Dataset:
        """Load the data."""

    def build(self, config: FitConfig, preset: Preset, dataset: Dataset) -> Task:
        """Build the model, without LoRA."""

    def training_batches(self, config: FitConfig, dataset: Dataset, model: Task) -> Batches:
        """Make the batches of the training part."""

    def compile(self, model: Task, config: FitConfig, optimizer: Any, step: Any) -> None:
        """Compile the model."""

    def validation(self, parts: Parts) -> keras.callbacks.Callback:
        """Return the callback that measures the validation part at each epoch's end."""

    def notes(self, parts: Parts) -> list[str]:
        """Return the lines about data that the heading of a run holds."""

    def measure(self, parts: Parts, run: RunFolder, *, trained: bool) -> Mapping[str, dict[str, Any]]:
        """Evaluate validation and test part and write the task's own files; return the metrics by split."""

    def adapter_facts(self, parts: Parts) -> dict[str, Any]:
        """Return the task's keys of adapter_config.json."""

    def write_labels(self, parts: Parts, run: RunFolder) -> None:
        """Write what stands beside the adapter."""
