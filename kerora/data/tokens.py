"""Tokenizes rows once: a memory-mapped cache on disk. Its key is made from the rows and the tokenizer.

A cache entry is a folder with these files:

- `ids.bin`: int32, the tokens of all rows end to end.
- `segments.bin`: uint8, as long as `ids.bin`; only if the model takes segment ids.
- `counted.bin`: uint8, as long as `ids.bin`; only if the loss counts some of the tokens.
- `windows.bin`: int64, the number of rows of each document; only if documents are divided into windows.
- `offsets.bin`: int64, rows + 1.
- `entry.json`: the number of rows and tokens, and which of the files there are.

An entry is written under a temporary name and then renamed, so that no process reads an incomplete entry.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerora.data.rows import Rows
from kerora.errors import RunError

# Part of each key: a higher number makes all earlier entries unreachable.
FORMAT_VERSION = 1
# Bounds the memory: a chunk is written before the next one is made.
CHUNK_ROWS = 2_000
# Entries are large, and a row or an option that changes makes another one.
KEEP_DAYS = 30
MARKS = ("segments", "counted")
"""Optional values of each token, one byte for each token."""


@dataclass(frozen=True)
class Line:
    """A tokenized line.

    Attributes:
        text: the line.
        ids: token ids without special tokens.
        spans: (start, end) of each token in the text, in characters.
    """

    text: str
    ids: Sequence[int]
    spans: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids, laid end to end. A document is one row, or several if it is divided into windows.

    Attributes:
        ids: int32 (tokens,), all rows end to end; memory-mapped when cached.
        offsets: int64 (rows + 1,); row n is ``ids[offsets[n]:offsets[n + 1]]``.
        segments: uint8 (tokens,), 0 for the first text and 1 for the second; None if the model takes none.
        max_length: length at which rows were truncated. Padding does not exceed it either. None if unknown.
        counted: uint8 (tokens,), 1 if the loss of a language model counts the token; None if it counts all tokens.
        windows: int64 (documents,), the number of rows of each document, in their order; None if each has one row.
    """

    ids: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray | None = None
    max_length: int | None = None
    counted: np.ndarray | None = None
    windows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def documents(self) -> np.ndarray:
        """Where each document begins and the last one ends, in rows, int64 (documents + 1,)."""
        if self.windows is None:
            return np.arange(len(self) + 1)
        return np.concatenate([[0], np.cumsum(self.windows)])

    @property
    def document_offsets(self) -> np.ndarray:
        """Where each document begins and the last one ends, in tokens, int64 (documents + 1,)."""
        return self.offsets if self.windows is None else self.offsets[self.documents]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, int64 (rows,)."""
        return np.diff(self.offsets)

    def row(self, number: int) -> np.ndarray:
        """Return the ids of a row."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    def counts(self, places: Any = slice(None)) -> np.ndarray:
        """Return for each token at `places` (an index or a slice) whether the loss counts it, bool."""
        if self.counted is None:
            return np.ones(np.shape(self.ids[places]), bool)
        # uint8 holds only 0 and 1 here, so it can be seen as bool without a copy.
        marked: np.ndarray = self.counted[places].view(bool)
        return marked


