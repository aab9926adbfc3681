"""The model card of an export: README.md with the metadata block of the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kerora.exchange.keras_task import has_task, plain_head
from kerora.exchange.training_facts import training_facts
from kerora.exchange.verify import Verification
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, read_json
from kerora.tasks.probe import COLUMNS
from kerora.tasks.registry import task_of_model
from kerora.version import __version__

LIBRARIES = {"peft": "peft", "keras": "keras-hub", "transformers": "transformers", "onnx": "onnx", "kerora": "keras"}
# names in the table for readers, and in the metadata as the hub knows them
TITLES = {"macro_f1": "macro F1", "bits_per_byte": "bits per byte"}
HUB_NAMES = {"macro_f1": "f1", "bits_per_byte": "bits per byte"}


def model_card(
    form: str, runs: Sequence[RunFolder], shares: Sequence[float] | None, model: TaskModel, verification: Verification
) -> str:
    """Return the card as Markdown.

    Args:
        form: format of the export.
        runs: the runs that are in the export.
        shares: the weight of each run in a merge of several. None for one run without weights.
        model: the exported model.
        verification: the result of the comparison with the run.
    """
    manifest = runs[0].read_manifest()
    # the metrics of a run describe the model only if it is the only run in it
    after = read_json(runs[0].metrics).get("after", {}) if len(runs) == 1 and runs[0].metrics.is_file() else {}
    task = task_of_model(model)
    classes = task.exchange.classes(model)
    named = f" Classes: {', '.join(classes)}." if classes else ""
    name = " + ".join(run.path.resolve().name for run in runs)
    data = str(manifest.get("data", {}).get("name") or "unknown")
    parts = [
        f"---\n{yaml.safe_dump(_metadata(form, name, data, model, after), sort_keys=False, allow_unicode=True)}---",
        f"# {name}\n\nA {task.title} made of {model.preset.name} ({model.preset.architecture.title}) "
        f"{_how(manifest, data)} with Kerora {__version__}.{named}",
        f"## Use\n\n```python\n{_loading(form, model)}\n```\n\nReplace `DIR` with the path of this folder.",
        f"## Training\n\n{training_facts(runs, shares, model)}",
    ]
    parts += [f"## Results\n\n{_results(after, task.exchange.NAMES.scores)}"] if after else []
    parts += [
        f"## Verification\n\n{verification}.",
        "## Licence\n\nSet this before sharing. It follows from the licences of the base model and of the data.",
    ]
    return "\n\n".join(parts) + "\n"


def _how(manifest: Mapping[str, Any], data: str) -> str:
    return "and an adapter of PEFT" if "imported_from" in manifest else f"by fine-tuning on {data}"


def _metadata(form: str, name: str, data: str, model: TaskModel, after: Mapping[str, Any]) -> dict[str, Any]:
    names = task_of_model(model).exchange.NAMES
    task = names.pipeline
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
            for key in names.scores[:2]
        ]
        results = [{"task": {"type": task}, "dataset": {"name": data, "type": data}, "metrics": metrics}]
        metadata["model-index"] = [{"name": name, "results": results}]
    return metadata


def _loading(form: str, model: TaskModel) -> str:
    base = ("path/to/" if model.preset.location.startswith("/") else "") + _base_name(model)
    # code for one row of the package `tokenizers`, with its names of the inputs
    inputs = ", ".join(f'"{name}": np.int32([row.{COLUMNS[name]}])' for name in model.input)
    exchange = task_of_model(model).exchange
    if form == "keras" and not has_task(model):
        return plain_head(model).loading(model)
    return exchange.loading(form, model, base, inputs)


def _base_name(model: TaskModel) -> str:
    # a model card is published: it must not hold a path of the machine
    location = model.preset.location
    return location.rpartition("/")[2] if location.startswith("/") else location


def _results(after: Mapping[str, Any], scores: Sequence[str]) -> str:
    lines = [f"| split | {' | '.join(TITLES.get(score, score) for score in scores)} |", "|---|" + "---:|" * len(scores)]
    lines += [
        f"| {split} | {' | '.join(f'{values[score]:.4f}' for score in scores)} |" for split, values in after.items()
    ]
    return "\n".join(lines)
