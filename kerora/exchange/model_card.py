"""The model card of an export: README.md with the metadata block of the Hugging Face hub."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from kerora.data.hub_card import CARD, card_block
from kerora.errors import DataError
from kerora.exchange.keras_task import has_task, plain_head
from kerora.exchange.training_facts import training_facts
from kerora.exchange.verify import Verification
from kerora.hubs.names import parse_repository
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, read_json
from kerora.runs.open import read_config
from kerora.settings.fit import FitConfig
from kerora.tasks.probe import COLUMNS
from kerora.tasks.registry import task_of_model
from kerora.version import __version__

LIBRARIES = {"peft": "peft", "keras": "keras-hub", "transformers": "transformers", "onnx": "onnx", "kerora": "keras"}
# names in the table for readers, and in the metadata as the hub knows them
TITLES = {"macro_f1": "macro F1", "bits_per_byte": "bits per byte"}
# what the hub accepts as a base model: not the address of a model of Kaggle
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
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
    if "thresholds" in (decision := task.exchange.decision(model)):
        limits = zip(classes, decision["thresholds"], strict=True)
        named += (
            " A text gets each label whose probability reaches its threshold: "
            f"{', '.join(f'{name} {limit:.3g}' for name, limit in limits)}. labels.json holds these numbers in full."
        )
    parts = [
        f"---\n{_metadata(form, name, data, runs, model, after)}\n---",
        f"# {name}\n\nA {task.title} made of {model.preset.name} ({model.preset.architecture.title}) "
        f"{_how(manifest, data)} with Kerora {__version__}.{named}",
        f"## Use\n\n```python\n{_loading(form, model)}\n```\n\nReplace `DIR` with the path of this folder.",
        f"## Training\n\n{training_facts(runs, shares, model)}",
    ]
    parts += [f"## Results\n\n{_results(after, task.exchange.NAMES.scores)}"] if after else []
    parts += [
        f"## Verification\n\n{verification}.",
        f"## Licence\n\n{_licence(model)}",
    ]
    return "\n\n".join(parts) + "\n"


def _how(manifest: Mapping[str, Any], data: str) -> str:
    return "and an adapter of PEFT" if "imported_from" in manifest else f"by fine-tuning on {data}"


def _metadata(
    form: str, name: str, data: str, runs: Sequence[RunFolder], model: TaskModel, after: Mapping[str, Any]
) -> str:
    """Return the metadata of the hub as YAML."""
    names = task_of_model(model).exchange.NAMES
    configs = [read_config(run) for run in runs]
    lora = any(config.lora.method == "lora" for config in configs)
    results = [
        EvalResult(
            task_type=names.pipeline,
            dataset_type=data,
            dataset_name=data,
            metric_type=HUB_NAMES.get(key, key),
            metric_value=round(float(values[key]), 4),
            metric_name=f"{split} {HUB_NAMES.get(key, key)}",
        )
        for split, values in after.items()
        for key in names.scores[:2]
    ]
    card = ModelCardData(
        library_name=LIBRARIES[form],
        pipeline_tag=names.pipeline,
        license=base_licence(model),
        base_model=base if HUB_NAME.fullmatch(base := _base_name(model)) else model.preset.name,
        base_model_relation="adapter" if form == "peft" else "finetune",
        datasets=_hub_data(configs) or None,
        tags=["kerora", *(["lora"] if lora else []), "keras", names.pipeline],
        model_name=name,
        eval_results=results or None,
    )
    text: str = card.to_yaml()
    return text.strip()


def base_licence(model: TaskModel) -> str | None:
    """Return the licence that the card of the base model names, or None."""
    try:
        licence = card_block(model.preset.directory / CARD).get("license")
    except DataError:  # a damaged card says nothing
        return None
    return licence if isinstance(licence, str) else None


def _licence(model: TaskModel) -> str:
    licence = base_licence(model)
    if licence is None:
        return "Set this before sharing. It follows from the licences of the base model and of the data."
    return (
        f"The card of the base model names the licence {licence}. Check that the licence of the data allows the same "
        "before sharing."
    )


def _hub_data(configs: Sequence[FitConfig]) -> list[str]:
    """Return the names of the training data that lies on the Hugging Face hub."""
    specs = [config.data.train or config.data.source for config in configs]
    return list(
        dict.fromkeys(found.name for spec in specs if (found := parse_repository(spec)) and found.kind == "dataset")
    )


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
