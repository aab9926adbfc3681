"""The model card of an export: README.md with the metadata block of the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kerora.exchange.keras_head import special_ids
from kerora.exchange.keras_task import has_task
from kerora.exchange.probe import COLUMNS
from kerora.exchange.training_facts import training_facts
from kerora.exchange.verify import Verification
from kerora.models.classifier import TextClassifier
from kerora.models.task import Task
from kerora.runfolder import RunFolder, read_json
from kerora.version import __version__

LIBRARIES = {"peft": "peft", "keras": "keras-hub", "transformers": "transformers", "onnx": "onnx", "kerora": "keras"}
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
HEAD_LOADING = """import keras, keras_hub
backbone, head = keras_hub.models.Backbone.from_preset("DIR"), keras.saving.load_model("DIR/head.keras")
ids = keras.ops.array([{ids}], "int32")
print(head([backbone({{{inputs}}}){states}, ids * 0 + 1]))"""
"""Of a Keras preset of a kind that KerasHub has no classifier for."""
LANGUAGE_LOADING = {
    "peft": """from transformers import AutoModelForCausalLM
from peft import PeftModel
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), "DIR")""",
    "keras": """import keras_hub
model = keras_hub.models.CausalLM.from_preset("DIR")
print(model.generate("It was", max_length=32))""",
    "transformers": """from transformers import pipeline
generate = pipeline("text-generation", model="DIR")
print(generate("It was"))""",
    "onnx": """import numpy as np, onnxruntime, tokenizers
row = tokenizers.Tokenizer.from_file("DIR/tokenizer.json").encode("It was")
logits = onnxruntime.InferenceSession("DIR/model.onnx").run(None, {{{inputs}}})[0]  # of each next token""",
    "kerora": """from kerora.config import Sampling
from kerora.runs.generate import Writer
writer = Writer("DIR", {base!r})  # or on the command line: kerora generate DIR --prompt "It was"
print("".join(text for text, _ in writer.stream(writer.parts("It was"), Sampling())))""",
}
SCORES = {True: ("accuracy", "macro_f1", "loss"), False: ("perplexity", "loss", "bits_per_byte")}
"""Metrics of a classifier (True), and of a language model."""
TITLES = {"macro_f1": "macro F1", "bits_per_byte": "bits per byte"}
HUB_NAMES = {"macro_f1": "f1", "bits_per_byte": "bits per byte"}


def model_card(
    form: str, runs: Sequence[RunFolder], shares: Sequence[float] | None, model: Task, verification: Verification
) -> str:
    """Return the card as Markdown.

    Args:
        form: format of the export.
        runs: the runs that it was made of.
        shares: the weight of each run's changes, None where there is one run as it is.
        model: the exported model.
        verification: what the comparison with the run came to.
    """
    manifest = runs[0].read_manifest()
    after = read_json(runs[0].metrics).get("after", {}) if len(runs) == 1 and runs[0].metrics.is_file() else {}
    name = " + ".join(run.path.resolve().name for run in runs)
    data = str(manifest.get("data", {}).get("name") or "unknown")
    parts = [
        f"---\n{yaml.safe_dump(_metadata(form, name, data, model, after), sort_keys=False, allow_unicode=True)}---",
        f"# {name}\n\nA {_what(model)} made of {model.preset.name} ({model.preset.architecture.title}) "
        f"{_how(manifest, data)} with Kerora {__version__}.{_classes(model)}",
        f"## Use\n\n```python\n{_loading(form, model)}\n```\n\nPut the path of this folder for `DIR`.",
        f"## Training\n\n{training_facts(runs, shares, model)}",
    ]
    parts += [f"## Results\n\n{_results(after, _scores(model))}"] if after else []
    parts += [
        f"## Verification\n\n{verification}.",
        "## Licence\n\nSet before sharing: the terms follow from the licences of the base model and of the data.",
    ]
    return "\n\n".join(parts) + "\n"


def _what(model: Task) -> str:
    return "text classifier" if isinstance(model, TextClassifier) else "language model"


def _how(manifest: Mapping[str, Any], data: str) -> str:
    return "and an adapter of PEFT's" if "imported_from" in manifest else f"by fine-tuning on {data}"


def _classes(model: Task) -> str:
    return f" Classes: {', '.join(model.classes)}." if isinstance(model, TextClassifier) else ""


def _scores(model: Task) -> tuple[str, ...]:
    return SCORES[isinstance(model, TextClassifier)]


def _metadata(form: str, name: str, data: str, model: Task, after: Mapping[str, Any]) -> dict[str, Any]:
    task = "text-classification" if isinstance(model, TextClassifier) else "text-generation"
    metadata: dict[str, Any] = {
        "library_name": LIBRARIES[form],
        "pipeline_tag": task,
        "base_model": _base_name(model),
        "tags": ["kerora", "lora", "keras", task],
    }
    if after:
        metrics = [
            {
                "type": HUB_NAMES.get(key, key),
                "value": round(float(values[key]), 4),
                "name": f"{split} {HUB_NAMES.get(key, key)}",
            }
            for split, values in after.items()
            for key in _scores(model)[:2]
        ]
        results = [{"task": {"type": task}, "dataset": {"name": data, "type": data}, "metrics": metrics}]
        metadata["model-index"] = [{"name": name, "results": results}]
    return metadata


def _loading(form: str, model: Task) -> str:
    base = ("path/to/" if model.preset.location.startswith("/") else "") + _base_name(model)
    inputs = ", ".join(f'"{name}": np.int32([row.{COLUMNS[name]}])' for name in model.input)
    if not isinstance(model, TextClassifier):
        return LANGUAGE_LOADING[form].format(base=base, inputs=inputs)
    if form == "keras" and not has_task(model):
        return _head_loading(model)
    return LOADING[form].format(base=base, count=len(model.classes), inputs=inputs)


def _head_loading(model: TextClassifier) -> str:
    front, back = special_ids(model)
    longest = model.max_length - len(front) - len(back)
    parts = [*map(str, front), f'*keras_hub.models.Tokenizer.from_preset("DIR")("a text")[:{longest}]', *map(str, back)]
    values = {"token_ids": "ids", "padding_mask": "ids * 0 + 1", "segment_ids": "ids * 0"}
    inputs = ", ".join(f'"{name}": {values[name]}' for name in model.input)
    states = '["sequence_output"]' if isinstance(model.backbone.output, Mapping) else ""
    return HEAD_LOADING.format(ids=f"[{', '.join(parts)}]", inputs=inputs, states=states)


def _base_name(model: Task) -> str:
    # no path of this machine
    location = model.preset.location
    return location.rpartition("/")[2] if location.startswith("/") else location


def _results(after: Mapping[str, Any], scores: Sequence[str]) -> str:
    lines = [f"| split | {' | '.join(TITLES.get(score, score) for score in scores)} |", "|---|" + "---:|" * len(scores)]
    lines += [
        f"| {split} | {' | '.join(f'{values[score]:.4f}' for score in scores)} |" for split, values in after.items()
    ]
    return "\n".join(lines)
