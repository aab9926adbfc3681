"""The regressor: its loss equals torch, its numbers are in the units of the targets wherever a user sees them."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

import kerora
from kerora.data.numbers import Scale
from kerora.errors import AdapterError, ConfigError, DataError
from kerora.lora.files import save_adapter
from kerora.models.regression_loss import RegressionLoss, losses_of_rows
from kerora.models.regressor import TextRegressor
from kerora.training.step import row_parts
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface

TEXTS = [" ".join(WORDS[n : n + 1 + n % 7]) for n in range(40)]
NUMBERS = np.array([1000.0 + 10 * len(text) for text in TEXTS])


@pytest.fixture
def model(tiny_preset: Path) -> TextRegressor:
    made = TextRegressor.from_preset(str(tiny_preset), ["length"], seed=0)
    made.enable_lora(rank=2)
    return made


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
def test_losses_and_gradients_are_those_of_torch_in_float64(kind: str) -> None:
    generator = np.random.default_rng(0)
    targets, found = generator.normal(50, 20, (64, 3)), generator.normal(50, 20, (64, 3))
    deviation = (20.0, 3.0, 0.5)
    function = {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}[kind]
    wide = torch.tensor(found, dtype=torch.float64, requires_grad=True)
    scaled = [value / torch.tensor(deviation) for value in (wide, torch.tensor(targets))]
    reference = getattr(torch.nn.functional, function)(*scaled)
    reference.backward()
    assert losses_of_rows(targets, found, deviation, kind).mean() == pytest.approx(float(reference.detach()), rel=1e-12)
    narrow = torch.tensor(found, dtype=torch.float32, requires_grad=True)
    loss = RegressionLoss(kind, deviation)(torch.tensor(targets, dtype=torch.float32), narrow)
    loss.backward()
    assert float(loss) == pytest.approx(float(reference), rel=1e-5)
    assert np.allclose(narrow.grad.numpy(), wide.grad.numpy(), rtol=1e-4, atol=1e-8)
    weights = torch.tensor(generator.uniform(0.1, 2, 64), dtype=torch.float32)
    weighted = RegressionLoss(kind, deviation)(torch.tensor(targets, dtype=torch.float32), narrow.detach(), weights)
    each = losses_of_rows(targets, found, deviation, kind)
    assert float(weighted) == pytest.approx(np.average(each, weights=weights.numpy()), rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(RegressionLoss(kind, deviation)))
    assert again.kind == kind and list(again.deviation) == list(deviation)
    with pytest.raises(ConfigError, match="one of mse, mae, huber"):
        RegressionLoss("l1")


def test_fit_takes_the_scale_and_numbers_keep_their_units(model: TextRegressor) -> None:
    model.compile()
    history = model.fit(TEXTS, NUMBERS, epochs=2, batch_size=8, verbose=0, validation_split=0.25).history
    assert model.scale.mean == pytest.approx((NUMBERS[:30].mean(),)), "the held out rows are not known"
    assert history["val_mae"][-1] > 1 and history["val_loss"][-1] < 10, "the metric has units, the loss has none"
    found = model.predict(TEXTS, verbose=0)
    assert found.shape == (40, 1) and abs(found.mean() - NUMBERS.mean()) < 3 * NUMBERS.std()
    assert np.allclose(found, model.predict_numbers(TEXTS), rtol=1e-5)
    assert np.allclose(found[:2], model(TEXTS[:2]).detach().numpy(), rtol=1e-5)
    loss, mae = model.evaluate(TEXTS, NUMBERS, verbose=0)
    assert mae == pytest.approx(np.abs(found[:, 0] - NUMBERS).mean(), rel=1e-3)
    assert loss == pytest.approx((((found[:, 0] - NUMBERS) / model.scale.deviation[0]) ** 2).mean(), rel=1e-3)
    before = model.scale
    model.fit(model.encode(TEXTS), NUMBERS * 2, epochs=1, verbose=0)
    assert model.scale == before, "a second fit keeps the scale"


def test_an_encoded_fit_takes_the_scale_too(model: TextRegressor) -> None:
    model.compile(loss="mse")
    model.fit(model.encode(TEXTS), NUMBERS, epochs=1, verbose=0)
    assert model.scale.mean == pytest.approx((NUMBERS.mean(),))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 40, "'a' is no number"),
        ([float("nan"), *NUMBERS[1:]], "position 0 is not finite"),
        (np.ones((40, 2)), r"The model has 1 target \(length\)"),
    ],
)
def test_wrong_labels(labels: object, message: str, model: TextRegressor) -> None:
    model.compile()
    with pytest.raises(DataError, match=message):
        model.fit(TEXTS, labels, verbose=0)


def test_files_hold_the_scale(model: TextRegressor, tmp_path: Path) -> None:
    model.compile()
    model.fit(TEXTS, NUMBERS, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.scale == model.scale
    assert np.allclose(again.predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0), rtol=1e-6)
    model.save_weights(tmp_path / "m.weights.h5")
    plain = TextRegressor.from_preset(model.preset, ["length"])
    plain.enable_lora(rank=2)
    with pytest.raises(AdapterError, match="scale of the targets"):
        plain.load_weights(tmp_path / "m.weights.h5")


def test_folding_writes_the_scale_into_the_head(model: TextRegressor) -> None:
    model.set_scale(Scale((1000.0,), (25.0,)))
    before = model.predict_numbers(TEXTS)
    model.fold_scale()
    assert model.scale.is_plain and np.allclose(model.predict_numbers(TEXTS), before, rtol=1e-6)


def test_adapters_with_different_scales_share_a_batch(model: TextRegressor, tmp_path: Path) -> None:
    found = {}
    for name, scale, seed in (("low", Scale((-5.0,), (0.1,)), 1), ("high", Scale((1e4,), (300.0,)), 2)):
        one = TextRegressor.from_preset(model.preset, ["length"], seed=seed, scale=scale)
        one.enable_lora(rank=2)
        save_adapter(one, tmp_path / name)
        found[name] = one.predict_numbers(TEXTS)
        model.load_adapter(tmp_path / name, name)
    base = model.predict_numbers(TEXTS)
    names = [("low", "high", "default")[n % 3] for n in range(40)]
    mixed = model.predict_logits(TEXTS, adapter=names)
    wanted = np.stack([{**found, "default": base}[name][n] for n, name in enumerate(names)])
    assert np.allclose(mixed, wanted, rtol=1e-5)
    assert np.allclose(model.predict_numbers(TEXTS), base), "the active adapter stays active"
    model.set_adapter("high")
    assert np.allclose(model.predict_numbers(TEXTS), found["high"], rtol=1e-5)


def test_a_decoder_without_a_bias_has_no_mean(tmp_path: Path) -> None:
    folder = tiny_huggingface("gpt2", tmp_path / "gpt2", n_layer=1)
    model = TextRegressor.from_preset(str(folder), ["length"], max_length=16)
    scale = model.scale_of(NUMBERS[:, None])
    assert scale.mean == (0.0,) and scale.deviation[0] == pytest.approx(np.sqrt((NUMBERS**2).mean()))
    model.set_scale(scale)
    before = model.predict_numbers(TEXTS)
    model.fold_scale()
    assert np.allclose(model.predict_numbers(TEXTS), before, rtol=1e-5, atol=1e-3)


def test_names_of_targets(tiny_preset: Path) -> None:
    assert TextRegressor.from_preset(str(tiny_preset), 2).classes == ("target_0", "target_1")
    for wrong, message in (("score", "a list of at least one"), ([], "at least one"), (["a", "a"], "must differ")):
        with pytest.raises(ConfigError, match=message):
            kerora.TextRegressor.from_preset(str(tiny_preset), wrong)


def test_targets_as_many_as_tokens_are_not_cut_with_the_padding() -> None:
    """A batch of 16 tokens and 16 targets: the columns of the targets are no tokens."""
    mask = np.zeros((4, 16), np.int32)
    mask[:, :3] = 1
    x = {"padding_mask": torch.tensor(mask), "token_ids": torch.tensor(mask)}
    y = torch.arange(64.0).reshape(4, 16)
    parts = list(row_parts(x, y, None, 32))
    assert all(part[0]["token_ids"].shape[1] < 16 for part in parts)
    assert torch.equal(torch.cat([part[1] for part in parts]), y)
