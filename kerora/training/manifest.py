"""The contents of run.json: data, base model, settings and versions of a run."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from kerora.data.rows import Dataset
from kerora.errors import RunError
from kerora.evaluation.comparison import NOT_SETTINGS, flatten_settings
from kerora.lora.inject import LoraSummary
from kerora.models.presets import Preset
from kerora.models.task import TaskModel
from kerora.models.tokenizer import TextTokenizer
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import to_dict
from kerora.settings.secrets import masked
from kerora.version import __version__

PACKAGES = ("keras", "keras-hub", "torch", "numpy", "scikit-learn", "tokenizers", "safetensors")


def describe(
    config: FitConfig, dataset: Dataset | None, model: TaskModel, summary: LoraSummary, argv: Sequence[str]
) -> dict[str, Any]:
    """Return the manifest of a run before it starts."""
    preset = model.preset
    return {
        "kerora": __version__,
        "versions": _versions(),
        "argv": [masked(part) for part in argv],
        "working_directory": str(Path.cwd()),
        "task": config.task,
        "seed": config.training.seed,
        "device": _device(),
        "precision": config.model.precision,
        "data": {} if dataset is None else _data_facts(dataset),
        "preset": {
            "name": preset.name,
            "kind": preset.kind,
            "directory": str(preset.directory.resolve()),
            "fingerprint": preset.fingerprint,
        },
        "parameters": {
            "trainable": summary.trainable,
            ("lora" if summary.layers or not summary.lora else "base_model"): summary.lora,
            "head": summary.head,
            "total": summary.total,
        },
    }


def _data_facts(dataset: Dataset) -> dict[str, Any]:
    columns = {} if dataset.columns is None else {"columns": dataset.columns.as_dict()}
    facts = {
        "name": dataset.name,
        "splits": dataset.fingerprints(),
        "skipped": dataset.skipped,
        "reasons": dataset.reasons,
        **columns,
    }
    return facts if dataset.unlabelled is None else {**facts, "unlabelled": len(dataset.unlabelled)}


def changed_settings(config: FitConfig) -> list[str]:
    """Return the keys of the settings that are not the defaults. Settle the config only afterwards."""
    given, defaults = (dict(flatten_settings(to_dict(item))) for item in (config, FitConfig()))
    return [key for key, value in given.items() if key not in NOT_SETTINGS and value != defaults[key]]


def describe_pretraining(
    config: PretrainConfig,
    text: Mapping[str, Any],
    tokenizer: TextTokenizer,
    init: Preset | None,
    teacher: Preset | None,
) -> dict[str, Any]:
    """Return the manifest of a pre-training before it starts. It has names of files and presets, and no paths.

    Args:
        config: the settled settings.
        text: files, counts and fingerprints of the text.
        tokenizer: the tokenizer of the trained model.
        init: the preset whose pre-training is continued, or None.
        teacher: the teacher preset, or None.
    """
    settings = to_dict(config)
    # no paths: this file lies in the preset folder, which people share
    settings.pop("output")
    settings["data"]["text"] = [Path(name).name for name in config.data.text]
    settings["model"]["init"] = None if init is None else init.name
    settings["distillation"]["teacher"] = None if teacher is None else teacher.name
    return {
        "kerora": __version__,
        "versions": _versions(),
        "device": _device(),
        "settings": settings,
        "data": dict(text),
        "tokenizer": tokenizer.fingerprint,
        "init": _preset_facts(init),
        "teacher": _preset_facts(teacher),
    }


def _preset_facts(preset: Preset | None) -> dict[str, Any] | None:
    return None if preset is None else {"name": preset.name, "kind": preset.kind, "fingerprint": preset.fingerprint}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def check_unchanged(run: RunFolder, dataset: Dataset, model: TaskModel) -> None:
    """Check that the rows and the base model are those that the run started with.

    Raises:
        RunError: one of them has changed.
    """
    manifest = run.read_manifest()
    now = {split: facts["sha256"] for split, facts in dataset.fingerprints().items()}
    then = {split: facts["sha256"] for split, facts in manifest.get("data", {}).get("splits", {}).items()}
    if now != then:
        changed = ", ".join(sorted(split for split in now | then if now.get(split) != then.get(split)))
        raise RunError(f"The data of {run.path} changed since it started ({changed}). Restore it or start a new run.")
    if manifest.get("preset", {}).get("fingerprint") != model.preset.fingerprint:
        raise RunError(f"The base model of {run.path} changed since it started. Restore it or start a new run.")


def now() -> str:
    """Return the current time as ISO 8601 in UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
