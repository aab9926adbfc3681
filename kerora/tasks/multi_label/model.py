"""Build models for several labels per text: new ones, those of runs, and their base models."""

from pathlib import Path

from kerora.data.rows import Dataset
from kerora.models.multi_label import MultiLabelClassifier
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.runfolder import RunFolder, check_has_adapter
from kerora.settings.fit import FitConfig
from kerora.tasks.multi_label.labels import TagLabels, read_tag_labels, write_tag_labels
from kerora.tasks.whole_text.model import check_names, model_options


def build(config: FitConfig, preset: Preset, dataset: Dataset) -> MultiLabelClassifier:
    """Build a model for the labels of the dataset, with a new, untrained head and thresholds of 0.5."""
    labels = TagLabels(dataset.classes, dataset.values, thresholds=(0.5,) * len(dataset.classes))
    return of_run(config, preset, labels, backbone_dtype(config))


def of_run(config: FitConfig, preset: Preset, labels: TagLabels, dtype: str) -> MultiLabelClassifier:
    """Build the model of a run, without its adapter."""
    model = MultiLabelClassifier.from_preset(preset, labels.names, dtype=dtype, **model_options(config))
    model.label_values, model.thresholds = labels.values, labels.thresholds
    return model


def read_head(run: RunFolder) -> TagLabels:
    """Read the labels of the adapter of a run.

    Raises:
        RunError: there is no adapter yet, or labels.json is missing, damaged, or belongs to another adapter.
        AdapterError: adapter_config.json is missing or damaged.
    """
    check_has_adapter(run)
    labels = read_tag_labels(run.labels)
    check_names(run, labels.names)
    return labels


def head_of(model: MultiLabelClassifier) -> TagLabels:
    """Return the labels of a model with their thresholds."""
    return TagLabels(model.classes, model.label_values, thresholds=tuple(model.thresholds.tolist()))


def write_head(run: RunFolder, model: MultiLabelClassifier) -> None:
    """Write labels.json."""
    write_tag_labels(run.labels, head_of(model))


def plain_copy(model: MultiLabelClassifier, seed: int | None = None) -> MultiLabelClassifier:
    """Return the base model in float32 with a new, untrained head."""
    return MultiLabelClassifier.from_preset(
        model.preset, model.classes, max_length=model.max_length, seed=seed, truncate=model.truncate
    )


def of_folder(directory: Path, like: MultiLabelClassifier) -> MultiLabelClassifier:
    """Load an exported preset with its head, labels and thresholds."""
    return MultiLabelClassifier.from_preset(str(directory), max_length=like.max_length, truncate=like.truncate)


def shape(model: MultiLabelClassifier) -> str:
    """Name the labels."""
    return f"the labels {', '.join(model.classes)}"
