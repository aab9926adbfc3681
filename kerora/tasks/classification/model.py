"""Build classifiers: new ones, those of runs, and their base models."""

from pathlib import Path

from kerora.data.classes import ClassLabels
from kerora.data.rows import Dataset
from kerora.models.classifier import TextClassifier
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.runfolder import RunFolder, check_has_adapter
from kerora.settings.fit import FitConfig
from kerora.tasks.whole_text.labels import read_labels, write_labels
from kerora.tasks.whole_text.model import check_names, model_options


def build(config: FitConfig, preset: Preset, dataset: Dataset) -> TextClassifier:
    """Build a classifier for the classes of the dataset, with a new, untrained head."""
    return of_run(config, preset, ClassLabels(dataset.classes, dataset.values), backbone_dtype(config))


def of_run(config: FitConfig, preset: Preset, labels: ClassLabels, dtype: str) -> TextClassifier:
    """Build the classifier of a run, without its adapter."""
    model = TextClassifier.from_preset(preset, labels.names, dtype=dtype, **model_options(config))
    model.label_values, model.temperature = labels.values, labels.temperature
    return model


def read_head(run: RunFolder) -> ClassLabels:
    """Read the classes of the adapter of a run.

    Raises:
        RunError: there is no adapter yet, or labels.json is missing, damaged, or belongs to another adapter.
        AdapterError: adapter_config.json is missing or damaged.
    """
    check_has_adapter(run)
    labels = read_labels(run.labels)
    check_names(run, labels.names)
    return labels


def head_of(model: TextClassifier) -> ClassLabels:
    """Return the classes of a model."""
    return ClassLabels(model.classes, model.label_values, model.temperature)


def write_head(run: RunFolder, model: TextClassifier) -> None:
    """Write labels.json."""
    write_labels(run.labels, head_of(model))


def plain_copy(model: TextClassifier, seed: int | None = None) -> TextClassifier:
    """Return the base model in float32 with a new, untrained head."""
    return TextClassifier.from_preset(
        model.preset, model.classes, max_length=model.max_length, seed=seed, truncate=model.truncate
    )


def of_folder(directory: Path, like: TextClassifier) -> TextClassifier:
    """Load an exported preset with its head and classes."""
    return TextClassifier.from_preset(str(directory), max_length=like.max_length, truncate=like.truncate)


def shape(model: TextClassifier) -> str:
    """Name the classes."""
    return f"the classes {', '.join(model.classes)}"
