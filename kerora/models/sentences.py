"""Sentence embeddings of a pre-trained encoder, and its token embeddings for a smaller vocabulary."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kerora.data.batches import Batches
from kerora.data.packing import CHUNK_ROWS
from kerora.data.tokens import cache_directory, forget_old
from kerora.models.masked_lm import INITIAL_SPREAD, mean_of_tokens
from kerora.models.presets import Preset
from kerora.models.task import computed_in_row_order
from kerora.models.tokenizer import TextTokenizer

LONGEST = 512


class SentenceEncoder:
    """Mean of an encoder's last hidden states over a text's real tokens (Reimers and Gurevych 2019).

    Args:
        preset: a pre-trained model of any supported kind.
        dtype: weights and arithmetic: float32, bfloat16 or float16.
        batch_size: texts in a batch; default 64.

    Raises:
        PresetError: its files are incomplete or damaged.
    """

    def __init__(self, preset: Preset, dtype: str, batch_size: int = 64) -> None:
        self.preset = preset
        self.batch_size = batch_size
        self.tokenizer = preset.load_tokenizer()
        self._backbone = preset.load_backbone(dtype)
        self._max_length = min(LONGEST, getattr(self._backbone, "max_sequence_length", None) or LONGEST)

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return int(self._backbone.hidden_dim)

    @property
    def token_vectors(self) -> np.ndarray:
        """The input embeddings, float32 (tokens, width)."""
        values: torch.Tensor = self._backbone.token_embedding.embeddings.value
        array: np.ndarray = values.detach().float().cpu().numpy()
        return array

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of texts, float32 (texts, width), in their order."""
        table = self.tokenizer.encode(texts, max_length=self._max_length)
        batches = Batches(table, batch_size=self.batch_size, pad_id=self.tokenizer.pad_id, shuffle=False)
        return computed_in_row_order(batches, self.width, self._mean_hidden)

    def _mean_hidden(self, inputs: Mapping[str, np.ndarray]) -> torch.Tensor:
        outputs = self._backbone(inputs, training=False)
        hidden = outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs
        mean: torch.Tensor = mean_of_tokens(hidden, inputs["padding_mask"])
        return mean


def cached_embeddings(
    key: str, encoder: SentenceEncoder, texts: Callable[[], Iterable[str]], progress: Callable[[int], None] | None
) -> np.ndarray:
    """Return the embeddings of texts through the cache on disk, float16 (texts, width), memory-mapped.

    Args:
        key: name of the entry; depends on texts and encoder.
        encoder: makes the embeddings.
        texts: gives the texts, in order.
        progress: called with the number of texts done.
    """
    entry = cache_directory() / "embeddings" / key
    path = entry / "embeddings.npy"
    if not path.is_file():
        entry.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".writing-"))
        try:
            _write(work / path.name, encoder, texts(), progress)
            shutil.rmtree(entry, ignore_errors=True)
            work.rename(entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        forget_old(entry.parent)
    with contextlib.suppress(OSError):
        os.utime(entry)
    embeddings: np.ndarray = np.load(path, mmap_mode="r")
    return embeddings


def _write(path: Path, encoder: SentenceEncoder, texts: Iterable[str], progress: Callable[[int], None] | None) -> None:
    raw = path.with_suffix(".raw")
    done = 0
    remaining = iter(texts)
    with raw.open("wb") as stream:
        while chunk := list(islice(remaining, CHUNK_ROWS)):
            stream.write(encoder.embed(chunk).astype(np.float16).tobytes())
            done += len(chunk)
            if progress is not None:
                progress(done)
    target = np.lib.format.open_memmap(path, "w+", np.float16, (done, encoder.width))
    if done:
        target[:] = np.memmap(raw, np.float16, "r").reshape(done, encoder.width)
    target.flush()
    raw.unlink()


def embeddings_from_teacher(
    student: TextTokenizer, teacher: TextTokenizer, vectors: np.ndarray, width: int, seed: int
) -> np.ndarray:
    """Return first token embeddings for a student, float32 (student's tokens, width).

    A piece gets the mean vector of the teacher's tokens for its text; the vectors are then reduced to the
    student's width by principal components and scaled to the usual spread. Pieces that the teacher cannot
    write, and directions beyond the teacher's width, are random.

    Args:
        student: the student's tokenizer.
        teacher: the teacher's tokenizer.
        vectors: the teacher's token embeddings (teacher's tokens, teacher's width).
        width: the student's width.
        seed: seed of the random values.
    """
    generator = np.random.default_rng((seed, 5))
    result = generator.normal(0.0, INITIAL_SPREAD, (len(student.pieces), width)).astype(np.float32)
    known: dict[int, np.ndarray] = {}
    by_piece = {piece: number for number, piece in enumerate(teacher.pieces)}
    plain = [piece.removeprefix("##") for piece in student.pieces]
    for number, line in enumerate(teacher.encode_lines(plain)):
        same = by_piece.get(student.pieces[number])
        ids = [same] if same is not None else [token for token in line.ids if not teacher.special[token]]
        if ids and not (student.special[number] and same is None):
            known[number] = vectors[ids].mean(axis=0)
    if not known:
        return result
    matrix = np.stack(list(known.values()))
    centred = matrix - matrix.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    reduced = centred @ directions[:width].T
    result[list(known), : reduced.shape[1]] = reduced * (INITIAL_SPREAD / max(float(reduced.std()), 1e-12))
    return result
