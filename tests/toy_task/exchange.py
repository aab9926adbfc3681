"""A regression of one number in other tools."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.data.rows import Rows
from kerora.tasks.contract import HubNames
from kerora.tasks.probe import ROWS, Probe, dataset_or_tickets, probed_rows
from tests.toy_task import rows as toy_rows
from tests.toy_task.model import WordCounter

keras_hub = import_keras_hub()
NAMES = HubNames(
    pipeline="text-classification",
    keras_class="TextClassifier",
    auto_class="AutoModelForSequenceClassification",
    suffix="ForSequenceClassification",
    decoder_suffix="ForSequenceClassification",
    compared="same number",
    text_compared="same number from text",
    scores=("loss",),
)
KEEPS_OUTPUT = False
ONNX_NOTE = ""
PLAIN_HEAD = None


def loading(form: str, model: Any, base: str, inputs: str) -> str:
    return f"# load a {form} export of {base}"


def classes(model: Any) -> tuple[str, ...]:
    return ("words",)


def hub_config(model: Any) -> dict[str, Any]:
    return {"id2label": {"0": "words"}, "label2id": {"words": 0}, "problem_type": "regression"}


def logits(model: Any, probe: Probe) -> np.ndarray:
    return probe.logits(lambda inputs: model(inputs, training=False))


def decision(model: Any) -> dict[str, Any]:
    return {}


def probe(model: Any, config: Any) -> Probe:
    dataset = dataset_or_tickets(toy_rows.load, config)
    found = probed_rows(dataset)
    chosen: Rows[float] = Rows(found.texts[:ROWS], found.ids[:ROWS])
    return Probe(chosen, dataset.name, model.encode(chosen.texts))


def text_agreement(
    probe: Probe,
    reference: np.ndarray,
    tokens: Callable[[], Sequence[Sequence[int]]],
    logits: Callable[[], np.ndarray],
) -> float:
    return float((np.abs(logits() - reference) < 1e-3).mean())


def keras_agreement(plain: Any, directory: Path, probe: Probe, reference: np.ndarray, model: Any) -> float:
    with without_tensorflow():
        found = keras_hub.models.TextClassifierPreprocessor.from_preset(str(directory))(probe.rows.texts)
    inputs = {name: np.asarray(value, np.int32) for name, value in found.items()}
    return float((np.abs(Probe(probe.rows, probe.source, inputs).logits(plain) - reference) < 1e-3).mean())


def imported(folder: Path, config: Any, preset: Any, dataset: Any) -> WordCounter:
    return WordCounter.from_preset(preset, max_length=config.model.max_length)
