"""Computes the frozen blocks below the first adapted block once, instead of in every epoch.

With `--layers last:K` the lower blocks give the same outputs (states) for a row in every epoch, because backbones are
loaded without dropout. The states are stored on disk, memory-mapped, and training computes only the blocks above. The
random numbers of a step do not change. A run differs only by rounding, because the states of a row were computed in
another batch.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.errors import ConfigError, RunError

BITS = {"float32": (np.int32, torch.float32), "bfloat16": (np.int16, torch.bfloat16), "float16": (np.int16, torch.half)}
"""By dtype of the states: an integer type of the same size, because numpy has no bfloat16, and the dtype of torch."""


class FrozenStart:
    """A classifier in two parts that share its layers: up to the last frozen block, and from there to the logits.

    Args:
        model: a classifier. The choice of the weights to train must be made before.

    Raises:
        ConfigError: the first block is not frozen, or the model cannot be divided there.
    """

    def __init__(self, model: Any) -> None:
        backbone = model.backbone
        blocks = list(getattr(backbone, "transformer_layers", ()))
        # ALBERT has groups of blocks, and repeats each: no block is below all others
        if not all(isinstance(block, keras.layers.Layer) for block in blocks):
            raise ConfigError(f"--cache-frozen cannot divide {model.preset.kind}. Leave it out.")
        first = next((number for number, block in enumerate(blocks) if block.trainable_weights), len(blocks))
        if not first:
            raise ConfigError("--cache-frozen needs frozen blocks below the first adapted one. Add --layers last:K.")
        # Each division adds another node to the blocks above, so the first node is used.
        boundary = blocks[first - 1]._inbound_nodes[0].output_tensors[0]
        mask = backbone.input["padding_mask"]
        self.dtype = str(boundary.dtype)
        self.width = int(boundary.shape[-1])
        try:
            self.lower = keras.Model(backbone.input, boundary)
            above = keras.Model([boundary, mask], backbone.output)
        # Keras raises it if the blocks above need another tensor too, as the relative embeddings of DeBERTa.
        except ValueError as error:
            raise ConfigError(f"--cache-frozen cannot divide {model.preset.kind}. Leave it out.") from error
        if self.lower.trainable_weights or self.dtype not in BITS:
            raise ConfigError("--cache-frozen needs all weights below the adapted blocks frozen. Leave it out.")
        inputs = {
            "states": keras.Input((None, self.width), dtype=self.dtype, name="states"),
            "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
        }
        # The head gets the mask again, because a decoder needs the place of the last token.
        self.upper = keras.Model(inputs, model.head(above(list(inputs.values())), inputs["padding_mask"]))

    def logits(self, states: Any, padding_mask: Any, training: bool | None) -> Any:
        """Return the logits of a batch.

        Args:
            states: bits of the states of the rows, from `states`, (rows, length, width).
            padding_mask: 1 for tokens, 0 for padding, (rows, length).
            training: whether dropout is active.
        """
        bits, mask = keras.ops.convert_to_tensor(states), keras.ops.convert_to_tensor(padding_mask)
        return self.upper({"states": bits.view(BITS[self.dtype][1]), "padding_mask": mask}, training=training)

    def states(self, tokens: int, batches: Iterable[tuple[Any, np.ndarray, np.ndarray]], folder: Path) -> np.ndarray:
        """Compute the states of all rows.

        Args:
            tokens: number of tokens in all rows.
            batches: for each batch the inputs of the model, the mask of its tokens, bool (rows, length), and the places
                of these tokens among all tokens, (tokens of the batch,).
            folder: folder of the file with the states.

        Returns:
            The bits of the states as integers, (tokens, width), memory-mapped. The file is deleted with the array.

        Raises:
            RunError: there is not enough space on the disk.
        """
        stored = _on_disk((tokens, self.width), BITS[self.dtype][0], folder)
        with torch.no_grad():
            for inputs, mask, places in batches:
                found = self.lower(inputs, training=False).contiguous().cpu()
                stored[places] = found.view(getattr(torch, stored.dtype.name)).numpy()[mask]
        return stored


def _on_disk(shape: tuple[int, int], dtype: Any, folder: Path) -> np.ndarray:
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A memory-mapped file is sparse. A full disk would end the process with SIGBUS at a later write.
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OSError(f"{free / 1e9:.1f} GB are free")
        # The array keeps the file open. The file has no name on Linux, so the space is free when the array is deleted.
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise RunError(
            f"--cache-frozen needs {size / 1e9:.1f} GB in {folder}: {error}. "
            "Leave it out, or set KERORA_CACHE to another folder."
        ) from error
