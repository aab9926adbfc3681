"""Build regressors: new ones, those of runs, and their base models."""

from pathlib import Path
from typing import Any

from kerora.data.numbers import NumberRows, Scale
from kerora.data.rows import Dataset
from kerora.errors import RunError
from kerora.lora.files import read_adapter_config
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.models.regressor import TextRegressor
from kerora.runfolder import RunFolder, check_has_adapter
from kerora.settings.fit import FitConfig
from kerora.tasks.regression.labels import Targets, read_targets, write_targets
from kerora.tasks.whole_text.model import model_options


def build(config: FitConfig, preset: Preset, dataset: Dataset[NumberRows]) -> TextRegressor:
    """Build a regressor with a new head, and with the scale of the training rows."""
    plain = Targets(dataset.classes, Scale.plain(len(dataset.classes)))
    model = of_run(config, preset, plain, backbone_dtype(config))
    model.set_scale(model.scale_of(dataset["train"].targets))
    return model


def of_run(config: FitConfig, preset: Preset, targets: Targets, dtype: str) -> TextRegressor:
    """Build the regressor of a run, without its adapter."""
    return TextRegressor.from_preset(preset, targets.names, dtype=dtype, scale=targets.scale, **model_options(config))


def read_head(run: RunFolder) -> Targets:
    """Read the targets of the adapter of a run.

    Raises:
        RunError: there is no adapter yet, or labels.json is missing, damaged, or belongs to another adapter.
        AdapterError: adapter_config.json is missing or damaged.
    """
    check_has_adapter(run)
    targets = read_targets(run.labels)
    own = read_adapter_config(run.adapter).get("kerora", {})
    here = {"classes": targets.names, "mean": targets.scale.mean, "deviation": targets.scale.deviation}
    # The adapter holds these values too: with labels.json of another run the numbers would be wrong.
    if any(list(value) != own.get(key, list(value)) for key, value in here.items()):
        raise RunError(f"{run.labels} does not hold the targets that the adapter was trained on. Restore the file.")
    return targets


def head_of(model: TextRegressor) -> Targets:
    """Return the targets of a model."""
    return Targets(model.classes, model.scale)


def write_head(run: RunFolder, model: TextRegressor) -> None:
    """Write labels.json."""
    write_targets(run.labels, head_of(model))


def plain_copy(model: TextRegressor, seed: int | None = None) -> TextRegressor:
    """Return the base model in float32 with a new, untrained head, and with the same scale."""
    options: dict[str, Any] = {"max_length": model.max_length, "truncate": model.truncate, "scale": model.scale}
    return TextRegressor.from_preset(model.preset, model.classes, seed=seed, **options)


def of_folder(directory: Path, like: TextRegressor) -> TextRegressor:
    """Load an exported preset with its head, which predicts numbers as they are."""
    return TextRegressor.from_preset(str(directory), max_length=like.max_length, truncate=like.truncate)


def shape(model: TextRegressor) -> str:
    """Name the targets."""
    return f"the targets {', '.join(model.classes)}"
