"""Opens a run: its settings, its base model, its fine-tuned model.

It does not load scikit-learn, which would add a sixth to the start of `kerora predict` and 60 MB.
"""

import dataclasses
from pathlib import Path
from typing import Any

from kerora.errors import ConfigError, PresetError, RunError
from kerora.evaluation.predictions import read_classes
from kerora.lora.files import load_adapter, read_adapter_config
from kerora.lora.quantize import quantize
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset, find_preset
from kerora.runfolder import RunFolder, check_has_adapter
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import load_yaml, resolve


def load(path: Path | str, preset: str | None = None, *, dtype: str | None = None) -> Any:
    """Open the fine-tuned model of a run: base, adapter and head, with bit-identical logits.

    Args:
        path: the run folder.
        preset: where the base model is now, if it is no longer where the run found it.
        dtype: dtype of the backbone; None takes the run's.

    Returns:
        A `TextClassifier`, or for a run of the task causal-lm a `CausalLM`, that can also be trained further.

    Raises:
        RunError: not a run folder, or it holds no adapter yet.
        PresetError: the base model is not found, or is not the one that the run was trained on.
        AdapterError: the adapter is damaged or does not fit.
    """
    run = RunFolder.open(path)
    config = read_config(run)
    classes = read_classes(run) if config.task == "classification" else ()
    check_has_adapter(run)
    base = open_preset(run, config, preset)
    trained_on = read_adapter_config(run.adapter).get("kerora", {}).get("fingerprint", base.fingerprint)
    if trained_on != base.fingerprint:
        raise _other_base(run, str(trained_on), base)
    options: dict[str, Any] = {"max_length": config.model.max_length, "dtype": dtype or backbone_dtype(config)}
    model: TextClassifier | CausalLM
    if config.task == "classification":
        options |= {"head_dropout": config.model.head_dropout, "seed": config.training.seed}
        model = TextClassifier.from_preset(base, classes, **options)
    else:
        model = CausalLM.from_preset(base, **options)
    if config.model.quantize:
        quantize(model, config.model.quantize)
    load_adapter(model, run.adapter)
    return model


def check_task(run: RunFolder, task: str) -> FitConfig:
    """Read the settings of a run that must be of a task.

    Raises:
        RunError: it is of another one; says which commands it is for.
    """
    config = read_config(run)
    if config.task != task:
        remedy = {
            "classification": "`kerora predict` labels texts with it",
            "causal-lm": "`kerora generate` continues texts with it, `kerora evaluate` measures it",
        }
        raise RunError(f"{run.path} was trained for {config.task}, not {task}: {remedy[config.task]}.")
    return config


def read_config(run: RunFolder) -> FitConfig:
    """Read the settings of a run.

    Relative paths that are not here are taken from the working directory in which the run was
    started, where they are there.

    Raises:
        RunError: config.yaml is missing or damaged.
    """
    try:
        config = resolve(load_yaml(run.config))
    except ConfigError as error:
        raise RunError(f"{str(error).removesuffix(' Check --config.')} Restore the file or train again.") from error
    started_in = run.read_manifest().get("working_directory")
    if not isinstance(started_in, str):
        return config
    names = ("source", "train", "validation", "test", "data_dir")
    found = {name: _found_from(started_in, getattr(config.data, name)) for name in names}
    model = dataclasses.replace(config.model, preset=_found_from(started_in, config.model.preset))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **found), model=model)


def _found_from(directory: str, spec: Any) -> Any:
    if spec is None or Path(spec).exists() or not (Path(directory) / spec).exists():
        return spec
    return str(Path(directory) / spec)


def open_preset(run: RunFolder, config: FitConfig, preset: str | None = None) -> Preset:
    """Find the base model of a run and check that it is the one that was trained on.

    Raises:
        PresetError: it is not found, or its files differ.
    """
    recorded = run.read_manifest().get("preset", {})
    spec = preset or config.model.preset
    if preset is None and not Path(spec).exists() and Path(recorded.get("directory", "")).is_dir():
        # a folder that was given by a path, or a name whose files need not be looked up again
        spec = recorded["directory"]
    base = find_preset(spec)
    if recorded.get("fingerprint") not in (None, base.fingerprint):
        raise _other_base(run, str(recorded["fingerprint"]), base)
    return base


def _other_base(run: RunFolder, wanted: str, base: Preset) -> PresetError:
    return PresetError(
        f"{run.path} was trained on a base model with fingerprint {wanted[:12]}, but {base.directory} has "
        f"{base.fingerprint[:12]}. Give the right one with --preset."
    )
