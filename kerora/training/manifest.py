"""What run.json says about a run: what it was made of and made with."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from kerora.config import FitConfig
from kerora.data.rows import Dataset
from kerora.errors import RunError
from kerora.lora.inject import LoraSummary
from kerora.models.classifier import TextClassifier
from kerora.runfolder import RunFolder
from kerora.version import __version__

PACKAGES = ("keras", "keras-hub", "torch", "numpy", "scikit-learn", "tokenizers", "safetensors")


def describe(
    config: FitConfig, dataset: Dataset, model: TextClassifier, summary: LoraSummary, argv: Sequence[str]
) -> dict[str, Any]:
    """Return the manifest of a run that is about to start."""
    versions = {"python": platform.python_version()}
    preset = model.preset
    return {
        "kerora": __version__,
        "versions": versions | {name: importlib.metadata.version(name) for name in PACKAGES},
        "argv": list(argv),
        "working_directory": str(Path.cwd()),
        "seed": config.training.seed,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "precision": config.model.precision,
        "data": {"name": dataset.name, "splits": dataset.fingerprints(), "skipped": dataset.skipped},
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


def check_unchanged(run: RunFolder, dataset: Dataset, model: TextClassifier) -> None:
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
