"""Checkpoints: what they hold, which are kept, damaged ones, those of another model, and a disk that is full."""

import contextlib
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

import kerora.runfolder
from kerora.errors import Interrupted, RunError
from kerora.training import checkpoint as module
from kerora.training.checkpoint import STATE_FILE, STATE_KEYS, WEIGHTS_FILE, Checkpoint, latest_checkpoint
from tests.training.small import Training, equal, stop_at


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that was stopped in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    keras.utils.set_random_seed(3)
    with pytest.raises(Interrupted):
        Training(folder, stop_at(1, 3)).go()
    return folder


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    """The folder of its newest checkpoint, to be damaged."""
    found = latest_checkpoint(shutil.copytree(stopped, tmp_path / "run") / "checkpoints")
    assert found is not None
    return found.folder


def edit(folder: Path, **changes: Any) -> None:
    state = json.loads((folder / STATE_FILE).read_text())
    (folder / STATE_FILE).write_text(json.dumps({**state, **changes}))


def test_a_checkpoint_inside_an_epoch_says_where_it_was_made(stopped: Path) -> None:
    found = latest_checkpoint(stopped / "checkpoints")
    assert found is not None
    assert (found.epoch, found.position, found.state["updates"], found.state["done"]) == (1, 3, 10, False)
    assert found.folder.name == "step-000010" and found.state["best_checkpoint"] == "step-000007"
    assert set(found.state) == {*STATE_KEYS, "updates", "skipped", "whole_checkpoint"}
    kinds = {name.partition(".")[0] for name in found.tensors}
    assert kinds == {"weight", "optimizer", "metric", "best"}
    assert len(found.state["history"]["rows"]) == 1 and found.state["early_stopping"]["best_epoch"] == 0


def test_a_checkpoint_between_epochs_holds_no_running_means(tmp_path: Path) -> None:
    training = Training(tmp_path / "run", epochs=1)
    training.go()
    found = latest_checkpoint(training.run.checkpoints)
    assert found is not None and (found.epoch, found.position) == (1, 0)
    assert not [name for name in found.tensors if name.startswith("metric")]
    count = len(training.model.optimizer.variables)
    assert sum(name.startswith("optimizer") for name in found.tensors) == count >= 2 * 3


def test_the_newest_and_the_best_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(tmp_path / "run", save_steps=1, learning_rate=0.05)
    losses = iter([0.9, 0.4, 0.7])
    note = training.stopping.on_epoch_end
    monkeypatch.setattr(training.stopping, "on_epoch_end", lambda epoch, logs: note(epoch, {"loss": next(losses)}))
    training.go()
    assert sorted(path.name for path in training.run.checkpoints.iterdir()) == ["step-000014", "step-000021"]
    newest = latest_checkpoint(training.run.checkpoints)
    assert newest is not None and newest.state["best_checkpoint"] == "step-000014"
    best = Checkpoint(training.run.checkpoints / "step-000014")
    stored = [best.tensors[f"weight.{number}"] for number in range(3)]
    found = newest.best_weights(training.model)
    assert found is not None and equal(found, stored) and equal(training.weights(), stored)


def test_keep_keeps_more_and_a_whole_epoch_stays_beside_the_newest(tmp_path: Path) -> None:
    def names(look: Any = lambda training: None, **config: Any) -> list[str]:
        training = Training(tmp_path / f"{len(list(tmp_path.iterdir()))}", look, save_steps=1, epochs=2, **config)
        training.stopping.on_epoch_end = lambda epoch, logs: None
        (training.run.checkpoints / "step-000003").mkdir(parents=True)  # what a killed process left
        with contextlib.suppress(Interrupted):
            training.go()
        return sorted(path.name.lstrip("step-0") for path in training.run.checkpoints.iterdir())

    assert names(keep=3) == ["12", "13", "14"]
    assert names(stop_at(1, 3)) == ["10", "7"]
    assert names(stop_at(1, 3), keep=2) == ["10", "7", "9"]


def test_checkpoints_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    clock = iter(range(0, 10_000, 61))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    training = Training(tmp_path / "run", save_minutes=2.0, epochs=1)
    training.go()
    found = sorted(int(path.name[5:]) for path in training.run.checkpoints.iterdir())
    assert 7 in found and 2 < len(found) < 7


