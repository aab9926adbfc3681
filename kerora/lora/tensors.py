"""Reads the weight files of adapters: of Kerora, and of all versions of PEFT."""

import hashlib
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from kerora.errors import AdapterError
from kerora.lora.entries import PREFIX

WEIGHTS_FILE, TORCH_FILE = "adapter_model.safetensors", "adapter_model.bin"
"""The weights, and their file as PEFT before 0.6 wrote it."""
_NAMED = re.compile(r"\.(lora_A|lora_B|lora_magnitude_vector|modules_to_save)\.(?!weight$|bias$)([^.]+)(?=\.|$)")
"""A part of a key with the name of the adapter. PEFT leaves the name out; a plain state dict holds it."""


def read_tensors(path: Path, sha256: str | None) -> dict[str, np.ndarray]:
    """Read a weight file. If it does not exist, the torch file of older versions of PEFT beside it is read.

    Args:
        path: the file adapter_model.safetensors.
        sha256: of the file, from the description of Kerora. None if another tool wrote the file: the names of the
            tensors are then brought into the form of today's PEFT.

    Returns:
        The tensors by name. bfloat16 becomes float32.

    Raises:
        AdapterError: the file is missing or damaged.
    """
    old = path.with_name(TORCH_FILE)
    source = old if not path.is_file() and old.is_file() else path
    try:
        tensors = _torch_tensors(source) if source == old else _safetensors(source, sha256)
    except OSError as error:
        raise AdapterError(f"Cannot read {source}: {error.strerror}. Restore the file or train again.") from error
    except UnpicklingError as error:
        raise AdapterError(
            f"{source} holds more than tensors, or is damaged. Kerora reads only the tensors of torch files. Load it "
            "with PEFT and save it again: a current version writes adapter_model.safetensors."
        ) from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AdapterError(f"{source} is damaged: {reason}. Restore the file or train again.") from error
    arrays = {name: _array(tensor) for name, tensor in tensors.items()}
    return arrays if sha256 is not None else _current_names(arrays)


def _safetensors(path: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its content is not what its description was written for (sha256)")
    return safetensors.torch.load(content)


def _torch_tensors(path: Path) -> dict[str, torch.Tensor]:
    # weights_only: no code in the file runs
    found: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError("it holds no tensors by name")
    return found


def _array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()


def _current_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors by the names that PEFT writes today.

    A plain state dict has the name of the adapter in its keys (``lora_A.default.weight``). Some tools leave out the
    prefix ``base_model.model.``.
    """
    if len({name for key in tensors for _, name in _NAMED.findall(key)}) > 1:
        return tensors  # Several adapters in one file: which is meant is not clear. The check of the names refuses it.
    renamed = {_NAMED.sub(r".\1", key): value for key, value in tensors.items()}
    if not any(key.startswith(PREFIX) for key in renamed):
        renamed = {f"{PREFIX}{key}": value for key, value in renamed.items()}
    # a module that was trained in full has its first weights beside the trained ones
    saved = {key for key in renamed if ".modules_to_save." in key}
    moved = {key.replace(".modules_to_save.", "."): key for key in saved}
    keep = {key: value for key, value in renamed.items() if key not in saved}
    return keep | {plain: renamed[key] for plain, key in moved.items() if plain not in keep}
