"""Data and step stand where the run stands: resume orders, `max_steps`, and the middle of an epoch."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable
from kerora.errors import Interrupted
from kerora.training.checkpoint import latest_checkpoint
from kerora.training.position import Position
from kerora.training.step import TrainStep
from tests.training.small import Training, equal, small_batches, stop_at


class Saved:
    """A checkpoint's place, which counts how often the running means were asked for."""

    def __init__(self, epoch: int, position: int) -> None:
        self.epoch, self.position, self.restored = epoch, position, 0

    def restore_metrics(self, model: Any) -> None:
        self.restored += 1


def served(batches: Batches) -> list[list[int]]:
    """The token ids of each batch that is left."""
    return [batches[index][0]["token_ids"].ravel().tolist() for index in range(len(batches))]


def numbered(rows: int, batch_size: int, seed: int) -> Batches:
    """Rows of one token that is their number."""
    table = TokenTable(np.arange(rows, dtype=np.int32), np.arange(rows + 1))
    return Batches(table, np.zeros(rows), batch_size=batch_size, seed=seed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_a_resumed_epoch_serves_what_was_left_of_it_in_the_same_order(data: st.DataObject) -> None:
    rows, size, seed = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 9)), data.draw(st.integers(0, 5))
    epoch = data.draw(st.integers(0, 4))
    whole = numbered(rows, size, seed)
    whole.move_to(epoch)
    order = served(whole)
    position = data.draw(st.integers(0, len(order) - 1))
    resumed, step, saved = numbered(rows, size, seed), TrainStep(len(order)), Saved(epoch, position)
    callback = Position(resumed, step, checkpoint=saved)  # type: ignore[arg-type]
    callback.on_epoch_begin(epoch)
    assert served(resumed) == order[position:]
    assert (step.epoch, step.position, saved.restored) == (epoch, position, 1)
    callback.on_epoch_begin(epoch + 1)
    whole.move_to(epoch + 1)
    assert served(resumed) == served(whole) and len(served(resumed)) == len(order)
    assert (step.epoch, step.position, saved.restored) == (epoch + 1, 0, 1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_serves_each_row_once(rows: int, size: int, epoch: int) -> None:
    batches = numbered(rows, size, seed=0)
    Position(batches, TrainStep(batches.batches_per_epoch)).on_epoch_begin(epoch)
    found = [np.asarray(batches[index][0]["padding_mask"]).sum() for index in range(len(batches))]
    assert sum(found) == rows == len(set(batches.order.tolist())) and max(found) <= size


def test_a_gradient_that_waits_is_dropped_when_an_epoch_begins() -> None:
    step = TrainStep(7, accumulate=3)
    step._pending_weight = 2.0
    Position(small_batches(), step).on_epoch_begin(2)
    assert step.at_update and (step.epoch, step.position) == (2, 0)


@pytest.mark.parametrize(
    ("updates", "max_steps", "at_update", "stops"),
    [(4, 5, True, False), (5, 5, True, True), (6, 5, True, True), (5, 5, False, False), (99, None, True, False)],
)
def test_training_stops_at_the_last_update_and_not_inside_one(
    updates: int, max_steps: int | None, at_update: bool, stops: bool
) -> None:
    step = SimpleNamespace(at_update=at_update)
    callback = Position(small_batches(), step, max_steps)  # type: ignore[arg-type]
    model = SimpleNamespace(optimizer=SimpleNamespace(iterations=np.array(updates)), stop_training=False)
    callback.set_model(model)
    callback.on_train_batch_end(0)
    assert model.stop_training == stops


@pytest.mark.parametrize(("accumulate", "max_steps", "batches"), [(1, 4, 4), (3, 4, 10), (3, 3, 7), (7, 2, 14)])
def test_max_steps_are_updates_not_batches(tmp_path: Path, accumulate: int, max_steps: int, batches: int) -> None:
    seen: list[int] = []
    training = Training(tmp_path / "run", lambda t: seen.append(t.updates), accumulate=accumulate, max_steps=max_steps)
    training.go()
    assert len(seen) == batches and training.updates == max_steps


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("place", [(0, 1), (0, 6), (1, 4), (2, 2)])
def test_a_run_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, accumulate: int, place: tuple[int, int]
) -> None:
    keras.utils.set_random_seed(3)
    whole = Training(tmp_path / "whole", accumulate=accumulate)
    expected = whole.go()
    keras.utils.set_random_seed(3)
    with pytest.raises(Interrupted):
        Training(tmp_path / "run", stop_at(*place), accumulate=accumulate).go()
    found = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None and found.epoch * 7 + found.position >= place[0] * 7 + place[1]
    keras.utils.set_random_seed(99)  # other first weights: all of them must come from the checkpoint
    resumed = Training(tmp_path / "run", accumulate=accumulate)
    assert equal(resumed.go(found), expected)
    assert resumed.updates == whole.updates == 3 * whole.step.updates_per_epoch
    losses = [[row["loss"] for row in training.history.rows] for training in (whole, resumed)]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    assert resumed.stopping.state() == whole.stopping.state()