def test_each_checkpoint_holds_the_weights_of_its_own_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer works while training goes on: what it writes must be a copy."""
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    seen: dict[int, list[np.ndarray]] = {}
    training = Training(tmp_path / "run", lambda t: seen.update({t.updates: t.weights()}), save_steps=1)
    training.go()
    assert sorted(seen) == list(range(1, 22))
    for updates, weights in seen.items():
        tensors = Checkpoint(training.run.checkpoints / f"step-{updates:06d}").tensors
        assert equal([tensors[f"weight.{number}"] for number in range(3)], weights), updates


@pytest.mark.parametrize(
    ("accumulate", "save_steps", "expected"),
    [(1, 2, [2, 4, 6, 7, 8, 10, 12, 14, 16, 18, 20, 21]), (3, 2, [2, 3, 4, 6, 8, 9]), (1, None, [7, 14, 21])],
)
def test_checkpoints_are_made_at_whole_updates_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, save_steps: int | None, expected: list[int]
) -> None:
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    training = Training(tmp_path / "run", accumulate=accumulate, save_steps=save_steps)
    training.go()
    made = [Checkpoint(path) for path in sorted(training.run.checkpoints.iterdir())]
    assert [found.state["updates"] for found in made] == expected
    assert all(found.position % accumulate == 0 for found in made)


def test_no_checkpoint_where_there_is_no_folder(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "checkpoints") is None
    (tmp_path / "checkpoints").mkdir()
    assert latest_checkpoint(tmp_path / "checkpoints") is None


def test_the_newest_is_the_one_with_the_most_updates_not_the_last_by_name(copy: Path) -> None:
    for name in ("step-000009", "step-1000000", "step-999999", "step-x", "step-2000000.bak", "other"):
        shutil.copytree(copy, copy.with_name(name))
    (copy.parent / "step-3000000").mkdir()  # its writer was killed before state.json
    shutil.copy(copy / WEIGHTS_FILE, copy.parent / "step-3000000")
    found = latest_checkpoint(copy.parent)
    assert found is not None and found.folder.name == "step-1000000"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.9, 0.9999])
def test_truncated_weights_are_told_with_the_way_out(copy: Path, share: float) -> None:
    content = (copy / WEIGHTS_FILE).read_bytes()
    (copy / WEIGHTS_FILE).write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunError) as caught:
        Checkpoint(copy)
    message = str(caught.value)
    assert message.startswith(f"The checkpoint {copy} is damaged: ") and "\n" not in message
    assert message.endswith("Delete the checkpoint to continue from an earlier one.")


def test_missing_weights_are_told_too(copy: Path) -> None:
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(
        RunError, match=r"is damaged: .*No such file .*Delete the checkpoint to continue from an earlier"
    ):
        Checkpoint(copy)


@pytest.mark.parametrize("key", STATE_KEYS)
def test_a_state_without_one_of_its_keys_is_damaged(copy: Path, key: str) -> None:
    state = json.loads((copy / STATE_FILE).read_text())
    del state[key]
    (copy / STATE_FILE).write_text(json.dumps(state))
    with pytest.raises(RunError) as caught:
        Checkpoint(copy)
    path = copy / STATE_FILE
    remedy = "Delete the checkpoint to continue from an earlier one."
    assert str(caught.value) == f"{path} is damaged: it lacks {key}. {remedy}"


@pytest.mark.parametrize(
    ("text", "reason"), [('{"epoch": 1', "damaged"), ("[]", "expected an object"), ("", "damaged")]
)
def test_a_state_that_is_no_object_is_damaged(copy: Path, text: str, reason: str) -> None:
    (copy / STATE_FILE).write_text(text)
    with pytest.raises(RunError, match=reason) as caught:
        latest_checkpoint(copy.parent)
    assert str(copy / STATE_FILE) in str(caught.value)


def test_the_one_before_a_deleted_checkpoint_is_gone_on_from(stopped: Path, copy: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    expected = Training(tmp_path / "whole").go()
    shutil.rmtree(copy)
    earlier = latest_checkpoint(copy.parent)
    assert earlier is not None and (earlier.epoch, earlier.position) == (1, 0)
    assert equal(Training(copy.parent.parent).go(earlier), expected)


def test_a_checkpoint_of_another_model_names_the_shapes(copy: Path, tmp_path: Path) -> None:
    found, other = Checkpoint(copy), Training(tmp_path / "other", width=6)
    with pytest.raises(RunError) as caught:
        other.go(found)
    assert str(caught.value) == (
        f"The checkpoint {copy} does not fit this model: weight 0 has shape (40, 4), needs (40, 6)."
    )
    assert other.updates == 0


@pytest.mark.parametrize("name", ["weight.2", "optimizer.1"])
def test_a_checkpoint_that_lacks_a_tensor_says_which(copy: Path, tmp_path: Path, name: str) -> None:
    tensors = safetensors.numpy.load((copy / WEIGHTS_FILE).read_bytes())
    del tensors[name]
    (copy / WEIGHTS_FILE).write_bytes(safetensors.numpy.save(tensors))
    with pytest.raises(RunError, match=f"does not fit this model: {name.replace('.', ' ')} is missing"):
        Checkpoint(copy).restore_model(Training(tmp_path / "other").model)


def test_metrics_are_restored_inside_an_epoch_alone(copy: Path, tmp_path: Path) -> None:
    training = Training(tmp_path / "other")
    Checkpoint(copy).restore_metrics(training.model)
    variables = [variable for metric in training.model.metrics for variable in metric.variables]
    stored = Checkpoint(copy).tensors
    assert [float(v.numpy()) for v in variables] == [float(stored[f"metric.{n}"]) for n in range(len(variables))]
    # batches of two rows: the one of a single row comes where the order puts it
    assert {5.0, 6.0} & {float(variable.numpy()) for variable in variables}
    edit(copy, position=0)
    training.model.reset_metrics()
    Checkpoint(copy).restore_metrics(training.model)
    assert not any(float(variable.numpy()) for variable in variables)


def test_best_weights_are_none_before_the_first_epoch_s_end(tmp_path: Path) -> None:
    training = Training(tmp_path / "run", stop_at(0, 2))
    with pytest.raises(Interrupted):
        training.go()
    found = latest_checkpoint(training.run.checkpoints)
    assert found is not None and found.best_weights(training.model) is None
    assert found.state["best_checkpoint"] is None and found.state["early_stopping"]["best"] is None


def fail_from(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full from its `call`-th flush on."""
    calls = iter(range(1, 1000))
    real = kerora.runfolder.os.fsync

    def fsync(descriptor: int) -> None:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(kerora.runfolder.os, "fsync", fsync)


