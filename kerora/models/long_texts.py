"""Reads texts that are longer than a model: cut in the middle, or divided into windows that overlap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kerora.data.tokens import TokenTable
from kerora.errors import ConfigError
from kerora.models.tokenizer import TextTokenizer
from kerora.settings.fit import LONG, POOLS, ModelConfig

SHARE_OF_OVERLAP = 4
"""Tokens of a window for each token of overlap, if no overlap is given."""


@dataclass(frozen=True)
class LongTexts:
    """How a model reads texts that are longer than its `max_length`.

    Attributes:
        long: `cut-end`, `cut-middle` or `windows`. Default: `cut-end`.
        stride: overlap of two windows in tokens, as `stride` of the tokenizers of transformers. Default: None, a
            quarter of the tokens of text in a window.
        pool: how the logits of the windows of a text are joined: `mean` or `max` of each output. Default: `mean`.

    Raises:
        ConfigError: a value is unknown or out of range.
    """

    long: str = "cut-end"
    stride: int | None = None
    pool: str = "mean"

    def __post_init__(self) -> None:
        for name, value, known in (("long", self.long, LONG), ("pool", self.pool, POOLS)):
            if value not in known:
                raise ConfigError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}. Received: {value!r}")
        if self.stride is not None and self.stride < 0:
            raise ConfigError(f"stride must be 0 or more. Received: {self.stride}")

    @property
    def windows(self) -> bool:
        """Whether long texts are divided into windows."""
        return self.long == "windows"

    def overlap(self, tokenizer: TextTokenizer, max_length: int) -> int:
        """Return the overlap of two windows of a single text, in tokens.

        Raises:
            ConfigError: it is not below the tokens of text in a window.
        """
        special = len(tokenizer.frame(False)[0]) - 1
        room = max_length - special
        if self.stride is not None and self.stride >= room:
            raise ConfigError(
                f"--stride {self.stride} must be below {room}, the tokens of text in a window of --max-length "
                f"{max_length} beside {special} special tokens. Lower --stride or raise --max-length."
            )
        return room // SHARE_OF_OVERLAP if self.stride is None else self.stride


class LongTokenizer:
    """A tokenizer that cuts long texts in the middle, or divides them into windows.

    A text that fits has the same tokens as without it. Of a pair that does not fit:

    - `cut-middle`: the longer text is shortened first, as with `cut-end`.
    - `windows`: the longer text is divided, and each window repeats the other text, which is cut at its end if it takes
      more than half of a window. Two windows overlap by at most half of the text in them.

    Args:
        tokenizer: tokenizes the texts.
        long_texts: `cut-middle` or `windows`.
    """

    def __init__(self, tokenizer: TextTokenizer, long_texts: LongTexts) -> None:
        self._tokenizer = tokenizer
        self._long_texts = long_texts

    @property
    def fingerprint(self) -> str:
        """Text that identifies the files and the options of the tokenizer."""
        return f"{self._tokenizer.fingerprint} {self._long_texts.long} {self._long_texts.stride}"

    @property
    def uses_segments(self) -> bool:
        """Whether `encode` returns segment ids."""
        return self._tokenizer.uses_segments

    @property
    def unknown_id(self) -> int | None:
        """Id of the token for unknown text, or None if there is none."""
        return self._tokenizer.unknown_id

    @property
    def special(self) -> np.ndarray:
        """Whether a token is special, bool (tokens,)."""
        return self._tokenizer.special

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int) -> TokenTable:
        """Return the ids of the documents with special tokens, in rows of at most `max_length`."""
        frame = _Frame(self._tokenizer, pairs is not None)
        ids: list[np.ndarray] = []
        segments: list[np.ndarray] = []
        windows = np.zeros(len(texts), np.int64)
        stride = self._long_texts.overlap(self._tokenizer, max_length)
        for number, parts in enumerate(self._contents(texts, pairs)):
            for row in self._rows(parts, max_length - frame.special, stride):
                ids.append(frame.ids(row))
                segments.append(frame.segments(row))
                windows[number] += 1
        offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        kinds = np.concatenate([np.zeros(0, np.uint8), *segments]) if self.uses_segments else None
        whole = np.concatenate([np.zeros(0, np.int32), *ids])
        return TokenTable(whole, offsets, kinds, max_length, windows=windows if (windows > 1).any() else None)

    def measure(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of tokens of each row without a limit, and how many of them the model does not read."""
        special = _Frame(self._tokenizer, pairs is not None).special
        room = max_length - special
        sizes = [[len(part) for part in parts] for parts in self._contents(texts, pairs)]
        lengths = np.array([sum(row) + special for row in sizes], np.int64)
        if not self._long_texts.windows:
            return lengths, np.maximum(lengths - max_length, 0)
        lost = [min(row) - _beside(row, room) if len(row) > 1 and sum(row) > room else 0 for row in sizes]
        return lengths, np.array(lost, np.int64)

    def _contents(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the ids of the one or two texts of each row, without special tokens."""
        first = self._tokenizer.contents(texts)
        return zip(first, strict=True) if pairs is None else zip(first, self._tokenizer.contents(pairs), strict=True)

    def _rows(self, parts: tuple[np.ndarray, ...], room: int, stride: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the texts of each row of a document, cut so that they fit."""
        if sum(map(len, parts)) <= room:
            yield parts
        elif self._long_texts.windows:
            yield from _windows(parts, room, stride)
        else:
            yield tuple(map(_without_middle, parts, _budgets([len(part) for part in parts], room)))


def row_tokenizer(tokenizer: TextTokenizer, config: ModelConfig) -> TextTokenizer | LongTokenizer:
    """Return the tokenizer that makes rows as the settings say.

    Raises:
        ConfigError: the windows of long texts would not move.
    """
    if config.long == "cut-end":
        tokenizer.truncation_side = config.truncate or tokenizer.own_side
        return tokenizer
    long_texts = LongTexts(config.long, config.stride)
    long_texts.overlap(tokenizer, config.max_length)
    tokenizer.truncation_side = "right"
    return LongTokenizer(tokenizer, long_texts)


class _Frame:
    """The special tokens around the one or two texts of a row."""

    def __init__(self, tokenizer: TextTokenizer, is_pair: bool) -> None:
        self._ids, self._texts, self._segments = tokenizer.frame(is_pair)
        self.special = sum(text is None for text in self._texts)

    def ids(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the row with its special tokens, int32."""
        items = zip(self._ids, self._texts, strict=True)
        return np.concatenate([np.array([one], np.int32) if text is None else parts[text] for one, text in items])

    def segments(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the segment of each token of the row, uint8."""
        sizes = [1 if text is None else len(parts[text]) for text in self._texts]
        return np.repeat(np.array(self._segments, np.uint8), sizes)


def _windows(parts: Sequence[np.ndarray], room: int, stride: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the windows of a text or a pair. Each begins `stride` tokens before the end of the one before."""
    if len(parts) == 1:
        yield from zip(_stretches(parts[0], room, stride))
        return
    beside = _beside([len(part) for part in parts], room)
    # As `only_first` and `only_second` of transformers: one text is divided, the other is in each window.
    divided = int(len(parts[1]) >= len(parts[0]))
    kept, room = parts[1 - divided][:beside], room - beside
    for stretch in _stretches(parts[divided], room, min(stride, room // 2)):
        yield (stretch, kept) if divided == 0 else (kept, stretch)


def _stretches(ids: np.ndarray, room: int, stride: int) -> Iterator[np.ndarray]:
    for start in range(0, len(ids), room - stride):
        yield ids[start : start + room]
        # Further windows would hold no new token.
        if start + room >= len(ids):
            return


def _beside(sizes: Sequence[int], room: int) -> int:
    """Return how many tokens of the shorter text of a pair each window repeats."""
    return min(*sizes, room // 2)


def _budgets(sizes: Sequence[int], room: int) -> list[int]:
    """Return the tokens that are kept of each text, as `longest_first` of the package `tokenizers` does."""
    if len(sizes) == 1:
        return [room]
    short = min(sizes)
    # Both texts are cut to the same length if the shorter one takes more than half.
    kept = (short, room - short) if short <= room // 2 else (room // 2, room - room // 2)
    return list(kept if sizes[0] <= sizes[1] else kept[::-1])


def _without_middle(ids: np.ndarray, room: int) -> np.ndarray:
    """Keep the first and the last tokens, half and half. Of an odd number, the first tokens are one more."""
    if len(ids) <= room:
        return ids
    last = room // 2
    return np.concatenate([ids[: room - last], ids[len(ids) - last :]])
