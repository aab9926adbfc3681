"""`--augment` and `--consistency` in a fit: exact resume, refusals, and the loss of R-Drop."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from kerora.config import resolve
from kerora.errors import ConfigError
from kerora.training.fit import assemble, fit, resume
from kerora.training.step import divergence
from tests.tuning.conftest import short_fit


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {**short_fit(tiny_preset), "training.baseline": False, "training.early_stopping": False}


def losses(path: Path) -> list[str]:
    with (path / "history.csv").open(newline="") as stream:
        return [row["loss"] + row["val_loss"] for row in csv.DictReader(stream)]


CASES = [
    {"training.augment": "swap"},
    {"training.augment": "aeda", "training.augment_share": 0.5},
    {"training.augment": "mask"},
    {"training.consistency": "rdrop"},
]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_resumed_run_equals_one_without_a_stop(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    import keras

    whole = fit(resolve(settings, changes, {"run": "whole"}))
    plain = fit(resolve(settings, {"run": "plain"}))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(BaseException):  # noqa: B017
        fit(resolve(settings, changes, {"run": "stopped", "training.save_steps": 1}), callbacks=[Stop()])
    stopped = resume("runs/stopped")
    assert losses(stopped.run.path) == losses(whole.run.path) != losses(plain.run.path)
    assert whole.metrics["after"] == stopped.metrics["after"]


def test_evaluation_rows_are_never_changed(settings: dict[str, Any]) -> None:
    setup = assemble(resolve(settings, {"training.augment": "swap"}))
    assert setup.batches.augmenter is not None
    validation: Any = setup.task.training.validation(setup.config, setup.dataset, setup.model)
    assert validation.data.augmenter is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.augment_share": 0.2}, "Add --augment"),
        ({"training.augment": "mask", "training.mask_share": 0.2}, "both mask tokens"),
        ({"training.augment": "swap", "training.cache_frozen": True, "lora.layers": "last:1"}, "--cache-frozen"),
        ({"training.augment": "synonyms"}, "augment"),
        (
            {"training.consistency": "rdrop", "lora.dropout": 0, "model.head_dropout": 0, "training.mask_share": 0},
            "Raise one of them",
        ),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        assemble(resolve(settings, changes))


def test_texts_of_one_word_get_a_notice(settings: dict[str, Any]) -> None:
    Path("words.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    with pytest.warns(UserWarning, match="100% of the rows have one word"):
        assemble(resolve(settings, {"data.source": "words.csv", "training.augment": "swap"}))


def test_the_divergence_is_the_mean_of_both_directions_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(5, 3, generator=generator) for _ in range(2))
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    kl = torch.nn.functional.kl_div
    rows = (kl(p, q, reduction="none", log_target=True) + kl(q, p, reduction="none", log_target=True)).sum(-1) / 2
    torch.testing.assert_close(divergence(first, second), rows.mean())
    weights = torch.tensor([1.0, 0, 2, 0, 1])
    torch.testing.assert_close(divergence(first, second, weights), (rows * weights).sum() / 4)
    assert float(divergence(first, first)) == 0
