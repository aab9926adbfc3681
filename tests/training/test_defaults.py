"""Defaults by width and rows: monotone, within their bounds, and only where nothing was set."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import FitConfig, resolve
from kerora.errors import ConfigError
from kerora.models.learning_rate import BASE_RATES, default_learning_rate
from kerora.tasks.registry import task_named
from kerora.training.defaults import default_epochs, settle_for_data, settle_for_model

QUICK = settings(max_examples=100, deadline=None, derandomize=True)
COUNTS = st.integers(0, 10_000)
CLASSIFICATION = task_named("classification")


def with_splits(*splits: str) -> Any:
    return SimpleNamespace(splits=dict.fromkeys(splits))


def model(width: int = 384, max_length: int = 64, mask_share: float = 0.3) -> Any:
    parts = {"length_settings": {"max_length": max_length, "truncate": None}, "mask_share": mask_share}
    return SimpleNamespace(backbone=SimpleNamespace(hidden_dim=width), **parts)


def batches(count: int) -> Any:
    return SimpleNamespace(batches_per_epoch=count)


@QUICK
@given(COUNTS, COUNTS)
def test_more_updates_an_epoch_never_mean_more_epochs(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert 12 >= default_epochs(few) >= default_epochs(many) >= 3


@QUICK
@given(st.integers(1, 10_000))
def test_the_epochs_make_four_hundred_updates_and_no_more_than_needed(updates: int) -> None:
    epochs = default_epochs(updates)
    assert epochs == 12 or epochs * updates >= 400
    assert epochs == 3 or (epochs - 1) * updates < 400


def test_epochs_at_the_edges() -> None:
    assert [default_epochs(count) for count in (0, 1, 33, 34, 133, 134, 199, 200)] == [12, 12, 12, 12, 4, 3, 3, 3]
    assert [default_epochs(count) for count in (36, 37, 40, 41, 100, 101)] == [12, 11, 10, 10, 4, 4]


@QUICK
@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(sorted(BASE_RATES)))
def test_wider_models_take_smaller_steps(one: int, other: int, method: str) -> None:
    narrow, wide = sorted((one, other))
    rates = default_learning_rate(narrow, method), default_learning_rate(wide, method)
    assert rates[0] >= rates[1] > 0
    assert rates[0] * narrow == pytest.approx(rates[1] * wide)


def test_known_rates() -> None:
    assert default_learning_rate(768) == 1e-3 and default_learning_rate(384) == 2e-3
    # ELECTRA-small is 256 wide and is fine-tuned at 3e-4
    assert default_learning_rate(256, "full") == pytest.approx(3e-4)
    assert default_learning_rate(100, "full") * 10 == pytest.approx(default_learning_rate(100, "lora"))


@QUICK
@given(st.integers(1, 300), st.integers(1, 12), st.none() | st.integers(1, 50), st.none() | st.floats(1e-6, 1.0))
def test_what_was_set_is_kept_and_the_rest_is_settled(
    count: int, accumulate: int, epochs: int | None, rate: float | None
) -> None:
    changes = {"training": {"accumulate": accumulate, "epochs": epochs, "learning_rate": rate}}
    before = resolve(changes, {"model.max_length": 500})
    after = settle_for_model(before, model(width=192), batches(count))
    updates = sum(1 for batch in range(count) if (batch + 1) % accumulate == 0 or batch == count - 1)
    assert after.training.epochs == (epochs or default_epochs(updates))
    assert after.training.learning_rate == (rate or 4e-3)
    assert (after.model.max_length, after.training.mask_share) == (64, 0.3)
    settled = {"epochs": epochs, "learning_rate": rate, "mask_share": before.training.mask_share}
    assert dataclasses.replace(after.training, **settled) == before.training
    assert (after.data, after.lora, after.language) == (before.data, before.lora, before.language)
    assert settle_for_model(after, model(width=192), batches(count)) == after


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_the_rate_goes_by_the_method(method: str) -> None:
    after = settle_for_model(resolve({"lora.method": method}), model(width=768), batches(10))
    assert after.training.learning_rate == BASE_RATES[method]


def test_early_stopping_needs_validation_rows() -> None:
    for splits, expected in ((("train",), False), (("train", "test"), False), (("train", "validation"), True)):
        assert settle_for_data(FitConfig(), CLASSIFICATION, with_splits(*splits)).training.early_stopping == expected
    off = resolve({"training.early_stopping": False})
    assert not settle_for_data(off, CLASSIFICATION, with_splits("train", "validation")).training.early_stopping


@pytest.mark.parametrize(("task", "monitor"), [("classification", "val_macro_f1"), ("causal-lm", "val_loss")])
def test_each_task_has_its_monitor_and_keeps_one_that_is_set(task: str, monitor: str) -> None:
    found = settle_for_data(FitConfig(), task_named(task), with_splits("train", "validation"))
    assert found.training.monitor == monitor
    own = resolve({"training.monitor": "loss"})
    assert settle_for_data(own, task_named(task), with_splits("train", "validation")).training.monitor == "loss"


def test_an_unknown_monitor_is_told_with_the_known_ones_where_it_would_be_used() -> None:
    config = resolve({"training.monitor": "val_f1"})
    with pytest.raises(ConfigError) as caught:
        settle_for_data(config, CLASSIFICATION, with_splits("train", "validation"))
    known = ", ".join(sorted(CLASSIFICATION.training.MONITORS))
    hint = "Did you mean 'val_macro_f1' or 'val_mcc' or 'val_ece'?"
    assert str(caught.value) == f"Unknown --monitor 'val_f1'. {hint} Known: {known}."
    assert settle_for_data(config, CLASSIFICATION, with_splits("train")).training.monitor == "val_f1"


@pytest.mark.parametrize(("available", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_precision_is_settled_by_the_hardware(monkeypatch: pytest.MonkeyPatch, available: bool, expected: str) -> None:
    monkeypatch.setattr("kerora.models.precision._has_bfloat16", lambda: available)
    data = with_splits("train")
    assert settle_for_data(FitConfig(), CLASSIFICATION, data).model.precision == expected
    set_ = resolve({"model.precision": "float16"})
    assert settle_for_data(set_, CLASSIFICATION, data).model.precision == "float16"
