"""Tokens of texts, rows laid over them, and the batches made of both."""

from collections.abc import Sequence

import numpy as np
import pytest

from kerora.data.documents import Documents, completion, plain_text, turn
from kerora.data.language_batches import LanguageBatches
from kerora.data.language_tokens import Stretches, document_tokens, lay_out, windows
from kerora.data.tokens import TokenTable

END = 0


class Letters:
    """A letter a token, by its code; 1 in front of each text if told so."""

    end_id: int | None = END
    fingerprint = "letters"

    def __init__(self, start: tuple[int, ...] = ()) -> None:
        self.start_ids = start

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]


def documents(*texts: str) -> Documents:
    result = Documents([], [])
    for number, text in enumerate(texts):
        result.append(plain_text(text), str(number))
    return result


def pairs(*rows: tuple[str, str]) -> Documents:
    result = Documents([], [], form="completion")
    for number, (prompt, text) in enumerate(rows):
        result.append(completion(prompt, text), str(number))
    return result


def spell(ids: np.ndarray) -> str:
    return "".join("." if number == END else chr(number) for number in ids.tolist())


def laid(given: Documents, pack: str, size: int) -> tuple[TokenTable, Stretches, list[str]]:
    table = document_tokens(given, Letters())
    rows = lay_out(table, given, pack, size)
    return table, rows, [spell(table.ids[start : start + length]) for start, length in
                         zip(rows.starts, rows.lengths, strict=True)]  # fmt: skip


def counted(table: TokenTable, rows: Stretches, separate: bool = False) -> list[str]:
    """Return the targets that count, row by row."""
    batches = LanguageBatches(table, rows, batch_size=1, shuffle=False, separate=separate)
    found = {}
    for place, row in enumerate(batches.order):
        _, targets, weights = batches[place]
        found[row] = spell(targets[weights > 0])
    return [found[row] for row in sorted(found)]


def test_tokens_and_what_counts() -> None:
    given = pairs(("a ", "bc"), ("d ", "e"))
    given.append([turn("f", False), turn("g", True)], "2")
    table = document_tokens(given, Letters(start=(65,)))
    assert spell(table.ids) == "Aa bc.Ad e.Af.g."
    assert "".join(map(str, table.counted)) == "0001110001100011"
    assert table.offsets.tolist() == [0, 6, 11, 16]


def test_blocks_waste_nothing_and_predict_every_token_but_the_first() -> None:
    table, rows, shown = laid(documents("abcde", "fg", "hijk"), "auto", 4)
    assert shown == ["abcd", "e.fg", ".hij", "k"]
    assert rows.across and rows.lengths.sum() == len(table.ids) - 1
    assert "".join(counted(table, rows)) == "bcde.fg.hijk."


def test_docs_predict_no_text_from_another() -> None:
    table, rows, shown = laid(documents("abcde", "fg", "hijk"), "docs", 4)
    assert shown == ["abcd", "e.fg", ".hij", "k"]
    assert counted(table, rows, separate=True) == ["bcde", ".g.", "ijk", "."]
    batches = LanguageBatches(table, rows, batch_size=4, shuffle=False, separate=True)
    inputs = batches[0][0]
    assert inputs["document_ids"][:, :4].tolist() == [[1, 1, 1, 1], [1, 1, 2, 2], [2, 3, 3, 3], [3, 3, 3, 3]]


def test_docs_keep_prompts_with_their_completions() -> None:
    table, _rows, shown = laid(pairs(("a ", "b"), ("c ", "d"), ("e ", "fghi"), ("j ", "k")), "docs", 8)
    assert shown == ["a b.c d", "e fghi", "j k"]
    assert counted(table, _rows, separate=True) == ["b.d.", "fghi.", "k."]


def test_rows_of_their_own() -> None:
    table, rows, shown = laid(documents("abcdefg", "h", "ij"), "none", 4)
    assert shown == ["abcd", "efg", "h", "ij"]
    assert counted(table, rows) == ["bcde", "fg.", ".", "j."]


def test_a_long_prompt_loses_its_start_and_a_long_completion_its_end() -> None:
    table, rows, shown = laid(pairs(("abcdefgh ", "ij"), ("a ", "bcdefghij"), ("a ", "b")), "auto", 5)
    assert shown == ["gh ij", " bcde", "a b"]
    assert counted(table, rows) == ["ij.", "bcdef", "b."]
    assert rows.cut == 2


def test_a_text_shorter_than_a_block() -> None:
    table, rows, shown = laid(documents("ab"), "blocks", 64)
    assert shown == ["ab"] and counted(table, rows) == ["b."]


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (4, 1), (4, 3), (4, 9), (5, 2), (64, 32)])
def test_windows_predict_every_token_once(size: int, stride: int) -> None:
    table = document_tokens(documents("abcdefghijk", "l", "mn"), Letters())
    rows = windows(table, size, stride)
    assert "".join(counted(table, rows)) == "bcdefghijk..n."
    assert rows.lengths.max() < size
    context = rows.first_counted - rows.starts
    inner = rows.starts > np.array([0, 12, 14])[np.searchsorted(table.offsets, rows.starts, "right") - 1]
    assert (context[inner] >= size - min(stride, size - 1) - 1).all()


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    table, rows, _ = laid(documents(*("abcdefghij"[:length] for length in range(2, 10))), "none", 6)
    one, two = (LanguageBatches(table, rows, batch_size=2, seed=3) for _ in range(2))
    two.move_to(1, 2)
    one.move_to(1)
    for first, second in zip(one[2], two[0], strict=True):
        np.testing.assert_equal(first, second)
