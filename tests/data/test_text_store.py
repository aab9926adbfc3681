import pickle
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerora.data import text_store
from kerora.data.rows import Rows
from kerora.data.text_store import TextStore

TEXTS = ["one", "", "zwölf €", "a\nb\x00c", "😀" * 5, "last"]


@pytest.fixture(params=[1, 7, 10**9], ids=["each on disk", "some on disk", "in memory"])
def spill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(text_store, "SPILL_BYTES", request.param)
    monkeypatch.setattr(text_store, "BLOCK_TEXTS", 4)
    yield request.param


def test_texts_come_back_as_they_were(spill: int) -> None:
    store = TextStore(TEXTS)
    assert list(store) == TEXTS
    assert [store[place] for place in range(len(store))] == TEXTS
    assert store[-1] == "last"
    assert store[1:5] == TEXTS[1:5]
    assert store[::-2] == TEXTS[::-2]
    assert store[3:3] == []
    assert store == TEXTS
    assert store == TEXTS
    assert store != TEXTS[:-1]
    with pytest.raises(IndexError):
        store[len(TEXTS)]


def test_reading_and_adding_may_alternate(spill: int) -> None:
    store = TextStore()
    for count, text in enumerate(TEXTS * 3, start=1):
        store.append(text)
        assert store[count - 1] == text
        assert store[0] == TEXTS[0]
    store.extend(["more"])
    assert store == [*TEXTS * 3, "more"]


def test_taken_texts_are_in_the_given_order(spill: int) -> None:
    store = TextStore(TEXTS)
    taken = store.take([4, 0, 4, 2, 1])
    assert taken == [TEXTS[place] for place in (4, 0, 4, 2, 1)]
    assert taken[0:3] == [TEXTS[4], TEXTS[0], TEXTS[4]]
    store.append("later")
    assert taken.take([3, 0]) == [TEXTS[2], TEXTS[4]]


@given(st.lists(st.text(max_size=20)), st.integers(1, 50))
def test_any_texts_at_any_limit(texts: list[str], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_store, "SPILL_BYTES", limit)
        assert list(TextStore(texts)) == texts
        assert TextStore(texts)[2:9] == texts[2:9]


def test_unpaired_surrogates_survive(spill: int) -> None:
    assert TextStore(["\udc80x"])[0] == "\udc80x"


def test_a_full_disk_costs_memory_and_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, stream: IO[bytes], room: int) -> None:
            self.stream, self.room = stream, room

        def write(self, data: bytes) -> int:
            if len(data) > self.room:
                raise OSError(28, "No space left on device")
            self.room -= len(data)
            return self.stream.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    real = tempfile.TemporaryFile
    monkeypatch.setattr(text_store, "SPILL_BYTES", 6)
    monkeypatch.setattr(text_store.tempfile, "TemporaryFile", lambda **options: Full(real(**options), 15))
    store = TextStore(TEXTS * 2)
    assert list(store) == TEXTS * 2


def test_stores_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(TextStore(TEXTS))) == TEXTS


def test_rows_have_the_same_fingerprint_however_they_are_held() -> None:
    labels = [0, 1] * 3
    held, stored = Rows(TEXTS, TEXTS, labels, TEXTS), Rows(TextStore(TEXTS), TextStore(TEXTS), labels, TextStore(TEXTS))
    assert stored.fingerprint() == held.fingerprint()
    assert stored == held
    assert stored.take([5, 1]).fingerprint() == held.take([5, 1]).fingerprint()


def test_rows_are_hashed_once_and_again_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    plain = Rows._hash
    monkeypatch.setattr(Rows, "_hash", lambda self: counted.append(1) or plain(self))
    rows = Rows(TextStore(TEXTS), TextStore(TEXTS), [0] * 6)
    first = rows.fingerprint()
    assert rows.fingerprint() == first
    assert len(counted) == 1
    assert rows.targets is not None
    rows.targets[3] = 1
    changed = rows.fingerprint()
    assert changed != first
    rows.texts.append("more")
    rows.targets.append(0)
    assert rows.fingerprint() not in (first, changed)
    assert len(counted) == 3


def test_rows_in_lists_may_be_changed_in_place() -> None:
    rows = Rows(["a", "b"], ["1", "2"])
    first = rows.fingerprint()
    rows.texts[0] = "c"  # type: ignore[index]
    assert rows.fingerprint() != first


def test_texts_may_be_the_targets_of_texts() -> None:
    held = Rows(TEXTS, TEXTS, list(reversed(TEXTS)))
    stored = Rows(TextStore(TEXTS), TextStore(TEXTS), TextStore(reversed(TEXTS)))
    first = stored.fingerprint()
    assert first == held.fingerprint() == stored.fingerprint()
    assert stored.strata() is None
    assert isinstance(stored.take([1, 0]).targets, TextStore) and stored.take([1, 0]) == held.take([1, 0])
    assert [row["label"] for row in stored.objects(())] == list(reversed(TEXTS))
    stored.append("more", "7", "yet more")
    stored.extend(held)
    assert len(stored) == len(stored.targets) == 2 * len(TEXTS) + 1 and stored.fingerprint() != first
