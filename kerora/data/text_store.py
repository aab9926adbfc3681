"""A column of texts on disk, so that a data set does not need to fit into memory.

Memory holds 12 bytes for each text (its place and its length), and at most `SPILL_BYTES` of the texts added last.
"""

import contextlib
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, overload

# Small data sets stay in memory and make no file. Large ones are written in few large pieces.
SPILL_BYTES = 8 * 2**20
# A loop over the texts reads that many at once. A read of the file for each text would be slow.
BLOCK_TEXTS = 1_024


class _Bytes:
    """Bytes that can be appended. The last ones are in memory, the others in a temporary file without a name."""

    def __init__(self) -> None:
        self.tail = bytearray()
        self.written = 0
        self._file: IO[bytes] | None = None
        self._may_spill = True
        # For `read` alone: one thread adds the texts before others read them.
        self._lock = threading.Lock()

    def append(self, data: bytes) -> int:
        """Append bytes and return the position of the first one."""
        start = self.written + len(self.tail)
        self.tail += data
        if self._may_spill and len(self.tail) >= SPILL_BYTES:
            self._spill()
        return start

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`."""
        inside = b""
        if start < self.written:
            assert self._file is not None
            # Another thread could move the position of the file between seek and read.
            with self._lock:
                self._file.seek(start)
                # A text can lie in the file with its first bytes and in memory with its last ones.
                inside = self._file.read(min(stop, self.written) - start)
        first = max(start - self.written, 0)
        return inside + bytes(self.tail[first : max(stop - self.written, first)])

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="kerora-")  # noqa: SIM115 (lives as long as the texts)
            # `read` moves the position in the file.
            self._file.seek(self.written)
            self._file.write(self.tail)
            self._file.flush()
        except OSError:  # The disk is full: later texts stay in memory.
            self._may_spill = False
            with contextlib.suppress(OSError):
                if self._file is not None and self.written == 0:
                    self._file.close()
            return
        # Only after the write has succeeded, because `written` says which bytes are in the file.
        self.written += len(self.tail)
        self.tail = bytearray()


class TextStore(Sequence[str]):
    """A list of texts on disk. Texts can be added but not changed. It is read like a list of strings.

    Args:
        texts: the first texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = _Bytes()
        # 64 bits for places and 32 bits for lengths. A list of Python integers takes more than 60 bytes for each text.
        self._starts = array("q")
        self._lengths = array("i")
        self.extend(texts)

    def append(self, text: str) -> None:
        """Add a text."""
        # Identifiers are not checked, and JSON can hold unpaired surrogates in them.
        data = text.encode("utf-8", "surrogatepass")
        self._starts.append(self._bytes.append(data))
        self._lengths.append(len(data))

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts."""
        for text in texts:
            self.append(text)

    def take(self, indices: Sequence[int]) -> "TextStore":
        """Return the texts at `indices`, in that order. Their bytes are shared, not copied."""
        taken = TextStore()
        # Safe to share: bytes are only added, so the places of earlier texts stay valid.
        taken._bytes = self._bytes
        taken._starts = array("q", (self._starts[index] for index in indices))
        taken._lengths = array("i", (self._lengths[index] for index in indices))
        return taken

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a text, or a list of texts for a slice."""
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            return self._block(places) if places.step == 1 else [self[place] for place in places]
        start, length = self._starts[index], self._lengths[index]
        return self._bytes.read(start, start + length).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK_TEXTS):
            yield from self[start : start + BLOCK_TEXTS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextStore | list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"TextStore([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} texts)"

    def __reduce__(self) -> tuple[Any, ...]:
        # A file without a name and a lock cannot be pickled, so the texts themselves are.
        return TextStore, (list(self),)

    def _block(self, places: range) -> list[str]:
        """Return neighbouring texts. If they lie end to end on disk, one read is enough."""
        starts, lengths = self._starts[places.start : places.stop], self._lengths[places.start : places.stop]
        # After `take` the texts of a block can lie anywhere.
        if any(at + length != after for at, length, after in zip(starts, lengths, starts[1:], strict=False)):
            return [self[place] for place in places]
        first = starts[0] if starts else 0
        data = self._bytes.read(first, first + sum(lengths))
        parts = (data[at - first : at - first + length] for at, length in zip(starts, lengths, strict=True))
        return [part.decode("utf-8", "surrogatepass") for part in parts]
