"""Metrics over windows: every token but a text's first is predicted once, with context before it."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.documents import Documents, Part
from kerora.data.tokens import TokenTable
from kerora.tasks.language import measure


def loss_of(token: int, before: int) -> float:
    """Return a loss that tells which token was predicted, and from how many."""
    return token + 1 / (1 + before)


class Noted:
    """Stands for a language model: token n costs `loss_of` it; notes what it was asked."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.tokenizer = SimpleNamespace(pad_id=0, byte_length=lambda number: number % 3 + 1)
        self.asked: list[tuple[int, int]] = []
        self.shapes: list[tuple[int, int]] = []

    def losses(self, inputs: dict[str, np.ndarray], targets: np.ndarray, counted: np.ndarray) -> np.ndarray:
        self.shapes.append(targets.shape)
        assert (inputs["padding_mask"][counted] == 1).all(), "padding is never counted"
        found = [(int(targets[row, place]), int(place)) for row, place in np.argwhere(counted)]
        self.asked += found
        return np.array([loss_of(token, place) for token, place in found], np.float64)


def table_of(lengths: list[int], counted: np.ndarray | None = None) -> TokenTable:
    """Return texts whose tokens are the numbers from 1 on, each once."""
    return TokenTable(np.arange(1, sum(lengths) + 1, dtype=np.int32), np.cumsum([0, *lengths]), counted=counted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 23), min_size=1, max_size=5), st.integers(2, 9), st.integers(1, 12), st.integers(1, 4))
def test_every_token_is_predicted_once_from_enough_before_it(
    lengths: list[int], max_length: int, stride: int, batch_size: int
) -> None:
    model, table = Noted(max_length), table_of(lengths)
    found = measure.evaluate_table(model, table, 100, batch_size, stride)  # type: ignore[arg-type]
    expected = [number for row in range(len(table)) for number in table.row(row)[1:].tolist()]
    assert sorted(token for token, _ in model.asked) == expected
    context = {token: place + 1 for token, place in model.asked}
    places = {int(number): at for row in range(len(table)) for at, number in enumerate(table.row(row))}
    step = min(stride, max_length - 1)
    assert all(context[token] >= min(places[token], max_length - step) for token in expected)
    assert all(context[token] < max_length for token in expected)
    assert all(rows <= batch_size for rows, _ in model.shapes)
    total = math.fsum(loss_of(token, place) for token, place in model.asked)
    assert found["tokens"] == len(expected)
    if expected:
        assert found["loss"] == pytest.approx(total / len(expected))
        assert found["bits_per_byte"] == pytest.approx(total / math.log(2) / 100)
    else:
        assert found == {"loss": None, "perplexity": None, "bits_per_byte": None, "tokens": 0}


def test_tokens_that_do_not_count_are_context_only() -> None:
    counted = np.array([0, 0, 1, 1, 1, 0, 1, 0], np.uint8)
    model = Noted(8)
    found = measure.evaluate_table(model, table_of([5, 3], counted), 10)  # type: ignore[arg-type]
    assert model.asked == [(3, 1), (4, 2), (5, 3), (7, 0)] and found["tokens"] == 4


def test_the_default_stride_is_half_a_row_and_long_rows_come_in_small_batches() -> None:
    by_default, half = Noted(6), Noted(6)
    table = table_of([20, 7])
    assert measure.evaluate_table(by_default, table, 9) == measure.evaluate_table(half, table, 9, 64, 3)  # type: ignore[arg-type]
    assert by_default.asked == half.asked
    wide = Noted(measure.BATCH_TOKENS)
    measure.evaluate_table(wide, table_of([measure.BATCH_TOKENS // 2 + 2] * 3), 9)  # type: ignore[arg-type]
    assert {rows for rows, _ in wide.shapes} == {1}, "no more tokens in a batch than BATCH_TOKENS"


def test_bytes_of_a_texts_first_token_are_left_out_where_it_counts() -> None:
    model: Any = Noted(8)
    documents = Documents()
    for text, counted in (("häuser", True), ("日本", True), ("ab", False)):
        documents.append((Part(text, counted, True),), text)
    marks = np.array([1, 1, 1, 1, 1, 0, 0], np.uint8)
    table = table_of([3, 2, 2], marks)
    model.token_table = lambda given: table if given is documents else None
    found = measure.evaluate_documents(model, documents)
    # the tokens 1 and 4, of 2 bytes each, are not predicted; the third text does not count
    size = len("häuser".encode()) + len("日本".encode()) - 2 - 2
    total = sum(loss_of(token, place) for token, place in model.asked)
    assert [token for token, _ in model.asked] == [2, 3, 5]
    assert found["bits_per_byte"] == pytest.approx(total / math.log(2) / size)


def test_no_prompts_need_no_model() -> None:
    assert measure.continue_prompts(None, [], 5) == []  # type: ignore[arg-type]
