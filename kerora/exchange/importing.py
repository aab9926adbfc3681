"""Makes a run folder from an adapter that PEFT trained and saved."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kerora.errors import AdapterError
from kerora.hubs.names import HUGGING_FACE
from kerora.lora.files import CONFIG_FILE, load_adapter, read_adapter_config
from kerora.lora.source import adapter_folder
from kerora.models.presets import find_preset
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, create_run
from kerora.settings.fit import FitConfig
from kerora.tasks.registry import task_of_peft_type
from kerora.tasks.whole_text.exchange import problem_type_of
from kerora.training.saved_run import evaluated, write_run


def import_peft(
    directory: str | Path, output: str, config: FitConfig, *, evaluate: bool = False, argv: Sequence[str] = ()
) -> RunFolder:
    """Write a run folder from an adapter of PEFT. All commands that take a run accept it.

    Args:
        directory: folder with PEFT's adapter_config.json and adapter_model.safetensors, or with adapter_model.bin of
            older versions. Or ``hf://organisation/name[@revision][/folder]`` of the Hugging Face hub.
        output: the run folder to make.
        config: preset, precision and length, and with `evaluate` also the data. ``data.class_names`` names the
            classes. Without data, ``language.turns`` or ``language.prompt`` give the form of the texts.
        evaluate: whether to read the data and record metrics and predictions.
        argv: the command line, for the manifest.

    Raises:
        AdapterError: the adapter does not fit the preset, or has features that Kerora does not have. The message
            names them.
        KeroraError: the preset or the data cannot be used. Nothing was written.
    """
    folder = adapter_folder(directory)
    if not (folder / CONFIG_FILE).is_file():
        raise AdapterError(f"{folder} holds no {CONFIG_FILE}. Give the folder that PEFT's save_pretrained wrote.")
    description = read_adapter_config(folder)
    # here too, so that a foreign type fails before the search for the base
    task_of_peft_type(description.get("task_type"), config.task, folder)
    # all that can fail comes before `create_run`, so a refused import leaves no folder
    preset = find_preset(config.model.preset)
    problem = problem_type_of(folder, description, preset)
    task = task_of_peft_type(description.get("task_type"), config.task, folder, problem)
    config = dataclasses.replace(config, task=task.name)
    dataset = task.rows.load(config) if evaluate else None
    model: TaskModel = task.exchange.imported(folder, config, preset, dataset)
    model.read_long(config.model)
    load_adapter(model, folder)
    found = evaluated(task, model, dataset, config)
    # create_run puts a name without a slash into runs_dir, but the output of an import is a path
    run = create_run(output if "/" in output else f"./{output}", config.runs_dir, "imported")
    # only the name of the folder: model cards show it, and they are published
    origin = str(directory) if str(directory).startswith(HUGGING_FACE) else folder.resolve().name
    write_run(run, task, model, config, dataset, found, description=description, argv=argv, imported_from=origin)
    return run
