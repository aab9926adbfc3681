"""Regressors in other tools: names, code snippets, and the comparison of an export with its run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.numbers import NumberRows, Scale
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.models.presets import Preset
from kerora.models.problem_types import NUMBERS
from kerora.models.regressor import TextRegressor
from kerora.settings.fit import FitConfig
from kerora.tasks.exchange_contract import HubNames
from kerora.tasks.probe import Probe
from kerora.tasks.regression.rows import load
from kerora.tasks.whole_text import keras_head
from kerora.tasks.whole_text.exchange import keras_logits, output_config, outputs_of_adapter, probe_of
from kerora.tasks.whole_text.exchange import logits as logits
from kerora.tasks.whole_text.model import model_options

TOLERANCE = 1e-3
"""Largest relative difference of two numbers that count as the same."""
NAMES = HubNames(
    pipeline="text-classification",
    keras_class="TextClassifier",
    auto_class="AutoModelForSequenceClassification",
    suffix="ForSequenceClassification",
    decoder_suffix="ForSequenceClassification",
    compared="same number",
    text_compared="from text",
    scores=("pearson", "rmse", "mae", "r2", "loss"),
    difference="largest relative difference of a number",
    outputs="Targets",
)
# the trained head takes the place of the output layer of the base
KEEPS_OUTPUT = False
ONNX_NOTE = ""
PLAIN_HEAD = keras_head
# for str.format: a doubled brace becomes a single one
LOADING = {
    "peft": """from transformers import AutoModelForSequenceClassification
from peft import PeftModel
base = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels={count}, problem_type="regression")
model = PeftModel.from_pretrained(base, "DIR")""",
    "keras": """import keras_hub
model = keras_hub.models.TextClassifier.from_preset("DIR")
print(model.predict(["a text"]))""",
    "transformers": """from transformers import pipeline
predict = pipeline("text-classification", model="DIR", top_k=None)
print(predict("a text"))  # the "score" is the number""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
row = tokenizers.Tokenizer.from_file("DIR/tokenizer.json").encode("a text")
print(onnxruntime.InferenceSession("DIR/model.onnx").run(None, {{{inputs}}}))""",
    "kerora": """import kerora
model = kerora.load("DIR")
print(model.predict_numbers(["a text"]))""",
}


def loading(form: str, model: TextRegressor, base: str, inputs: str) -> str:
    """Return the lines of Python that load an export."""
    return LOADING[form].format(base=base, count=len(model.classes), inputs=inputs)


def classes(model: TextRegressor) -> tuple[str, ...]:
    """Return the names of the targets."""
    return model.classes


def labels(model: TextRegressor) -> dict[str, Any]:
    """Return the names of the targets, and that the outputs are numbers, which KerasHub does not write."""
    return {"classes": list(model.classes), "problem_type": NUMBERS}


def decision(form: str, model: TextRegressor) -> str:
    """Return nothing: the outputs are the numbers."""
    return ""


def hub_config(model: TextRegressor) -> dict[str, Any]:
    """Return the targets in the form of transformers' config.json."""
    # transformers then takes the squared error, and its pipeline gives the number itself as the score
    return output_config(model.classes, NUMBERS)


def probe(model: TextRegressor, config: FitConfig) -> Probe:
    """Return 32 rows of the data of the run. If that data is gone, return rows of the bundled tickets."""
    return probe_of(load, model, config)


def compare(logits: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return the largest relative difference of a number, and the share of the rows with the same numbers.

    A difference is relative to the largest absolute number of its target, because a number can be near 0.
    """
    sizes = np.maximum(np.abs(reference).max(axis=0, initial=0.0), np.finfo(np.float32).tiny)  # (targets,)
    differences = np.abs(logits - reference) / sizes
    return float(differences.max()), float((differences <= TOLERANCE).all(axis=1).mean())


def text_agreement(
    probe: Probe,
    reference: np.ndarray,
    tokens: Callable[[], Sequence[Sequence[int]]],
    logits: Callable[[], np.ndarray],
) -> float:
    """Return the share of the rows with the same numbers."""
    return compare(logits(), reference)[1]


def keras_agreement(plain: Any, directory: Path, probe: Probe, reference: np.ndarray, model: TextRegressor) -> float:
    """Return the share of the rows with the same numbers, if the preprocessor of the preset reads the text."""
    return compare(keras_logits(plain, directory, probe, model), reference)[1]


def imported(folder: Path, config: FitConfig, preset: Preset, dataset: Dataset[NumberRows] | None) -> TextRegressor:
    """Build a regressor with a target for each output of the adapter's head. PEFT trained on the plain numbers."""
    count = outputs_of_adapter(folder, preset)
    names = _names(count, preset, dataset, config.data.label)
    return TextRegressor.from_preset(preset, names, scale=Scale.plain(count), **model_options(config))


def _names(count: int, preset: Preset, dataset: Dataset[NumberRows] | None, given: Sequence[str]) -> tuple[str, ...]:
    # The number of outputs is a fact of the adapter. The names come from the data, the setting, or the base model.
    for source, names in (("The data", dataset.classes if dataset else ()), ("--label", tuple(given))):
        if names and len(names) != count:
            raise ConfigError(
                f"{source} has {len(names)} targets ({', '.join(names)}), but the head of the adapter has {count}. "
                f"Name {count} columns with --label."
            )
    if dataset is not None:
        return dataset.classes
    own = preset.names_of(NUMBERS) or ()
    plain = ("label",) if count == 1 else tuple(f"label_{number}" for number in range(count))
    return tuple(given) or (own if len(own) == count else plain)
