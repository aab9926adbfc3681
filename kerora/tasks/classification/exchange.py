"""Classifiers in other tools: names, code snippets, and the comparison of an export with its run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError
from kerora.models.classifier import TextClassifier
from kerora.models.presets import Preset
from kerora.models.problem_types import ONE_CLASS
from kerora.settings.fit import FitConfig
from kerora.tasks.classification.rows import load
from kerora.tasks.exchange_contract import HubNames
from kerora.tasks.probe import Probe
from kerora.tasks.probe import compare as compare
from kerora.tasks.whole_text import keras_head
from kerora.tasks.whole_text.exchange import keras_logits, output_config, outputs_of_adapter, probe_of
from kerora.tasks.whole_text.exchange import logits as logits
from kerora.tasks.whole_text.model import model_options

NAMES = HubNames(
    pipeline="text-classification",
    keras_class="TextClassifier",
    auto_class="AutoModelForSequenceClassification",
    suffix="ForSequenceClassification",
    decoder_suffix="ForSequenceClassification",
    compared="same label",
    text_compared="from text",
    scores=("accuracy", "macro_f1", "loss"),
)
# the trained head takes the place of the output layer of the base
KEEPS_OUTPUT = False
ONNX_NOTE = ""
PLAIN_HEAD = keras_head
# the formats with a labels.json
# for str.format: a doubled brace becomes a single one
LOADING = {
    "peft": """from transformers import AutoModelForSequenceClassification
from peft import PeftModel
base = AutoModelForSequenceClassification.from_pretrained({base!r}, num_labels={count})
model = PeftModel.from_pretrained(base, "DIR")""",
    "keras": """import keras_hub
model = keras_hub.models.TextClassifier.from_preset("DIR")
print(model.predict(["a text"]))""",
    "transformers": """from transformers import pipeline
classify = pipeline("text-classification", model="DIR")
print(classify("a text"))""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
row = tokenizers.Tokenizer.from_file("DIR/tokenizer.json").encode("a text")
print(onnxruntime.InferenceSession("DIR/model.onnx").run(None, {{{inputs}}}))""",
    "kerora": """import kerora
model = kerora.load("DIR")
print(model.predict_labels(["a text"]))""",
}


def loading(form: str, model: TextClassifier, base: str, inputs: str) -> str:
    """Return the lines of Python that load an export."""
    return LOADING[form].format(base=base, count=len(model.classes), inputs=inputs)


def classes(model: TextClassifier) -> tuple[str, ...]:
    """Return the class names."""
    return model.classes


def labels(model: TextClassifier) -> dict[str, Any]:
    """Return the class names, and the temperature if there is one."""
    temperature = {} if model.temperature == 1 else {"temperature": model.temperature}
    return {"classes": list(model.classes), **temperature}


def decision(form: str, model: TextClassifier) -> str:
    """Say how the probabilities of the run follow from the logits, and that other tools do not know the temperature."""
    if model.temperature == 1:
        return ""
    value = f"{model.temperature:.6g}"
    run = (
        f"The run divides the logits by the temperature {value} before the softmax. It was fitted on the validation "
        "rows (Guo et al. 2017, arXiv:1706.04599). The labels do not depend on it."
    )
    if form == "kerora":
        return f"{run} `adapter/labels.json` holds it, and Kerora uses it."
    parts = [
        f"{run} labels.json holds it, but other tools do not read it: their probabilities are those without it.",
        f"`softmax(logits / {value})` gives the probabilities of the run.",
    ]
    if form == "transformers":
        parts.append("`classify(text, top_k=None, function_to_apply='none')` gives the logits.")
    return " ".join(parts)


def hub_config(model: TextClassifier) -> dict[str, Any]:
    """Return the classes in the form of transformers' config.json."""
    # transformers then takes cross entropy if it trains the model further
    return output_config(model.classes, ONE_CLASS)


def probe(model: TextClassifier, config: FitConfig) -> Probe:
    """Return 32 rows of the data of the run. If that data is gone, return rows of the bundled tickets."""
    return probe_of(load, model, config)


def text_agreement(
    probe: Probe,
    reference: np.ndarray,
    tokens: Callable[[], Sequence[Sequence[int]]],
    logits: Callable[[], np.ndarray],
) -> float:
    """Return the share of the rows with the same label."""
    return float((logits().argmax(axis=1) == reference.argmax(axis=1)).mean())


def keras_agreement(plain: Any, directory: Path, probe: Probe, reference: np.ndarray, model: TextClassifier) -> float:
    """Return the share of the rows with the same label, if the preprocessor of the preset reads the text."""
    own = keras_logits(plain, directory, probe, model)
    return float((own.argmax(axis=1) == reference.argmax(axis=1)).mean())


def imported(folder: Path, config: FitConfig, preset: Preset, dataset: Dataset[Rows[int]] | None) -> TextClassifier:
    """Build a classifier with one class for each output of the adapter's head."""
    names = _classes(folder, preset, dataset, config.data.class_names)
    model = TextClassifier.from_preset(preset, names, **model_options(config))
    # transformers counts the outputs from 0, and its data holds these numbers as labels
    model.label_values = dataset.values if dataset else tuple(str(number) for number in range(len(names)))
    return model


def _classes(folder: Path, preset: Preset, dataset: Dataset[Rows[int]] | None, given: Sequence[str]) -> tuple[str, ...]:
    count = outputs_of_adapter(folder, preset)
    # The number of outputs is a fact of the adapter. The names come from the data, the setting, or the base model.
    own = preset.class_names or ()
    for source, names in (("The data", dataset.classes if dataset else ()), ("--class-names", tuple(given))):
        if names and len(names) != count:
            raise ConfigError(
                f"{source} has {len(names)} classes ({', '.join(names)}), but the head of the adapter has {count}. "
                "Give the data or the class names that the adapter was trained on."
            )
    # in this order: the data is given now, the names in the base may be those of another task
    if dataset is not None:
        return dataset.classes
    # LABEL_n is the name that transformers gives a class without a name
    return tuple(given) or (own if len(own) == count else tuple(f"LABEL_{number}" for number in range(count)))
