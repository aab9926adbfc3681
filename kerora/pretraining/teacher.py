"""The targets that an encoder learns from a teacher: a state for each token, and initial token embeddings."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from kerora.data.batches import padded_inputs
from kerora.data.tokens import TokenTable, cache_directory, forget_old
from kerora.errors import RunError
from kerora.models.presets import Preset
from kerora.models.tokenizer import TextTokenizer
from kerora.pretraining.masked_lm import INITIAL_SPREAD, Start
from kerora.pretraining.packing import PackedRow

LONGEST = 512
CHUNK_ROWS = 512
SHORTEST_WORD = 3
EMBEDDING_SPREAD = 0.05


class Teacher:
    """A pre-trained encoder. Another encoder, the student, learns its last hidden states. Tokenizers may differ.

    The target of a token is the mean state of the teacher's tokens that overlap the token's word. The target of the
    special tokens at the start and the end of a row is the sentence embedding of the teacher, because classifiers read
    the first token. The sentence embedding is the mean over all tokens (Reimers and Gurevych 2019, arXiv:1908.10084).

    Args:
        preset: a pre-trained encoder of any supported architecture.
        dtype: number type of weights and arithmetic: float32, bfloat16 or float16.
        batch_size: texts in a batch. Default: 32.

    Raises:
        PresetError: the files of the preset are incomplete or damaged.
    """

    def __init__(self, preset: Preset, dtype: str, batch_size: int = 32) -> None:
        self.preset = preset
        self.batch_size = batch_size
        self.tokenizer = preset.load_tokenizer()
        self._backbone = preset.load_backbone(dtype)
        self._max_length = min(LONGEST, getattr(self._backbone, "max_sequence_length", None) or LONGEST)

    @property
    def width(self) -> int:
        """Width of a state."""
        return int(self._backbone.hidden_dim)

    def states(self, rows: Sequence[PackedRow], word_starts: np.ndarray) -> list[np.ndarray]:
        """Return the target of each token of each row, float32 (tokens of the row, width).

        Tokens beyond the maximum length of the teacher get zeros.

        Args:
            rows: the rows of the student.
            word_starts: whether a token of the student starts a word, bool (tokens,).
        """
        first, last = self.tokenizer.wrapping
        lines = list(self.tokenizer.encode_lines([row.text for row in rows]))
        # 2: the special tokens at the start and the end
        room = self._max_length - 2
        ids = [np.array([first, *line.ids[:room], last], np.int32) for line in lines]
        targets: list[np.ndarray] = [np.zeros(0)] * len(rows)
        for number, hidden in self.hidden(ids):
            row, line = rows[number], lines[number]
            # a tokenizer may add a blank before the text, which moves its spans
            spans = np.array(line.spans[:room], np.int64).reshape(-1, 2) - (len(line.text) - len(row.text))
            # the first and the last token of both are special and have no span
            words = word_means(hidden[1:-1], spans, row.spans, word_starts[row.ids[1:-1]])
            sentence = hidden.mean(axis=0, keepdims=True)
            targets[number] = np.concatenate([sentence, words, sentence])
        return targets

    def hidden(self, rows: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of each row of token ids and its last hidden states, float32 (tokens, width)."""
        # rows of similar length in a batch need little padding
        order = np.argsort([-len(row) for row in rows], kind="stable")
        for begin in range(0, len(order), self.batch_size):
            numbers = order[begin : begin + self.batch_size]
            yield from zip(numbers.tolist(), self._batch([rows[number] for number in numbers]), strict=True)

    def _batch(self, rows: list[np.ndarray]) -> Iterator[np.ndarray]:
        lengths = [len(row) for row in rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.concatenate(rows)
        segments = np.zeros(len(ids), np.uint8) if self.tokenizer.uses_segments else None
        table = TokenTable(ids, offsets, segments, self._max_length)
        with torch.no_grad():
            outputs = self._backbone(padded_inputs(table, np.arange(len(rows)), self.tokenizer.pad_id), training=False)
        hidden = (outputs["sequence_output"] if isinstance(outputs, dict) else outputs).float().cpu().numpy()
        return (states[:length] for states, length in zip(hidden, lengths, strict=True))


def word_means(states: np.ndarray, spans: np.ndarray, student_spans: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return for each token of the student the mean state of the teacher's tokens that overlap its word.

    If no token of the teacher overlaps, the result is zeros.

    Args:
        states: states of the teacher, (tokens of the teacher, width).
        spans: start and end of each token of the teacher in the text, in characters, ascending (tokens of the teacher,
            2).
        student_spans: start and end of each token of the student in the text (tokens, 2).
        starts: whether a token of the student starts a word, bool (tokens,).
    """
    # number of the word of each token of the student, from 0, also if the row begins inside a word
    words = np.cumsum(starts) - starts[:1].sum()
    # first and last token of each word
    opening = np.flatnonzero(np.diff(words, prepend=-1))
    closing = np.append(opening[1:], len(words)) - 1
    # A teacher's token overlaps a word if it ends after the start of the word and starts before its end. As the
    # spans ascend, these are the tokens from `first` to before `after`.
    first = np.searchsorted(spans[:, 1], student_spans[opening, 0], side="right")
    after = np.searchsorted(spans[:, 0], student_spans[closing, 1], side="left")
    count = np.maximum(after - first, 0)
    # Sums over ranges as differences of running sums. In float32 the differences would lose digits.
    sums = np.concatenate([np.zeros((1, states.shape[1])), np.cumsum(states, axis=0, dtype=np.float64)])
    totals = sums[first + count] - sums[first]
    means: np.ndarray = (totals / np.maximum(count, 1)[:, None])[words].astype(np.float32)
    return means


def cached_targets(
    key: str,
    teacher: Teacher,
    table: TokenTable,
    rows: Callable[[], Iterable[PackedRow]],
    word_starts: np.ndarray,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the directions of the teacher's states, int8 (tokens, width), memory-mapped from the cache on disk.

    Each vector is scaled to the largest absolute value 127 and rounded, because only directions are learnt. The cache
    keeps the part that an interrupted call made, and the next call continues from there.

    Args:
        key: name of the cache entry. It depends on the rows and the teacher.
        teacher: makes the states.
        table: the tokens of the rows.
        rows: returns the rows in order.
        word_starts: whether a token of the student starts a word, bool (tokens,).
        progress: called with the number of rows done.

    Raises:
        RunError: the cache cannot be written.
    """
    folder = cache_directory() / "teachers"
    path = folder / f"{key}.int8"
    try:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            forget_old(folder)
            _make(path, teacher, table, rows(), word_starts, progress)
        with contextlib.suppress(OSError):
            # `forget_old` deletes by this time, so each use counts
            os.utime(path)
        shape = (len(table.ids), teacher.width)
        # an empty file cannot be mapped
        return np.memmap(path, np.int8, "r", shape=shape) if len(table.ids) else np.zeros(shape, np.int8)
    except OSError as error:
        size = len(table.ids) * teacher.width / 1e9
        raise RunError(
            f"Cannot keep the teacher's states ({size:.1f} GB) in {folder}: {error.strerror}. "
            "Free some space or set KERORA_CACHE to another folder."
        ) from error


def _make(
    path: Path,
    teacher: Teacher,
    table: TokenTable,
    rows: Iterable[PackedRow],
    word_starts: np.ndarray,
    progress: Callable[[int], None] | None,
) -> None:
    """Write a cache entry, and continue the part of it that an interrupted process left."""
    # A process renames that part before it writes. A rename is atomic, so two processes never write to the same file.
    partial, work = path.with_suffix(".partial"), path.with_suffix(f".writing-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        partial.rename(work)
    try:
        with work.open("ab") as stream:
            # an interrupted write may end inside a row: continue after the last whole row
            done = int(np.searchsorted(table.offsets, stream.tell() // teacher.width, side="right")) - 1
            stream.truncate(int(table.offsets[done]) * teacher.width)
            remaining = islice(rows, done, None)
            while chunk := list(islice(remaining, CHUNK_ROWS)):
                for states in teacher.states(chunk, word_starts):
                    stream.write(_direction(states).tobytes())
                done += len(chunk)
                if progress is not None:
                    progress(done)
        work.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            work.rename(partial)
        raise


def _direction(states: np.ndarray) -> np.ndarray:
    # (tokens, 1): one scale per token uses all of int8, whatever the length of its vector
    largest = np.abs(states).max(axis=1, keepdims=True)
    # the small number keeps rows of zeros (tokens without a target) at zero
    rounded: np.ndarray = np.rint(states * (127 / np.maximum(largest, 1e-12))).astype(np.int8)
    return rounded


def one_piece_words(tokenizer: TextTokenizer) -> list[str]:
    """Return the English words that are a single piece in the teacher's vocabulary, in alphabetical order."""
    # Ġ and ▁ mark the start of a word in byte-level and SentencePiece vocabularies
    plain = (
        piece.lstrip("Ġ▁") for piece, starts in zip(tokenizer.pieces, tokenizer.word_starts, strict=True) if starts
    )
    return sorted({piece for piece in plain if len(piece) >= SHORTEST_WORD and piece.isalpha() and piece.isascii()})


def start_from_teacher(student: TextTokenizer, teacher: Teacher, width: int, seed: int) -> Start:
    """Return initial token embeddings for a student, and the projection from them to the teacher's states.

    The embedding of a piece is the state of the teacher for the text of this piece alone. Principal components reduce
    it to the width of the student, as in Model2Vec (Tulkens and van Dongen 2024). Words that the text lacks thus have a
    meaning before the first update. Pieces that the teacher cannot tokenize are random. Directions beyond the width of
    the teacher are random too.

    Args:
        student: the tokenizer of the student.
        teacher: the teacher.
        width: the width of the student.
        seed: seed of the random values.
    """
    generator = np.random.default_rng((seed, 5))
    embeddings = generator.normal(0.0, EMBEDDING_SPREAD, (len(student.pieces), width)).astype(np.float32)
    kernel = generator.normal(0.0, INITIAL_SPREAD, (width, teacher.width)).astype(np.float32)
    numbers, states = _piece_states(student, teacher)
    if not numbers:
        return Start(embeddings, kernel, np.zeros(teacher.width, np.float32))
    mean = states.mean(axis=0)
    # directions (components, width of the teacher), the component with the largest variance first
    _, _, directions = np.linalg.svd(states - mean, full_matrices=False)
    reduced = (states - mean) @ directions[:width].T
    spread = max(float(reduced.std()), 1e-12)
    found = reduced.shape[1]
    embeddings[numbers, :found] = reduced * (EMBEDDING_SPREAD / spread)
    # layer normalisation gives the states of the student a standard deviation of 1, so the kernel has the scale
    kernel[:found] = directions[:width] * spread
    # normalised start embedding x kernel + mean is about the teacher's state of the piece
    return Start(embeddings, kernel, mean.astype(np.float32))


def _piece_states(student: TextTokenizer, teacher: Teacher) -> tuple[list[int], np.ndarray]:
    """Return the pieces that the teacher can tokenize, and its mean state over each, float32 (pieces, width)."""
    by_piece = {piece: number for number, piece in enumerate(teacher.tokenizer.pieces)}
    plain = [piece.removeprefix("##") for piece in student.pieces]
    first, last = teacher.tokenizer.wrapping
    rows: dict[int, list[int]] = {}
    for number, line in enumerate(teacher.tokenizer.encode_lines(plain)):
        # looked up first, because the tokenizer would take "##ing" for the word "ing"
        same = by_piece.get(student.pieces[number])
        ids = [same] if same is not None else [token for token in line.ids if not teacher.tokenizer.special[token]]
        if ids and not (student.special[number] and same is None):
            rows[number] = [first, *ids, last]
    found = teacher.hidden([np.array(row, np.int32) for row in rows.values()])
    means = {number: states[1:-1].mean(axis=0) for number, states in found}
    return list(rows), np.array([means[number] for number in range(len(rows))], np.float32).reshape(-1, teacher.width)
