"""What an export is compared on: real rows, real tokens, none of the padding."""

from typing import Any

import numpy as np
import pytest
import torch

from kerora.data.rows import Dataset, Rows
from kerora.errors import DataError
from kerora.tasks.probe import Probe, probed_rows

LENGTHS = [3, 9, 1, 5, 9, 2, 7, 4, 6, 8, 1]


def probe(per_token: bool) -> Probe:
    """Eleven rows of random ids, padded on the right."""
    mask = (np.arange(9) < np.array(LENGTHS)[:, None]).astype(np.int32)
    ids = np.random.default_rng(0).integers(1, 99, mask.shape).astype(np.int32) * mask
    return Probe(Rows(["t"] * 11, ["1"] * 11), "mine", {"token_ids": ids, "padding_mask": mask}, per_token)


def test_logits_of_rows_come_from_one_batch_in_float32() -> None:
    found, seen = probe(per_token=False), []

    def compute(inputs: dict[str, np.ndarray]) -> torch.Tensor:
        seen.append(inputs["token_ids"].shape)
        assert not torch.is_grad_enabled()
        return torch.tensor(inputs["token_ids"].sum(axis=1, keepdims=True) / 3, requires_grad=True)

    logits = found.logits(compute)
    assert seen == [(11, 9)] and logits.dtype == np.float32
    np.testing.assert_array_equal(logits, (found.inputs["token_ids"].sum(axis=1, keepdims=True) / 3).astype("float32"))


def test_logits_of_tokens_leave_padding_out_and_keep_the_order() -> None:
    found, sizes = probe(per_token=True), []

    def compute(inputs: dict[str, np.ndarray]) -> np.ndarray:
        sizes.append(len(inputs["token_ids"]))
        return np.stack([inputs["token_ids"], -inputs["token_ids"]], axis=-1)

    logits = found.logits(compute)
    expected = np.concatenate(found.tokens())
    assert logits.shape == (sum(LENGTHS), 2) and max(sizes) <= 8 and sum(sizes) == 11
    np.testing.assert_array_equal(logits, np.stack([expected, -expected], axis=-1))
    assert [len(row) for row in found.tokens()] == LENGTHS


def test_the_share_of_same_tokens_looks_no_further_than_the_cut() -> None:
    found = probe(per_token=True)
    own = found.tokens()
    assert found.share_of_same_tokens(own) == 1.0
    assert found.share_of_same_tokens([[*row, 5, 6] for row in own]) == 1.0, "a longer row was cut"
    assert found.share_of_same_tokens([row[:-1] for row in own]) == 0.0
    assert found.share_of_same_tokens([own[0], *([0] for _ in own[1:])]) == pytest.approx(1 / 11)
    with pytest.raises(ValueError):
        found.share_of_same_tokens(own[1:])


def rows(name: str, count: int = 1) -> Rows[Any]:
    return Rows([name] * count, ["1"] * count)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("train", "validation", "test"), "test"),
        (("train", "validation"), "validation"),
        (("train",), "train"),
        (("other", "train"), "train"),
    ],
)
def test_rows_come_from_the_part_that_was_trained_on_least(names: tuple[str, ...], chosen: str) -> None:
    assert probed_rows(Dataset("d", (), {name: rows(name) for name in names})).texts == [chosen]


@pytest.mark.parametrize("splits", [{}, {"other": rows("other")}, {"test": rows("test", 0)}])
def test_no_rows_are_an_error(splits: dict[str, Rows[Any]]) -> None:
    with pytest.raises(DataError, match=r"^d has no rows to verify the export with\. Add rows to "):
        probed_rows(Dataset("d", (), splits))
