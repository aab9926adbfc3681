"""The section of a model card on training: of a fit, of an imported adapter, or of a weighted sum of runs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder
from kerora.runs.open import read_config
from kerora.settings.fit import FitConfig
from kerora.settings.lora import LoraConfig

# the number of a block in the name of a module, such as 3 in encoder.layer.3.output
FIRST_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
PLAIN = LoraConfig()


def training_facts(runs: Sequence[RunFolder], shares: Sequence[float] | None, model: TaskModel) -> str:
    """Return a list in Markdown: the base, the weights of a merge, and the method, optimisation and data of each run.

    Args:
        runs: the run folders that are in the model.
        shares: the weight of each run in a merge of several. None for one run without weights.
        model: the exported model.
    """
    preset = model.preset
    lines = [f"- Base: {preset.name}, fingerprint `{preset.fingerprint[:16]}`, at most {model.max_length} tokens"]
    if shares is not None:
        terms = (f"{share:.4g} x {_name(run)}" for run, share in zip(runs, shares, strict=True))
        lines.append(f"- Changes of the weights: {' + '.join(terms)}")
    for run in runs:
        prefix = f"{_name(run)}: " if len(runs) > 1 else ""
        lines += [f"- {prefix}{fact}" for fact in _facts(read_config(run), run.read_manifest())]
    return "\n".join(lines)


def _name(run: RunFolder) -> str:
    return run.path.resolve().name


def _facts(config: FitConfig, manifest: Mapping[str, Any]) -> list[str]:
    splits = manifest.get("data", {}).get("splits", {})
    imported = manifest.get("imported_from")
    if imported is not None:
        facts = [f"Imported from the adapter {imported} that PEFT trained: {_method(config.lora)}"]
        # PEFT trained the adapter, so the training rows of the settings are not the rows that it was trained on
        splits = {split: values for split, values in splits.items() if split != "train"}
    elif "saved_by" in manifest:
        # A script trained the model, and its optimiser is not known.
        facts = [f"Trained in a script: {_method(config.lora)}"]
    else:
        facts = [f"Method: {_method(config.lora)}", _optimisation(config)]
    return facts + [f"{name}: {part['rows']:,} rows, sha256 `{part['sha256'][:16]}`" for name, part in splits.items()]


def _method(lora: LoraConfig) -> str:
    if lora.method != "lora":
        return {"full": "all weights trained", "head": "only the head trained"}[lora.method]
    where = f" of the blocks {lora.layers}" if lora.layers else ""
    how = f"LoRA rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g} on {grouped(lora.targets)}{where}"
    more = [*_patterns("rank", lora.rank_pattern), *_patterns("alpha", lora.alpha_pattern)]
    more += [name for name, used in (("rsLoRA", lora.use_rslora), ("DoRA", lora.use_dora)) if used]
    more += [f"initialised by {lora.init}"] if lora.init != PLAIN.init else []
    more += [f"B's learning rate {lora.loraplus_lr_ratio:g} times A's"] if lora.loraplus_lr_ratio != 1 else []
    more += [f"biases trained: {lora.bias}"] if lora.bias != PLAIN.bias else []
    more += [f"trained in full: {grouped(lora.modules_to_save)}"] if lora.modules_to_save else []
    return "; ".join([how, *more])


def _patterns(what: str, patterns: Iterable[str]) -> list[str]:
    modules: dict[str, list[str]] = {}
    for pattern in patterns:
        name, _, value = pattern.rpartition("=")
        modules.setdefault(value, []).append(name)
    return [f"{what} {value} of {grouped(names)}" for value, names in modules.items()]


def _optimisation(config: FitConfig) -> str:
    training = config.training
    length = f"{training.max_steps:,} updates" if training.max_steps else f"at most {training.epochs} epochs"
    return (
        f"AdamW, {length}, {training.batch_size * training.accumulate} rows per update, learning rate "
        f"{training.learning_rate}, {training.schedule} schedule, seed {training.seed}"
    )


def grouped(modules: Iterable[str]) -> str:
    """Return names as text. Names that differ only in a block number become one: ``layer.0-5.query, pooler``."""
    blocks: dict[str, list[int]] = {}
    for module in modules:
        number = FIRST_NUMBER.search(module)
        # only the first number is the block; later ones, as in mlp.0, are part of the name
        numbers = blocks.setdefault(FIRST_NUMBER.sub("{}", module, count=1), [])
        numbers += [int(number.group())] if number else []
    return ", ".join(name.replace("{}", _ranges(sorted(set(numbers)))) for name, numbers in blocks.items())


def _ranges(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
