"""Opens a run: its settings, its base model, its fine-tuned model.

It does not load scikit-learn, because that would slow down the start of `kerora predict`.
"""

import dataclasses
from pathlib import Path
from typing import Any

from kerora.data.trained_columns import for_run
from kerora.errors import ConfigError, PresetError, RunError
from kerora.lora.files import load_adapter, read_adapter_config
from kerora.lora.quantize import quantize
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset, find_preset
from kerora.notices import notice
from kerora.places import listed_files
from kerora.runfolder import RunFolder, check_has_adapter, check_has_settings
from kerora.settings.fit import DataConfig, FitConfig
from kerora.settings.resolve import load_yaml, resolve
from kerora.tasks.registry import Task, check_command, task_named


def load(path: Path | str, preset: str | Path | Preset | None = None, *, dtype: str | None = None) -> Any:
    """Open the fine-tuned model of a run: base, adapter and head, with bit-identical logits.

    Args:
        path: the run folder.
        preset: path or name of the base model, if it moved since the run was made. Or the opened base model.
        dtype: dtype of the backbone. None takes the dtype of the run.

    Returns:
        The model of the run, such as a `TextClassifier` or a `CausalLM`. It can be trained further.

    Raises:
        RunError: the path is not a run folder, or holds no adapter yet.
        PresetError: the base model is not found, or it is not the base model of the run.
        AdapterError: the adapter is damaged or does not fit.
    """
    run = RunFolder.open(path)
    config = read_config(run)
    task = task_named(config.task)
    # the small files first: an error in them appears before the slow loading of the base model
    head = task.models.read_head(run)
    check_has_adapter(run)
    _say_state(run)
    base = open_preset(run, config, preset)
    # run.json and the adapter both name the base: the adapter may have been copied from another run
    trained_on = read_adapter_config(run.adapter).get("kerora", {}).get("fingerprint", base.fingerprint)
    if trained_on != base.fingerprint:
        raise _other_base(run, str(trained_on), base)
    model = task.models.of_run(config, base, head, dtype or backbone_dtype(config))
    model.read_long(config.model)
    # as in training, the base is quantised before the adapter is added
    if config.model.quantize:
        quantize(model, config.model.quantize)
    load_adapter(model, run.adapter)
    return model


def _say_state(run: RunFolder) -> None:
    """Say what an adapter is that no finished training wrote. Runs of other tools have no state."""
    manifest = run.read_manifest()
    state, epoch = manifest.get("state", "finished"), manifest.get("kept_epoch")
    if state != "finished":
        which = f"of epoch {epoch}, the last good state" if epoch else "not the result of a whole training"
        notice(f"{run.path} is not finished (state: {state}). Its adapter is {which}.")


def read_config_for(run: RunFolder, command: str) -> tuple[FitConfig, Task]:
    """Read the settings and the task of a run, and check that a command works with it.

    Raises:
        RunError: the command does not work with such a run. The message names the commands that do.
    """
    config = read_config(run)
    task = task_named(config.task)
    check_command(run, task, command)
    return config, task


def read_config(run: RunFolder) -> FitConfig:
    """Read the settings of a run.

    If a relative path does not exist here but exists in the working directory in which the run was started, it is
    taken from there.

    Raises:
        RunError: config.yaml is missing or damaged.
    """
    check_has_settings(run)
    try:
        given = load_yaml(run.config)
        # the list of bad rows belongs to the training: whoever reads the rows again would write it again
        config = resolve(given, {"data.bad_rows": None})
    except ConfigError as error:
        # the message is written for --config, but here the file is that of the run
        raise RunError(f"{error.args[0].removesuffix(' Check --config.')} Restore the file or train again.") from error
    if "model.truncate" not in given:
        # earlier versions always cut on the right, whatever the tokenizer said
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, truncate="right"))
    started_in = run.read_manifest().get("working_directory")
    if not isinstance(started_in, str):
        return config
    names = ("source", "train", "validation", "test", "data_dir")
    found = {name: _found_from(started_in, getattr(config.data, name)) for name in names}
    model = dataclasses.replace(config.model, preset=_found_from(started_in, config.model.preset))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **found), model=model)


def read_by_columns_of(run: RunFolder, config: DataConfig) -> DataConfig:
    """Return settings that read new files by the columns that a run was trained on. Older runs do not name them."""
    data = run.read_manifest().get("data")
    return for_run(config, data.get("columns") if isinstance(data, dict) else None)


def _found_from(directory: str, spec: Any) -> Any:
    if spec is None:
        return spec
    # here first: a folder that was moved together with its data keeps working
    parts = [
        part if Path(part).exists() or not (Path(directory) / part).exists() else str(Path(directory) / part)
        for part in listed_files(str(spec))
    ]
    return spec if parts == [spec] else ",".join(parts)


def open_preset(run: RunFolder, config: FitConfig, preset: str | Path | Preset | None = None) -> Preset:
    """Find the base model of a run and check that it has the files that the run was trained on.

    Raises:
        PresetError: it is not found, or its files differ.
    """
    recorded = run.read_manifest().get("preset", {})
    spec: Any = preset or config.model.preset
    directory = recorded.get("directory")  # an export has none
    if preset is None and not Path(spec).exists() and directory and Path(directory).is_dir():
        # the run recorded the folder of the base model: use it, without a search for the name
        spec = directory
    base = spec if isinstance(spec, Preset) else find_preset(spec)
    # None: a run folder without this entry is accepted as it is
    if recorded.get("fingerprint") not in (None, base.fingerprint):
        raise _other_base(run, str(recorded["fingerprint"]), base)
    return base


def _other_base(run: RunFolder, wanted: str, base: Preset) -> PresetError:
    return PresetError(
        f"{run.path} was trained on a base model with fingerprint {wanted[:12]}, but {base.directory} has "
        f"{base.fingerprint[:12]}. Give the right one with --preset."
    )
