"""The training step against plain torch: weights, accumulation, remainders, NaN, seeds."""

from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable
from kerora.errors import TrainingError
from kerora.models.classifier import TextClassifier
from kerora.tasks.classification.losses import CrossEntropy
from kerora.training import step
from kerora.training.step import TrainStep, row_parts

SIZES = [4, 9, 17, 3, 8, 12, 5]


class Bag(keras.Model):
    """Mean of embeddings and a dense layer; takes the inputs of `Batches`."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = keras.layers.Embedding(120, 6)
        self.drop = keras.layers.Dropout(dropout)
        self.logits = keras.layers.Dense(3)
        self.step: Any = None

    def call(self, inputs: Any, training: bool = False) -> Any:
        vectors = self.drop(self.embedding(inputs["token_ids"]), training=training)
        mask = keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
        return self.logits(keras.ops.sum(vectors * mask, axis=1) / keras.ops.sum(mask, axis=1))

    def train_step(self, data: Any) -> Any:
        return self.step.train_step(self, data)


def batches(batch_size: int, class_weights: Any = None) -> Batches:
    offsets = np.concatenate([[0], np.cumsum(SIZES)])
    ids = np.random.default_rng(1).integers(1, 120, offsets[-1]).astype(np.int32)
    labels = [0, 1, 2, 1, 0, 2, 2]
    return Batches(TokenTable(ids, offsets), labels, batch_size=batch_size, class_weights=class_weights)


def trained(
    batch_size: int, accumulate: int, epochs: int = 2, class_weights: Any = None, smoothing: float = 0.0
) -> Any:
    keras.utils.set_random_seed(3)
    data = batches(batch_size, class_weights)
    model = Bag()
    model(data[0][0])
    model.step = TrainStep(len(data), accumulate)
    model.compile(keras.optimizers.SGD(0.5), CrossEntropy(smoothing), metrics=["accuracy"])
    model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    return model


def values(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0]])
def test_accumulation_over_unequal_batches_equals_one_big_batch(weights: Any) -> None:
    """Seven rows as 3 + 3 + 1 with accumulation 3 is the full-batch step, weights included."""
    whole, parts = trained(7, 1, class_weights=weights), trained(3, 3, class_weights=weights)
    for one, other in zip(values(whole), values(parts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_remainder_becomes_an_update_at_the_end_of_its_epoch() -> None:
    model = trained(2, 3, epochs=3)  # four batches an epoch: one update of three, one of one
    assert int(model.optimizer.iterations.numpy()) == 6
    assert model.step.updates_per_epoch == 2
    assert model.step.at_update


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_step_equals_plain_torch(smoothing: float) -> None:
    model = trained(7, 1, epochs=3, class_weights=[1.0, 0.5, 2.0], smoothing=smoothing)
    keras.utils.set_random_seed(3)
    data = batches(7, [1.0, 0.5, 2.0])
    start = Bag()
    start(data[0][0])
    embedding, kernel, bias = (torch.tensor(v.numpy(), dtype=torch.float64, requires_grad=True) for v in start.weights)
    for _ in range(3):
        inputs, labels, weights = data[0]
        mask = torch.tensor(inputs["padding_mask"])[..., None].double()
        pooled = (embedding[inputs["token_ids"]] * mask).sum(1) / mask.sum(1)
        losses = torch.nn.functional.cross_entropy(
            pooled @ kernel + bias, torch.tensor(labels), reduction="none", label_smoothing=smoothing
        )
        row_weights = torch.tensor(weights).double()
        loss = (losses * row_weights).sum() / row_weights.sum()
        for parameter, gradient in zip(
            (embedding, kernel, bias), torch.autograd.grad(loss, (embedding, kernel, bias)), strict=True
        ):
            parameter.data -= 0.5 * gradient
    for ours, theirs in zip(values(model), (embedding, kernel, bias), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-6)


def test_gradients_do_not_add_up_over_updates() -> None:
    keras.utils.set_random_seed(3)
    data, model = batches(7), Bag()
    model(data[0][0])
    seen: list[list[torch.Tensor]] = []

    class Recorder(keras.optimizers.SGD):
        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            seen.append([gradient.clone() for gradient in grads])
            return super().apply(grads, trainable_variables)

    model.step = TrainStep(1)
    model.compile(Recorder(0.0), CrossEntropy())
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    for later in seen[1:]:
        for first, again in zip(seen[0], later, strict=True):
            torch.testing.assert_close(first, again)


def test_dropout_depends_on_the_seed_and_the_position_alone() -> None:
    def losses(seed: int, disturb: bool) -> list[float]:
        keras.utils.set_random_seed(3)
        data, model = batches(3), Bag(dropout=0.5)
        model(data[0][0])
        model.step = TrainStep(len(data), seed=seed)
        model.compile(keras.optimizers.SGD(0.1), CrossEntropy())
        if disturb:
            torch.rand(17)
        return model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]

    assert losses(1, disturb=False) == losses(1, disturb=True) != losses(2, disturb=False)


def test_loss_that_is_not_a_number_stops_with_sound_weights() -> None:
    keras.utils.set_random_seed(3)
    data, model = batches(3), Bag()
    model(data[0][0])
    model.step = TrainStep(len(data))
    model.compile(keras.optimizers.SGD(1e30), CrossEntropy())
    with pytest.raises(TrainingError, match=r"epoch 1, batch [23].*--learning-rate"):
        model.fit(data, shuffle=False, verbose=0)


def test_task_models_take_the_step_in_compile(tiny_preset: Any) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), ["a", "b"], max_length=16, seed=0)
    tokens = model.tokenizer.encode(["the first text", "a second text here"], max_length=16)
    data = Batches(TokenTable(tokens.ids, tokens.offsets), [0, 1], batch_size=1)
    model.compile(keras.optimizers.SGD(0.1), CrossEntropy(), metrics=["accuracy"], step=TrainStep(2, accumulate=2))
    history = model.fit(data, epochs=2, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 2
    assert set(history.history) == {"loss", "accuracy"}


def parts_of(batch: tuple[Any, ...], tokens: int) -> list[tuple[Any, ...]]:
    return list(row_parts(*keras.utils.unpack_x_y_sample_weight(batch), tokens))


@pytest.mark.parametrize("tokens", [1, 20, 50, 1000])
@pytest.mark.parametrize("class_weights", [None, [1.0, 0.25, 3.0]])
def test_a_batch_in_parts_trains_as_in_one(tokens: int, class_weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = values(trained(7, 1, class_weights=class_weights))
    monkeypatch.setattr(step, "STATES_AT_ONCE", tokens)
    parts = parts_of(batches(7)[0], tokens)
    assert len(parts) == {1: 7, 20: 7, 50: 4, 1000: 1}[tokens]
    for left, right in zip(values(trained(7, 1, class_weights=class_weights)), expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_parts_hold_every_token_once_and_less_padding() -> None:
    x, y = batches(7)[0]
    parts = parts_of((x, y), 50)
    found = [row[mask > 0].tolist() for part, _, _ in parts for row, mask in zip(*part.values(), strict=True)]
    assert found == [row[mask > 0].tolist() for row, mask in zip(x["token_ids"], x["padding_mask"], strict=True)]
    assert np.concatenate([labels for _, labels, _ in parts]).tolist() == y.tolist()
    assert [part["token_ids"].shape[1] for part, _, _ in parts] == [20, 12, 8, 4]


def test_targets_and_weights_of_several_outputs_are_cut_alike() -> None:
    x, y = batches(7)[0]
    tokens, mask = x["token_ids"], x["padding_mask"]
    parts = parts_of((x, [y, tokens], [y + 1, mask]), 50)
    for part, (labels, states), (first, second) in parts:
        assert (first == labels + 1).all()
        assert (states == part["token_ids"]).all()
        assert (second == part["padding_mask"]).all()


def test_what_does_not_lie_in_rows_is_not_cut() -> None:
    x, y = batches(7)[0]
    whole = {**x, "mask_positions": np.arange(3)}
    assert [part[0] is whole for part in parts_of((whole, y), 8)] == [True]
    assert len(parts_of((x["token_ids"], y), 8)) == 1
