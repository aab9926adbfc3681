"""Tokens are hidden from a classifier while it trains, and only then."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kerora.errors import ConfigError
from kerora.models.classifier import TextClassifier
from kerora.models.token_masking import TokenMasking
from tests.tiny_huggingface import tiny_huggingface

TEXTS = ["a dull film about a parcel that never came", "fine"] * 200


@pytest.fixture(scope="module")
def model(tiny_preset: Path) -> TextClassifier:
    return TextClassifier.from_preset(str(tiny_preset), 2, max_length=24, head_dropout=0.0, seed=0)


def test_a_share_of_the_words_is_hidden_and_nothing_else(model: TextClassifier) -> None:
    inputs = model.encode(TEXTS)
    hidden = TokenMasking(0.3, model.tokenizer)(inputs)
    before, after = np.asarray(inputs["token_ids"]), hidden["token_ids"].numpy()
    words = ~model.tokenizer.special[before]
    assert np.array_equal(before[~words], after[~words])
    changed = before != after
    assert changed[words].mean() == pytest.approx(0.3, abs=0.04)
    assert set(after[changed]) == {model.tokenizer.mask_id}
    assert hidden["padding_mask"] is inputs["padding_mask"]


def test_the_draw_is_new_each_time_and_the_seed_decides_it(model: TextClassifier) -> None:
    masking, inputs = TokenMasking(0.3, model.tokenizer), model.encode(TEXTS)
    torch.manual_seed(5)
    first, second = masking(inputs)["token_ids"], masking(inputs)["token_ids"]
    torch.manual_seed(5)
    again = masking(inputs)["token_ids"]
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_predictions_see_every_word(model: TextClassifier) -> None:
    inputs = model.encode(TEXTS)
    plain = model(inputs, training=False)
    model.mask_share = 0.8
    try:
        assert torch.equal(model(inputs, training=False), plain)
        assert not torch.allclose(model(inputs, training=True), plain, atol=1e-4)
    finally:
        model.mask_share = 0.0
    assert torch.equal(model(inputs, training=True), plain)


def test_a_share_out_of_range_or_without_a_mask_token_is_refused(model: TextClassifier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="below 1. Received: 1"):
        model.mask_share = 1.0
    decoder = TextClassifier.from_preset(str(tiny_huggingface("gpt2", tmp_path)), 2, max_length=24)
    decoder.mask_share = 0.0
    with pytest.raises(ConfigError, match="--mask-share 0.3 needs a mask token, but the tokenizer of"):
        decoder.mask_share = 0.3