class RowTokenizer(Protocol):
    """The part of a tokenizer that the cache needs."""

    @property
    def fingerprint(self) -> str:
        """Text that identifies the files and the options of the tokenizer."""

    @property
    def uses_segments(self) -> bool:
        """Whether `encode` returns segment ids."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int) -> TokenTable:
        """Return the ids of the documents with special tokens, in rows of at most `max_length`."""


def cache_directory() -> Path:
    """Return the folder of the caches: ``$KERORA_CACHE``. Default: ``~/.cache/kerora``."""
    # `or`, because an empty variable counts as none.
    return Path(os.environ.get("KERORA_CACHE") or Path.home() / ".cache" / "kerora")


def tokenize(rows: Rows, tokenizer: RowTokenizer, max_length: int) -> TokenTable:
    """Tokenize rows in memory, without the cache. This is for small inputs."""
    return tokenizer.encode(rows.texts, rows.pairs, max_length=max_length)


def cached_tokens(rows: Rows, tokenizer: RowTokenizer, max_length: int) -> TokenTable:
    """Tokenize rows through the cache on disk.

    If the cache folder cannot be written, the tokens stay in memory. A run on a full or read-only disk is then slower,
    but it does not fail.
    """

    def chunks() -> Iterator[TokenTable]:
        for start in range(0, len(rows), CHUNK_ROWS):
            pairs = None if rows.pairs is None else rows.pairs[start : start + CHUNK_ROWS]
            yield tokenizer.encode(rows.texts[start : start + CHUNK_ROWS], pairs, max_length=max_length)

    key = cache_key(tokenizer.fingerprint, max_length, rows.fingerprint())
    return cached_table(key, chunks, segments=tokenizer.uses_segments, max_length=max_length)


def cached_table(
    key: str,
    chunks: Callable[[], Iterable[TokenTable]],
    *,
    segments: bool = False,
    counted: bool = False,
    max_length: int | None = None,
) -> TokenTable:
    """Return the table of a cache entry. If there is no entry, `chunks` makes it.

    Args:
        key: name of the entry; see `cache_key`.
        chunks: returns the parts of the table, one after another.
        segments: whether the parts have segment ids.
        counted: whether the parts say which tokens the loss counts.
        max_length: length at which rows were truncated; None if they were not.

    Raises:
        RunError: the entry was written but cannot be read.
    """
    # Older versions wrote the counted marks as segment ids under the plain key. A different key avoids these entries.
    entry = cache_directory() / "tokens" / (cache_key("counted", key) if counted else key)
    marks = [name for name, wanted in zip(MARKS, (segments, counted), strict=True) if wanted]
    table = _open(entry, max_length)
    if table is not None:
        return table
    try:
        _write(entry, chunks(), marks)
        forget_old(entry.parent)
    # Nothing was returned yet, so the chunks are made again, in memory.
    except OSError:
        return _joined(list(chunks()), marks, max_length)
    table = _open(entry, max_length)
    if table is None:
        raise RunError(f"Cannot read the token cache {entry}. Delete it, or set KERORA_CACHE to another folder.")
    return table


def cache_key(*parts: object) -> str:
    """Return a name for a cache entry that depends on all parts."""
    digest = hashlib.sha256()
    for part in (FORMAT_VERSION, *parts):
        # The line end keeps ("a", "bc") and ("ab", "c") apart.
        digest.update(f"{part}\n".encode())
    return digest.hexdigest()[:32]


def _joined(chunks: list[TokenTable], marks: Sequence[str], max_length: int | None) -> TokenTable:
    # Each empty array below gives the type, and np.concatenate needs at least one array.
    ids = [chunk.ids for chunk in chunks]
    lengths = [chunk.lengths for chunk in chunks]
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
    beside = {
        name: np.concatenate([np.zeros(0, np.uint8), *(getattr(chunk, name) for chunk in chunks)]) for name in marks
    }
    whole = np.concatenate([np.zeros(0, np.int32), *ids])
    windows = _divided([np.zeros(0, np.int64), *(np.diff(chunk.documents) for chunk in chunks)])
    return TokenTable(whole, offsets.astype(np.int64), max_length=max_length, windows=windows, **beside)


def _divided(windows: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the windows of all documents, or None if each has one: then nothing differs from undivided documents."""
    joined = np.concatenate(windows)
    return joined.astype(np.int64) if (joined != 1).any() else None


def _open(entry: Path, max_length: int | None) -> TokenTable | None:
    try:
        facts: dict[str, Any] = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        offsets = np.fromfile(entry / "offsets.bin", dtype=np.int64)
        ids = _map(entry / "ids.bin", np.int32, facts["tokens"])
        marks = [name for name in MARKS if facts.get(name)]
        beside = {name: _map(entry / f"{name}.bin", np.uint8, facts["tokens"]) for name in marks}
        windows = np.fromfile(entry / "windows.bin", dtype=np.int64) if facts.get("windows") else None
    except (OSError, ValueError, KeyError):
        return None
    # A cut file is a miss, not an error: the entry is then written again.
    if len(offsets) != facts["rows"] + 1 or offsets[-1] != facts["tokens"]:
        return None
    if windows is not None and windows.sum() != facts["rows"]:
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # `forget_old` goes by the time of the last use.
    return TokenTable(ids, offsets, max_length=max_length, windows=windows, **beside)


def _map(path: Path, dtype: Any, count: int) -> np.ndarray:
    if count == 0:
        return np.zeros(0, dtype)  # An empty file cannot be memory-mapped.
    mapped = np.memmap(path, dtype=dtype, mode="r")
    if len(mapped) != count:
        raise ValueError(f"{path} holds {len(mapped)} values, not {count}")
    return mapped


def _write(entry: Path, chunks: Iterable[TokenTable], marks: Sequence[str]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".writing-"))
    try:
        offsets, windows = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
        tokens = 0
        with contextlib.ExitStack() as stack:
            ids, *beside = (stack.enter_context(open(work / f"{name}.bin", "wb")) for name in ("ids", *marks))
            for chunk in chunks:
                ids.write(chunk.ids.astype(np.int32).tobytes())
                for name, stream in zip(marks, beside, strict=True):
                    stream.write(getattr(chunk, name).astype(np.uint8).tobytes())
                # Each chunk counts from 0. Its first offset equals the last one of the chunk before.
                offsets.append(chunk.offsets[1:] + tokens)
                windows.append(np.diff(chunk.documents))
                tokens += len(chunk.ids)
        table, divided = np.concatenate(offsets).astype(np.int64), _divided(windows)
        table.tofile(work / "offsets.bin")
        facts = {"rows": len(table) - 1, "tokens": tokens, **{name: name in marks for name in MARKS}}
        if divided is not None:
            divided.tofile(work / "windows.bin")
            facts["windows"] = True
        (work / "entry.json").write_text(json.dumps(facts), encoding="utf-8")
        # A folder cannot be renamed onto a folder with files, so a damaged entry is removed first.
        shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(OSError):  # Another process was faster. Its entry is the same.
            work.rename(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def forget_old(folder: Path) -> None:
    """Remove the entries of a cache folder that were not used for `KEEP_DAYS`."""
    limit = time.time() - KEEP_DAYS * 86_400
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if entry.stat().st_mtime < limit:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
