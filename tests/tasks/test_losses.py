"""The losses of a classifier against their formulas in float64, Keras and torch."""

import keras
import numpy as np
import pytest
import torch

from kerora.settings.fit import TrainingConfig
from kerora.tasks.classification.losses import LOSSES, CrossEntropy, FocalLoss
from kerora.tasks.multi_label.losses import LabelCrossEntropy

GENERATOR = np.random.default_rng(0)
LOGITS, LABELS = GENERATOR.normal(0, 3, (50, 5)).astype(np.float32), GENERATOR.integers(0, 5, 50)
WEIGHTS = GENERATOR.uniform(0.1, 3, 50).astype(np.float32)


def reference(gamma: float, smoothing: float) -> np.ndarray:
    """Return sum_k q_k (1 - p_k)^gamma (-log p_k) of each row in float64 (Lin et al. 2017, with smoothed targets)."""
    wide = LOGITS.astype(np.float64)
    p = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    q = (1 - smoothing) * np.eye(5)[LABELS] + smoothing / 5
    return (q * (1 - p) ** gamma * -np.log(p)).sum(axis=1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_focal_loss_is_its_formula_with_weights_and_smoothing(gamma: float, smoothing: float) -> None:
    loss, expected = FocalLoss(gamma, smoothing), reference(gamma, smoothing)
    rows = loss.call(torch.tensor(LABELS), torch.tensor(LOGITS)).numpy()
    np.testing.assert_allclose(rows, expected, rtol=2e-5, atol=1e-7)
    assert float(loss(torch.tensor(LABELS), torch.tensor(LOGITS))) == pytest.approx(expected.mean(), rel=1e-5)
    weighted = float(loss(torch.tensor(LABELS), torch.tensor(LOGITS), sample_weight=torch.tensor(WEIGHTS)))
    assert weighted == pytest.approx((WEIGHTS * expected).sum() / WEIGHTS.sum(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gamma_0_is_the_cross_entropy_and_keras_has_the_same_loss(smoothing: float) -> None:
    labels, logits = torch.tensor(LABELS), torch.tensor(LOGITS)
    own = CrossEntropy(smoothing).call(labels, logits)
    torch.testing.assert_close(FocalLoss(0.0, smoothing).call(labels, logits), own)
    other = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=2.0, from_logits=True, label_smoothing=smoothing, reduction=None
    )
    one_hot = torch.nn.functional.one_hot(labels, 5).float()
    torch.testing.assert_close(
        FocalLoss(2.0, smoothing).call(labels, logits), other(one_hot, logits), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_gradients_are_those_of_float64_and_finite_for_sure_rows(gamma: float) -> None:
    logits = torch.tensor(LOGITS, requires_grad=True)
    FocalLoss(gamma)(torch.tensor(LABELS), logits).backward()
    wide = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    logs = torch.log_softmax(wide, dim=1)[torch.arange(50), torch.tensor(LABELS)]
    ((1 - logs.exp()) ** gamma * -logs).mean().backward()
    torch.testing.assert_close(logits.grad, wide.grad.float(), rtol=1e-3, atol=1e-6)
    sure = torch.tensor([[200.0, 0.0], [0.0, 200.0], [1e30, -1e30]], requires_grad=True)
    value = FocalLoss(gamma, 0.1)(torch.tensor([0, 0, 0]), sure)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(sure.grad).all()


def test_settings_choose_the_loss_and_a_saved_model_keeps_it() -> None:
    made = LOSSES["focal"](TrainingConfig(loss="focal", focal_gamma=1.5, label_smoothing=0.2))
    assert isinstance(made, FocalLoss) and (made.gamma, made.label_smoothing) == (1.5, 0.2)
    again = keras.losses.deserialize(keras.losses.serialize(made))
    assert isinstance(again, FocalLoss) and again.get_config() == made.get_config()
    assert next(iter(LOSSES)) == "cross-entropy"


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 3.0, 4.0)])
def test_the_focal_loss_of_several_labels_is_its_formula(smoothing: float, weights: tuple[float, ...] | None) -> None:
    truth = GENERATOR.integers(0, 2, (50, 5)).astype(np.float32)
    wide, targets = LOGITS.astype(np.float64), truth * (1 - smoothing) + smoothing / 2
    p = 1 / (1 + np.exp(-wide))
    yes, no = (1 - p) ** 1.5 * -np.log(p), p**1.5 * -np.log(1 - p)
    expected = (targets * yes * np.array(weights or 1.0) + (1 - targets) * no).mean(axis=1)
    loss = LabelCrossEntropy(smoothing, weights, gamma=1.5)
    found = loss.call(torch.tensor(truth), torch.tensor(LOGITS)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)
    assert LabelCrossEntropy.from_config(loss.get_config()).gamma == 1.5
    sure = torch.tensor([[200.0, -200.0, 1e30]], requires_grad=True)
    value = LabelCrossEntropy(gamma=0.3)(torch.tensor([[1.0, 1.0, 0.0]]), sure)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(sure.grad).all()
