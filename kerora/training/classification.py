"""Text classification as a task of `kerora fit`."""

from typing import Any

import keras
import numpy as np

from kerora.data.batches import Batches, balanced_class_weights
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.evaluation.predictions import write_predictions
from kerora.evaluation.scoring import evaluate_rows
from kerora.models.classifier import TextClassifier
from kerora.models.frozen_start import FrozenStart
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.models.task import TOKENS_A_ROW, Task, evaluation_tokens
from kerora.runfolder import RunFolder, write_json
from kerora.settings.fit import FitConfig
from kerora.training.callbacks import HISTORY_COLUMNS, ClassificationReport
from kerora.training.defaults import settle_mask_share
from kerora.training.losses import CrossEntropy
from kerora.training.tasks import EVALUATED, Parts


class Classification:
    """Single-label classification; see `kerora.training.tasks.FitTask`."""

    columns: tuple[str, ...] = HISTORY_COLUMNS

    def load(self, config: FitConfig) -> Dataset:
        """Load labelled rows."""
        return load_dataset(config.data, config.training.seed)

    def build(self, config: FitConfig, preset: Preset, dataset: Dataset) -> Task:
        """Build a classifier with a fresh head."""
        return TextClassifier.from_preset(
            preset,
            dataset.classes,
            max_length=config.model.max_length,
            dtype=backbone_dtype(config),
            head_dropout=config.model.head_dropout,
            seed=config.training.seed,
        )

    def training_batches(self, config: FitConfig, dataset: Dataset, model: Task) -> Batches:
        """Return the training rows in buckets of like length."""
        training, rows = config.training, dataset["train"]
        balanced = training.class_weights == "balanced"
        batches = model.batches(
            rows,
            batch_size=training.batch_size,
            shuffle=True,
            seed=training.seed,
            class_weights=balanced_class_weights(rows.targets, len(dataset.classes)) if balanced else None,
        )
        assert isinstance(model, TextClassifier)
        model.mask_share = settle_mask_share(training, len(rows), model)
        model.use_frozen_start(FrozenStart(model) if training.cache_frozen else None)
        return _with_states(model, batches, config)

    def compile(self, model: Task, config: FitConfig, optimizer: Any, step: Any) -> None:
        """Compile with cross entropy and accuracy."""
        loss = CrossEntropy(config.training.label_smoothing)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], step=step)

    def validation(self, parts: Parts) -> keras.callbacks.Callback:
        """Measure with scikit-learn."""
        size = parts.config.training.evaluation_batch_size
        rows, tokens = parts.dataset["validation"], evaluation_tokens(size)
        batches = parts.model.batches(rows, batch_size=size, max_tokens=tokens)
        batches = _with_states(parts.model, batches, parts.config)
        return ClassificationReport(batches, parts.dataset.classes)

    def notes(self, parts: Parts) -> list[str]:
        """Name the data, its rows and classes."""
        dataset = parts.dataset
        rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
        skipped = sum(dataset.skipped.values())
        dropped = f"; {skipped:,} bad rows skipped" if skipped else ""
        return [f"Data: {dataset.name}, {rows} rows, {len(dataset.classes)} classes{dropped}"]

    def measure(self, parts: Parts, run: RunFolder, *, trained: bool) -> dict[str, dict[str, Any]]:
        """Evaluate, and after training write predictions.csv."""
        size = parts.config.training.evaluation_batch_size
        assert isinstance(parts.model, TextClassifier)
        metrics: dict[str, dict[str, Any]] = {}
        predictions: list[tuple[str, Any, np.ndarray]] = []
        for split, rows in parts.dataset:
            if split in EVALUATED:
                metrics[split], probabilities = evaluate_rows(parts.model, rows, size, cache=True)
                predictions.append((split, rows, probabilities))
        if trained:
            write_predictions(run.predictions, parts.dataset.classes, predictions)
        return metrics

    def adapter_facts(self, parts: Parts) -> dict[str, Any]:
        """Say whether rows are pairs."""
        return {"pairs": parts.dataset["train"].pairs is not None}

    def write_labels(self, parts: Parts, run: RunFolder) -> None:
        """Write labels.json."""
        write_json(run.labels, {"classes": list(parts.dataset.classes)})


def _with_states(model: Task, batches: Batches, config: FitConfig) -> Batches:
    assert isinstance(model, TextClassifier)
    if model.frozen_start is not None:
        size = config.training.evaluation_batch_size
        batches.states = model.frozen_start.states(batches, size * TOKENS_A_ROW)
    return batches
