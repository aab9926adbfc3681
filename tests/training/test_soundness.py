"""What is kept after a loss, a gradient, a weight or an output that is not a finite number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.errors import NotFiniteError
from kerora.notices import Notice
from kerora.runfolder import RunFolder
from kerora.runs.evaluate import evaluate_run
from kerora.runs.open import load
from kerora.training.fit import resume
from kerora.training.step import MOST_SKIPPED, TrainStep
from tests.training.test_fit import adapter, run_fit, short_fit

# the updates do not depend on how many there are in all
STEADY: dict[str, Any] = {"training__schedule": "constant", "training__warmup_steps": 0}


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path) -> dict[str, Any]:
    return short_fit(tmp_path, tiny_preset)


def broken_at(monkeypatch: pytest.MonkeyPatch, *updates: int, fault: float = float("nan")) -> list[int]:
    """Make the gradients of some updates infinite or not a number. Return the list of the updates, as they come."""
    seen: list[int] = []
    whole = TrainStep._update

    def update(self: TrainStep, model: Any) -> None:
        seen.append(len(seen))
        if seen[-1] in updates:
            model.trainable_weights[0].value.grad.fill_(fault)
        whole(self, model)

    monkeypatch.setattr(TrainStep, "_update", update)
    return seen


def test_after_nan_the_best_epoch_is_kept_and_not_the_newest_update(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = run_fit(settings, run="two", training__epochs=2, **STEADY)
    broken_at(monkeypatch, 22)  # nine updates an epoch: in the third epoch
    with pytest.raises(NotFiniteError, match=r"A gradient became .* at epoch 3, batch 5 \(rows .*of epoch 2 is kept"):
        run_fit(settings, **STEADY)
    run = RunFolder(Path(settings["runs_dir"]) / "run")
    assert run.read_manifest()["state"] == "failed" and run.read_manifest()["kept_epoch"] == 2
    assert adapter(run.path) == adapter(two)
    with pytest.warns(Notice, match=r"not finished \(state: failed\)\. Its adapter is of epoch 2, the last good state"):
        load(run.path)


def test_without_early_stopping_the_last_epoch_is_kept(settings: dict[str, Any], monkeypatch: Any) -> None:
    one = run_fit(settings, run="one", training__epochs=1, training__early_stopping=False, **STEADY)
    broken_at(monkeypatch, 11)
    with pytest.raises(NotFiniteError, match="of epoch 1 is kept"):
        run_fit(settings, training__early_stopping=False, training__save_steps=1, **STEADY)
    assert adapter(Path(settings["runs_dir"]) / "run") == adapter(one)


def test_weights_that_the_last_update_of_an_epoch_spoils_are_not_kept(
    settings: dict[str, Any], monkeypatch: Any
) -> None:
    seen = broken_at(monkeypatch)
    whole = TrainStep._update

    def spoil(self: TrainStep, model: Any) -> None:
        whole(self, model)
        if len(seen) == 18:
            model.trainable_variables[0].assign(model.trainable_variables[0] * np.inf)

    monkeypatch.setattr(TrainStep, "_update", spoil)
    with pytest.raises(NotFiniteError, match="became .* epoch 2.*of epoch 1 is kept"):
        run_fit(settings)
    for checkpoint in (Path(settings["runs_dir"]) / "run" / "checkpoints").iterdir():
        assert json.loads((checkpoint / "state.json").read_text())["epoch"] == 1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_skip_leaves_the_update_out_and_counts(settings: dict[str, Any], monkeypatch: Any, accumulate: int) -> None:
    seen = broken_at(monkeypatch, 2, 4, fault=float("inf"))
    with pytest.warns(Notice, match=r"A gradient became .* at epoch 1.* is left out \(--on-nan skip\)"):
        result = run_fit(settings, training__on_nan="skip", training__epochs=2, training__accumulate=accumulate)
    assert result.run.read_manifest()["skipped_updates"] == 2 and len(seen) == (18 if accumulate == 1 else 10)
    load(result.run.path)


def test_a_loss_that_is_not_finite_leaves_the_whole_update_out(settings: dict[str, Any], monkeypatch: Any) -> None:
    whole, calls = TrainStep._add_gradient, []

    def add(self: TrainStep, model: Any, *part: Any) -> Any:
        calls.append(self.position)
        if self.epoch == 0 and self.position == 2:
            raise self._not_finite("The loss became nan", first=self.position)
        return whole(self, model, *part)

    monkeypatch.setattr(TrainStep, "_add_gradient", add)
    with pytest.warns(Notice, match="The loss became nan at epoch 1, batch 3"):
        result = run_fit(settings, training__on_nan="skip", training__epochs=1, training__accumulate=3)
    # batches 0 to 8 in three updates: the rest of the second update is not computed
    assert calls == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert result.run.read_manifest()["skipped_updates"] == 1


def test_skip_stops_after_many_updates_in_a_row(settings: dict[str, Any], monkeypatch: Any) -> None:
    broken_at(monkeypatch, *range(11, 40))
    with pytest.warns(Notice), pytest.raises(NotFiniteError, match=f"^{MOST_SKIPPED} updates in a row were left out"):
        run_fit(settings, training__on_nan="skip")


def test_a_resume_knows_what_was_skipped(settings: dict[str, Any], monkeypatch: Any) -> None:
    with pytest.warns(Notice), monkeypatch.context() as patch:
        broken_at(patch, 2)
        whole = run_fit(settings, run="whole", training__on_nan="skip", training__batch_size=4)
    with pytest.warns(Notice), monkeypatch.context() as patch, pytest.raises(NotFiniteError):
        broken_at(patch, 2, *range(37, 60))
        run_fit(settings, training__on_nan="skip", training__batch_size=4)
    again = resume(Path(settings["runs_dir"]) / "run")
    manifest = again.run.read_manifest()
    assert manifest["error"] is None and manifest["kept_epoch"] is None
    assert manifest["skipped_updates"] == 1 and adapter(again) == adapter(whole)


def test_a_finished_run_whose_outputs_are_not_finite_is_refused(settings: dict[str, Any]) -> None:
    result = run_fit(settings, training__epochs=1)
    model = load(result.run.path)
    with torch.no_grad():
        model.head_layers[-1].kernel.value.fill_(3e38)
        model.head_layers[-1].bias.value.fill_(3e38)
    with pytest.raises(NotFiniteError, match="outputs of the model are infinite"):
        model.predict_logits(["a text"])
    from kerora.lora.files import save_adapter

    save_adapter(model, result.run.adapter)
    with pytest.raises(NotFiniteError, match=r"Train again with a lower --learning-rate"):
        evaluate_run(result.run.path)
