"""The held-out measures against float64 over all tokens at once: means over tokens, not over batches."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kerora.data.tokens import TokenTable
from kerora.pretraining.held_out import HeldOut, HeldOutTexts
from kerora.pretraining.masking import MaskedBatches, Vocabulary

TOKENS, WIDTH = 20, 6
VOCABULARY = Vocabulary(4, np.arange(TOKENS) % 3 > 0, np.arange(TOKENS) < 5)


def table(lengths: list[int], low: int = 5) -> TokenTable:
    ids = np.random.default_rng(1).integers(low, TOKENS, sum(lengths)).astype(np.int32)
    return TokenTable(ids, np.cumsum([0, *lengths]))


class Lookup:
    """A model whose outputs are a function of the token alone."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.logits = generator.normal(size=(TOKENS, TOKENS)) * 3
        self.states = generator.normal(size=(TOKENS, WIDTH))
        self.trained: list[bool] = []

    def __call__(self, inputs: Any, training: bool) -> dict[str, torch.Tensor]:
        self.trained.append(training or torch.is_grad_enabled())
        ids = inputs["token_ids"]
        logits = self.logits[ids.reshape(-1)[inputs["mask_positions"]]]
        return {"logits": torch.tensor(logits, dtype=torch.float32), "states": torch.tensor(self.states[ids])}


def expected(model: Lookup, batches: MaskedBatches) -> dict[str, float]:
    losses, hits, sentences, tokens = [], [], [], []
    for index in range(len(batches)):
        inputs, y = batches[index]
        labels, targets = y if isinstance(y, tuple) else (y, None)
        flat = inputs["token_ids"].reshape(-1)
        for place, label in zip(inputs["mask_positions"], labels, strict=True):
            logits = model.logits[flat[place]]
            losses.append(np.log(np.exp(logits).sum()) - logits[label])
            hits.append(logits.argmax() == label)
        for row, column in np.argwhere(inputs["padding_mask"]) if targets is not None else ():
            one = model.states[inputs["token_ids"][row, column]]
            other = targets[row, column].astype(float)
            tokens.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            if column == 0:
                sentences.append(tokens[-1])
    found = {"loss": np.mean(losses), "accuracy": np.mean(hits)}
    return {**found, "cosine": np.mean(sentences), "token_cosine": np.mean(tokens)} if sentences else found


@pytest.mark.parametrize("with_teacher", [False, True])
def test_the_means_are_over_all_masked_tokens(with_teacher: bool) -> None:
    rows = table([9, 3, 14, 5, 30, 4, 8])  # the last batch of the seven rows is a short one
    teacher = np.random.default_rng(2).integers(1, 127, (len(rows.ids), WIDTH)).astype(np.int8)
    teacher *= np.where(np.arange(WIDTH) % 2, -1, 1).astype(np.int8)
    options: dict[str, Any] = {"batch_size": 3, "shuffle": False, "seed": 4}
    batches = MaskedBatches(rows, VOCABULARY, 0.4, teacher if with_teacher else None, **options)
    model = Lookup()
    found = HeldOut(batches).evaluate(model)
    assert found == pytest.approx(expected(model, batches), rel=1e-5)
    assert list(found) == ["loss", "accuracy", *(["cosine", "token_cosine"] if with_teacher else [])]
    assert model.trained == [False] * 3
    assert found == HeldOut(batches).evaluate(model)  # the same masks every time


def test_a_held_out_part_of_special_tokens_alone_has_no_infinite_loss() -> None:
    rows = TokenTable(np.array([2, 3, 2, 3], np.int32), np.array([0, 2, 4]))
    batches = MaskedBatches(rows, VOCABULARY, 0.5, None, batch_size=2, shuffle=False)
    assert HeldOut(batches).evaluate(Lookup()) == {"loss": 0.0, "accuracy": 0.0}


def test_the_logs_get_the_values_and_the_seconds_that_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    item = HeldOut(MaskedBatches(table([5]), VOCABULARY, 0.5, None, shuffle=False))
    item.set_model(SimpleNamespace())

    def slow(model: Any) -> dict[str, float]:
        time.sleep(0.02)
        return {"loss": 2.0, "accuracy": 0.25}

    monkeypatch.setattr(item, "evaluate", slow)
    logs: dict[str, Any] = {"loss": 1.0}
    item.on_epoch_end(0, logs)
    assert logs.pop("validation_seconds") >= 0.02
    assert logs == {"loss": 1.0, "val_loss": 2.0, "val_accuracy": 0.25}


class NextToken:
    """A language model whose loss of a token depends on the token alone."""

    max_length = 8

    def __init__(self) -> None:
        self.costs = np.random.default_rng(5).uniform(0.1, 4.0, TOKENS)
        self.tokenizer = SimpleNamespace(pad_id=0)
        self.predicted: list[int] = []

    def losses(self, inputs: Any, targets: np.ndarray, counted: np.ndarray) -> np.ndarray:
        self.predicted += targets[counted].tolist()
        return self.costs[targets[counted]]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_language_model_is_measured_on_each_token_but_the_first_of_a_text_once(batch_size: int) -> None:
    rows = table([5, 1, 40, 8, 9])
    sizes = np.arange(TOKENS) % 4 + 1
    tokenizer: Any = SimpleNamespace(byte_length=lambda number: int(sizes[number]), vocabulary_size=TOKENS)
    model = NextToken()
    found = HeldOutTexts(rows, tokenizer, batch_size).evaluate(model)
    rest = np.concatenate([rows.row(number)[1:] for number in range(len(rows))])
    assert sorted(model.predicted) == sorted(rest.tolist())
    total = model.costs[rest].sum()
    wanted = {"loss": total / len(rest), "perplexity": np.exp(total / len(rest))}
    assert found == pytest.approx({**wanted, "bits_per_byte": total / np.log(2) / sizes[rest].sum()})
