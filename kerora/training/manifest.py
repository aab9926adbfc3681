"""What run.json says about a run: what it was made of and made with."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from kerora.data.rows import Dataset
from kerora.errors import RunError
from kerora.lora.inject import LoraSummary
from kerora.models.presets import Preset
from kerora.models.task import TaskModel
from kerora.models.tokenizer import TextTokenizer
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import to_dict
from kerora.version import __version__

PACKAGES = ("keras", "keras-hub", "torch", "numpy", "scikit-learn", "tokenizers", "safetensors")


def describe(
    config: FitConfig, dataset: Dataset | None, model: TaskModel, summary: LoraSummary, argv: Sequence[str]
) -> dict[str, Any]:
    """Return the manifest of a run that is about to start."""
    preset = model.preset
    return {
        "kerora": __version__,
        "versions": _versions(),
        "argv": list(argv),
        "working_directory": str(Path.cwd()),
        "task": config.task,
        "seed": config.training.seed,
        "device": _device(),
        "precision": config.model.precision,
        "data": {}
        if dataset is None
        else {"name": dataset.name, "splits": dataset.fingerprints(), "skipped": dataset.skipped},
        "preset": {
            "name": preset.name,
            "kind": preset.kind,
            "directory": str(preset.directory.resolve()),
            "fingerprint": preset.fingerprint,
        },
        "parameters": {
            "trainable": summary.trainable,
            "lora": summary.lora,
            "head": summary.head,
            "total": summary.total,
        },
    }


def describe_pretraining(
    config: PretrainConfig,
    text: Mapping[str, Any],
    tokenizer: TextTokenizer,
    init: Preset | None,
    teacher: Preset | None,
) -> dict[str, Any]:
    """Return the manifest of a pre-training that is about to start; names of files and presets, no paths.

    Args:
        config: the settings, settled.
        text: files, counts and fingerprints of the text.
        tokenizer: the encoder's tokenizer.
        init: the preset that is continued, or None.
        teacher: the preset that is learnt from, or None.
    """
    settings = to_dict(config)
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
    """Check that a run would go on with the rows and the base model that it started with.

    Raises:
        RunError: one of them changed.
    """
    manifest = run.read_manifest()
    now = {split: facts["sha256"] for split, facts in dataset.fingerprints().items()}
    then = {split: facts["sha256"] for split, facts in manifest.get("data", {}).get("splits", {}).items()}
    if now != then:
        changed = ", ".join(sorted(split for split in now | then if now.get(split) != then.get(split)))
        raise RunError(f"The data of {run.path} changed since it started ({changed}). Restore it or start a new run.")
    if manifest.get("preset", {}).get("fingerprint") != model.preset.fingerprint:
        raise RunError(f"The base model of {run.path} changed since it started. Restore it or start a new run.")


def this_process() -> dict[str, Any]:
    """Name the process that trains a run."""
    return {"host": platform.node(), "pid": os.getpid()}


def check_not_running(run: RunFolder) -> None:
    """Check that no other process of this machine is training a run.

    Raises:
        RunError: one is.
    """
    manifest = run.read_manifest()
    process = manifest.get("process", {})
    if manifest.get("state") != "running" or process.get("host") != platform.node():
        return
    if process.get("pid") != os.getpid() and psutil.pid_exists(int(process.get("pid", -1))):
        raise RunError(f"{run.path} is being trained by process {process['pid']}. Wait for it or stop it first.")


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
