"""The model card of an export: README.md with the metadata block of the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kerora.config import FitConfig
from kerora.exchange.verify import Verification
from kerora.models.classifier import TextClassifier
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
    "onnx": """import onnxruntime
session = onnxruntime.InferenceSession("DIR/model.onnx")
logits = session.run(None, inputs)  # {inputs}, int32 (batch, length)""",
    "kerora": """import kerora
model = kerora.load("DIR")
print(model.predict_labels(["a text"]))""",
}


def model_card(
    form: str, runs: Sequence[RunFolder], model: TextClassifier, config: FitConfig, verification: Verification
) -> str:
    """Return the card as Markdown.

    Args:
        form: format of the export.
        runs: the runs that it was made of.
        model: the exported model.
        config: settings of the first run.
        verification: what the comparison with the run came to.
    """
    manifest = runs[0].read_manifest()
    after = read_json(runs[0].metrics).get("after", {}) if len(runs) == 1 and runs[0].metrics.is_file() else {}
    name = " + ".join(run.path.resolve().name for run in runs)
    data = str(manifest.get("data", {}).get("name") or "unknown")
    parts = [
        f"---\n{yaml.safe_dump(_metadata(form, name, data, model, after), sort_keys=False, allow_unicode=True)}---",
        f"# {name}\n\nA text classifier fine-tuned with Kerora {__version__} from {model.preset.name} "
        f"({model.preset.architecture.title}) on {data}. Classes: {', '.join(model.classes)}.",
        f"## Use\n\n```python\n{_loading(form, model)}\n```\n\nPut the path of this folder for `DIR`.",
        f"## Training\n\n{_training(config, manifest, model)}",
    ]
    parts += [f"## Results\n\n{_results(after)}"] if after else []
    parts += [
        f"## Verification\n\n{verification}.",
        "## Licence\n\nSet before sharing: the terms follow from the licences of the base model and of the data.",
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(form: str, name: str, data: str, model: TextClassifier, after: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "library_name": LIBRARIES[form],
        "pipeline_tag": "text-classification",
        "base_model": _base_name(model),
        "tags": ["kerora", "lora", "keras", "text-classification"],
    }
    if after:
        metrics = [
            {"type": kind, "value": round(float(values[key]), 4), "name": f"{split} {kind}"}
            for split, values in after.items()
            for kind, key in (("accuracy", "accuracy"), ("f1", "macro_f1"))
        ]
        task = {"type": "text-classification"}
        results = [{"task": task, "dataset": {"name": data, "type": data}, "metrics": metrics}]
        metadata["model-index"] = [{"name": name, "results": results}]
    return metadata


def _loading(form: str, model: TextClassifier) -> str:
    base = ("path/to/" if model.preset.location.startswith("/") else "") + _base_name(model)
    return LOADING[form].format(base=base, count=len(model.classes), inputs=", ".join(model.input))


def _base_name(model: TextClassifier) -> str:
    # no path of this machine
    location = model.preset.location
    return location.rpartition("/")[2] if location.startswith("/") else location


def _training(config: FitConfig, manifest: Mapping[str, Any], model: TextClassifier) -> str:
    lora, training = config.lora, config.training
    how = {
        "lora": f"LoRA rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g} on {', '.join(lora.targets)}",
        "full": "every weight trained",
        "head": "the head alone trained",
    }[lora.method]
    variants = [name for name in ("use_rslora", "use_dora") if getattr(lora, name)]
    variants += [f"init {lora.init}"] if lora.init != "default" else []
    lines = [
        f"- Base: {model.preset.name}, "
        f"fingerprint `{model.preset.fingerprint[:16]}`, {model.max_length} tokens at most",
        f"- Method: {how}{''.join(f', {name}' for name in variants)}",
        f"- AdamW, {training.epochs or 'default'} epochs, {training.batch_size * training.accumulate} rows an update, "
        f"learning rate {training.learning_rate or 'default'}, {training.schedule} schedule, seed {training.seed}",
    ]
    splits = manifest.get("data", {}).get("splits", {})
    lines += [f"- {split}: {facts['rows']:,} rows, sha256 `{facts['sha256'][:16]}`" for split, facts in splits.items()]
    return "\n".join(lines)


def _results(after: Mapping[str, Any]) -> str:
    lines = ["| split | accuracy | macro F1 | loss |", "|---|---:|---:|---:|"]
    lines += [
        f"| {split} | {values['accuracy']:.4f} | {values['macro_f1']:.4f} | {values['loss']:.4f} |"
        for split, values in after.items()
    ]
    return "\n".join(lines)
