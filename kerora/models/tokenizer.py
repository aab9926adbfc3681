"""Text to token ids, on the Rust `tokenizers` library, equal to Hugging Face's fast tokenizers."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

_CHUNK = 2048

# The library warns and stops being parallel in a forked child unless this is set; in a child its
# threads are gone, so there it must be off.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: os.environ.__setitem__("TOKENIZERS_PARALLELISM", "false"))


@dataclass(frozen=True)
class Tokens:
    """Rows of token ids, laid end to end.

    Attributes:
        ids: int32, shape (tokens in all rows,).
        offsets: int64, shape (rows + 1,); row n is ``ids[offsets[n]:offsets[n + 1]]``.
        segments: uint8, as `ids`: 0 for the first text and 1 for the second; None where the model takes none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, number: int) -> np.ndarray:
        """Return the ids of a row, without padding."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]


class TextTokenizer:
    """Turns texts and pairs of texts into ids with the model's special tokens.

    Args:
        tokenizer: tokenizer with normalizer, pre-tokenizer and post-processor (special tokens).
        pad_id: id that fills up short rows.
        uses_segments: the model takes segment ids.
    """

    def __init__(self, tokenizer: Tokenizer, pad_id: int, uses_segments: bool) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self.uses_segments = uses_segments

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, special and added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides about the ids."""
        self._tokenizer.no_truncation()
        definition = f"{self.pad_id} {self.uses_segments} {self._tokenizer.to_str()}"
        return hashlib.sha256(definition.encode("utf-8", "surrogatepass")).hexdigest()

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int) -> Tokens:
        """Encode texts, or pairs of texts, as ``[CLS] text [SEP]`` or as the model's own special tokens ask.

        Args:
            texts: the texts; for pairs the first of each.
            pairs: the second texts, as many as `texts`, or None.
            max_length: longest row in tokens, special tokens included; the longer text of a pair is cut first.
        """
        self._tokenizer.enable_truncation(max_length, strategy="longest_first")
        ids: list[np.ndarray] = []
        segments: list[np.ndarray] = []
        offsets = np.zeros(len(texts) + 1, np.int64)
        for number, encoding in enumerate(self._encodings(texts, pairs), start=1):
            ids.append(np.array(encoding.ids, np.int32))
            offsets[number] = offsets[number - 1] + len(ids[-1])
            if self.uses_segments:
                segments.append(np.array(encoding.type_ids, np.uint8))
        return Tokens(_join(ids, np.int32), offsets, _join(segments, np.uint8) if self.uses_segments else None)

    def lengths(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
        """Return the number of tokens of each row before any truncation, special tokens included."""
        self._tokenizer.no_truncation()
        return [len(encoding) for encoding in self._encodings(texts, pairs)]

    def _encodings(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[Encoding]:
        for start in range(0, len(texts), _CHUNK):
            chunk: list[Any] = list(texts[start : start + _CHUNK])
            if pairs is not None:
                chunk = list(zip(chunk, pairs[start : start + _CHUNK], strict=True))
            try:
                yield from self._tokenizer.encode_batch_fast(chunk)
            except (UnicodeEncodeError, TypeError):  # a lone surrogate, as "\ud83d" in JSON, is no valid text
                yield from self._tokenizer.encode_batch_fast([_without_surrogates(item) for item in chunk])


def _join(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _without_surrogates(item: Any) -> Any:
    if isinstance(item, tuple):
        return tuple(_without_surrogates(text) for text in item)
    return item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
