"""Models with several labels per text in other tools: names, snippets, and the comparison of an export with its run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Dataset, Rows
from kerora.errors import AdapterError, ConfigError
from kerora.models.json_files import read_json_object
from kerora.models.multi_label import LABELS_FILE, MultiLabelClassifier, sigmoid, thresholds_beside
from kerora.models.presets import Preset
from kerora.models.problem_types import SEVERAL_LABELS
from kerora.settings.fit import FitConfig
from kerora.tasks.exchange_contract import HubNames
from kerora.tasks.multi_label.rows import load
from kerora.tasks.probe import Probe
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
    compared="same labels",
    text_compared="same labels from text",
    scores=("macro_f1", "micro_f1", "loss"),
)
# the trained head takes the place of the output layer of the base
KEEPS_OUTPUT = False
ONNX_NOTE = ""
PLAIN_HEAD = keras_head
# what follows `scores`, the probabilities of one text in the order of labels.json
_LABELS = """
import json
known = json.load(open("DIR/labels.json"))
print([name for name, score, limit in zip(known["classes"], scores, known["thresholds"]) if score >= limit])"""
# for str.format: a doubled brace becomes a single one
LOADING = {
    "peft": """from transformers import AutoModelForSequenceClassification
from peft import PeftModel
base = AutoModelForSequenceClassification.from_pretrained(
    {base!r}, num_labels={count}, problem_type="multi_label_classification"
)
model = PeftModel.from_pretrained(base, "DIR")  # the sigmoid of its logits is the probability of each label""",
    "keras": """import keras, keras_hub
model = keras_hub.models.TextClassifier.from_preset("DIR")
scores = keras.ops.convert_to_numpy(keras.ops.sigmoid(model.predict(["a text"])))[0]""",
    "transformers": """from transformers import pipeline
classify = pipeline("text-classification", model="DIR", top_k=None)  # the sigmoid comes from problem_type
found = {{item["label"]: item["score"] for item in classify(["a text"])[0]}}""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
row = tokenizers.Tokenizer.from_file("DIR/tokenizer.json").encode("a text")
logits = onnxruntime.InferenceSession("DIR/model.onnx").run(None, {{{inputs}}})[0][0]
scores = 1 / (1 + np.exp(-logits))""",
    "kerora": """import kerora
model = kerora.load("DIR")
print(model.predict_labels(["a text"]))  # with the thresholds of the run""",
}


def loading(form: str, model: MultiLabelClassifier, base: str, inputs: str) -> str:
    """Return the lines of Python that load an export, and give the labels of a text with its thresholds."""
    code = LOADING[form].format(base=base, count=len(model.classes), inputs=inputs)
    if form == "transformers":
        return code + _LABELS.replace(", scores,", ', map(found.get, known["classes"]),')
    return code + _LABELS if form in ("keras", "onnx") else code


def classes(model: MultiLabelClassifier) -> tuple[str, ...]:
    """Return the names of the labels."""
    return model.classes


def hub_config(model: MultiLabelClassifier) -> dict[str, Any]:
    """Return the labels in the form of transformers' config.json. It has no room for the thresholds."""
    # transformers then takes binary cross entropy in training and the sigmoid in its pipeline
    return output_config(model.classes, SEVERAL_LABELS)


def labels(model: MultiLabelClassifier) -> dict[str, Any]:
    """Return the names, what the outputs mean, and the thresholds."""
    return {"classes": list(model.classes), "problem_type": SEVERAL_LABELS, "thresholds": model.thresholds.tolist()}


def decision(form: str, model: MultiLabelClassifier) -> str:
    """Say which labels a text gets, and where the thresholds are."""
    limits = ", ".join(f"{name} {limit:.3g}" for name, limit in zip(model.classes, model.thresholds, strict=True))
    where = "adapter/labels.json" if form == "kerora" else "labels.json"
    parts = [f"A text gets each label whose probability reaches its threshold: {limits}."]
    parts.append(f"The probability is the sigmoid of the logit. `{where}` holds these numbers in full.")
    return " ".join([*parts, "Kerora uses it." if form == "kerora" else "Other tools do not read it."])


def probe(model: MultiLabelClassifier, config: FitConfig) -> Probe:
    """Return 32 rows of the data of the run. If that data is gone, return rows of the bundled tickets."""
    return probe_of(load, model, config)


def compare(logits: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return the largest difference of a logit, and the share of the rows with the same labels at probability 0.5."""
    return float(np.abs(logits - reference).max()), float(((logits > 0) == (reference > 0)).all(axis=1).mean())


def text_agreement(
    probe: Probe,
    reference: np.ndarray,
    tokens: Callable[[], Sequence[Sequence[int]]],
    logits: Callable[[], np.ndarray],
) -> float:
    """Return the share of the rows with the same labels at probability 0.5."""
    return float(((logits() > 0) == (reference > 0)).all(axis=1).mean())


def keras_agreement(
    plain: Any, directory: Path, probe: Probe, reference: np.ndarray, model: MultiLabelClassifier
) -> float:
    """Return the share of the rows with the same labels, if the preprocessor of the preset reads the text."""
    own = sigmoid(keras_logits(plain, directory, probe, model)) >= model.thresholds
    return float((own == (sigmoid(reference) >= model.thresholds)).all(axis=1).mean())


def imported(
    folder: Path, config: FitConfig, preset: Preset, dataset: Dataset[Rows[tuple[int, ...]]] | None
) -> MultiLabelClassifier:
    """Build a model with one label for each output of the adapter's head, with the thresholds beside the adapter."""
    names = _classes(folder, preset, dataset, config.data.class_names)
    model = MultiLabelClassifier.from_preset(preset, names, **model_options(config))
    # transformers counts the outputs from 0, and its data holds these numbers as labels
    model.label_values = dataset.values if dataset else tuple(str(number) for number in range(len(names)))
    model.thresholds = config.training.threshold or thresholds_beside(folder, names)
    return model


def _classes(
    folder: Path, preset: Preset, dataset: Dataset[Rows[tuple[int, ...]]] | None, given: Sequence[str]
) -> tuple[str, ...]:
    count = outputs_of_adapter(folder, preset)
    if count < 2:
        raise AdapterError(f"{folder}: the head of the adapter has {count} output. Several labels need at least two.")
    # The number of outputs is a fact of the adapter. The names come from the data, the setting, or a file.
    for source, names in (("The data", dataset.classes if dataset else ()), ("--class-names", tuple(given))):
        if names and len(names) != count:
            raise ConfigError(
                f"{source} has {len(names)} labels ({', '.join(names)}), but the head of the adapter has {count}. "
                "Give the data or the class names that the adapter was trained on."
            )
    # in this order: the data is given now, the names in the base may be those of another task
    if dataset is not None:
        return dataset.classes
    path = folder / LABELS_FILE
    written = tuple(map(str, read_json_object(path).get("classes", ()))) if path.is_file() else ()
    own = next((names for names in (written, preset.names_of(SEVERAL_LABELS) or ()) if len(names) == count), None)
    # LABEL_n is the name that transformers gives a class without a name
    return tuple(given) or own or tuple(f"LABEL_{number}" for number in range(count))
