"""What the tasks share that read a whole text at once, for exports and imports."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.data.batches import padded_inputs
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_dataset
from kerora.errors import AdapterError
from kerora.lora.tensors import WEIGHTS_FILE, read_tensors
from kerora.models.json_files import read_json_object
from kerora.models.keras_presets import HEAD_FILE, LABELS_FILE
from kerora.models.presets import Preset
from kerora.models.problem_types import NUMBERS, ONE_CLASS
from kerora.models.whole_text import WholeTextModel
from kerora.settings.fit import FitConfig
from kerora.tasks.probe import ROWS, Probe, dataset_or_tickets, probed_rows
from kerora.tasks.whole_text import keras_head

keras_hub = import_keras_hub()


def logits(model: WholeTextModel, probe: Probe) -> np.ndarray:
    """Return the logits of the model for the rows, (rows, outputs)."""
    return probe.logits(lambda inputs: model(inputs, training=False))


def probe_of(load: Callable[[FitConfig], Dataset[Any]], model: WholeTextModel, config: FitConfig) -> Probe:
    """Return 32 rows of the data of the run. If that data is gone, return rows of the bundled tickets.

    Of a long text, the row is the part that other tools read: its end is cut.

    Args:
        load: reads the data as the task does.
        model: the model of the run.
        config: the settings of the run.

    Raises:
        DataError: there are no rows.
    """
    # read as classes: the tickets have no labels of another kind, and only their texts are needed
    dataset = dataset_or_tickets(load, config, lambda plain: load_dataset(plain.data))
    found = probed_rows(dataset)
    pairs = None if found.pairs is None else found.pairs[:ROWS]
    # without labels: the logits of both sides are compared
    rows: Rows[Any] = Rows(found.texts[:ROWS], found.ids[:ROWS], pairs=pairs)
    # One row of each text, cut at its end, as other tools read it.
    table = model.tokenizer.encode(rows.texts, rows.pairs, max_length=model.max_length)
    return Probe(rows, dataset.name, padded_inputs(table, np.arange(len(table)), model.tokenizer.pad_id))


def keras_logits(plain: Any, directory: Path, probe: Probe, model: WholeTextModel) -> np.ndarray:
    """Return the logits of an exported Keras preset whose own preprocessor reads the texts, (rows, outputs).

    Args:
        plain: function that computes logits from inputs with plain KerasHub.
        directory: the preset.
        probe: the rows.
        model: the exported model.
    """
    # KerasHub has no classifier of such a kind, so it has no preprocessor either
    if (directory / HEAD_FILE).is_file():
        inputs = keras_head.plain_inputs(directory, probe.rows.texts, model)
    else:
        with without_tensorflow():
            preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(str(directory))
            found = preprocessor(probe.rows.texts)
        inputs = {name: np.asarray(keras.ops.convert_to_numpy(value), np.int32) for name, value in found.items()}
    # the same rows, with the inputs that the preset makes of the texts
    return Probe(probe.rows, probe.source, inputs).logits(plain)


def output_config(names: Sequence[str], problem_type: str) -> dict[str, Any]:
    """Return the outputs of a head in the form of transformers' config.json, and what they mean."""
    return {
        # text, as JSON has no other keys
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": problem_type,
    }


def problem_type_of(folder: Path, description: Mapping[str, Any], preset: Preset) -> str:
    """Return what the outputs of the head in an adapter of PEFT mean, as transformers names it; empty if unknown.

    Args:
        folder: the folder of the adapter.
        description: its adapter_config.json.
        preset: the base model.
    """
    path = folder / LABELS_FILE
    beside = read_json_object(path) if path.is_file() else {}
    for found in (description.get("kerora", {}), description, beside):
        if isinstance(found.get("problem_type"), str) and found["problem_type"]:
            return str(found["problem_type"])
    weight = read_tensors(folder / WEIGHTS_FILE, None).get(_head_key(preset))
    if weight is None or weight.ndim != 2:
        return ""
    # the head of the base was trained further, or its config says what the head is for
    own = preset.names_of(preset.problem_type)
    if preset.problem_type != ONE_CLASS and (own is None or len(own) == len(weight)):
        return preset.problem_type
    # transformers takes one output as a number
    return NUMBERS if len(weight) == 1 else ""


def outputs_of_adapter(folder: Path, preset: Preset) -> int:
    """Return the number of outputs of the head in an adapter of PEFT.

    Raises:
        AdapterError: the adapter holds no head.
    """
    key = _head_key(preset)
    tensors = read_tensors(folder / WEIGHTS_FILE, None)
    if key not in tensors or tensors[key].ndim != 2:
        raise AdapterError(
            f"{folder / WEIGHTS_FILE} holds no classification head: it lacks {key}. Save it with PEFT again."
        )
    return int(tensors[key].shape[0])  # (outputs, width)


def _head_key(preset: Preset) -> str:
    # PEFT writes the head under its name in transformers, without modules_to_save
    return f"base_model.model.{preset.architecture.head.logits}.weight"
