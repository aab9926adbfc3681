"""Opens a run: its settings, its base model, its fine-tuned model.

It does not load scikit-learn, which would add a sixth to the start of `kerora predict` and 60 MB.
"""

import dataclasses
from pathlib import Path
from typing import Any

from kerora.errors import ConfigError, PresetError, RunError
from kerora.lora.files import load_adapter, read_adapter_config
from kerora.lora.quantize import quantize
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset, find_preset
from kerora.runfolder import RunFolder, check_has_adapter
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import load_yaml, resolve
from kerora.tasks.registry import Task, check_command, task_named


def load(path: Path | str, preset: str | None = None, *, dtype: str | None = None) -> Any:
    """Open the fine-tuned model of a run: base, adapter and head, with bit-identical logits.

    Args:
        path: the run folder.
        preset: where the base model is now, if it is no longer where the run found it.
        dtype: dtype of the backbone; None takes the run's.

    Returns:
        The model of the run's task, such as a `TextClassifier` or a `CausalLM`; it can also be trained further.

    Raises:
        RunError: not a run folder, or it holds no adapter yet.
        PresetError: the base model is not found, or is not the one that the run was trained on.
        AdapterError: the adapter is damaged or does not fit.
    """
    run = RunFolder.open(path)
    config = read_config(run)
    task = task_named(config.task)
    head = task.models.read_head(run)
    check_has_adapter(run)
    base = open_preset(run, config, preset)
    trained_on = read_adapter_config(run.adapter).get("kerora", {}).get("fingerprint", base.fingerprint)
    if trained_on != base.fingerprint:
        raise _other_base(run, str(trained_on), base)
    model = task.models.of_run(config, base, head, dtype or backbone_dtype(config))
    if config.model.quantize:
        quantize(model, config.model.quantize)
    load_adapter(model, run.adapter)
    return model


def read_config_for(run: RunFolder, command: str) -> tuple[FitConfig, Task]:
    """Read the settings of a run that a command is for, and its task.

    Raises:
        RunError: the command is not for such runs; says which commands are.
    """
    config = read_config(run)
    task = task_named(config.task)
    check_command(run, task, command)
    return config, task


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