@pytest.mark.parametrize(("call", "which"), [(1, WEIGHTS_FILE), (2, STATE_FILE)])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, which: str
) -> None:
    folder = shutil.copytree(stopped, tmp_path / "run")
    earlier = latest_checkpoint(folder / "checkpoints")
    training = Training(folder, save_steps=1)
    fail_from(call, monkeypatch)
    with pytest.raises(RunError) as caught:
        training.go(earlier)
    failed = folder / "checkpoints" / "step-000011"
    reason = "No space left on device. Free space or choose another folder."
    assert str(caught.value) == f"Cannot write {failed / which}: {reason}"
    assert training.updates < 14  # it does not go on for the rest of the epoch
    monkeypatch.undo()
    left = latest_checkpoint(folder / "checkpoints")
    assert left is not None and earlier is not None and left.folder == earlier.folder
    assert not [path for path in failed.parent.rglob("*") if path.name.endswith(".tmp")]
    keras.utils.set_random_seed(3)
    expected = Training(tmp_path / "whole").go()
    assert equal(Training(folder).go(left), expected)


def test_a_signal_says_how_to_go_on(tmp_path: Path) -> None:
    training = Training(tmp_path / "run", stop_at(0, 7))  # at the epoch's last batch: saved at its end
    with pytest.raises(Interrupted) as caught:
        training.go()
    assert str(caught.value) == (
        f"Interrupted. The state is saved. Continue with: kerora fit --resume {training.run.path}"
    )
    assert caught.value.exit_code == 128 + 15
    found = latest_checkpoint(training.run.checkpoints)
    assert found is not None and (found.epoch, found.position, found.state["updates"]) == (1, 0, 7)
