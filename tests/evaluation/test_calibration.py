"""The temperature is the one with the smallest negative log likelihood, for logits of any size."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from kerora.evaluation.calibration import fit_temperature


def drawn(rows: int, classes: int, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels that are drawn with the probabilities softmax(logits / temperature)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (rows, classes))
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


def likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    scaled = logits / temperature
    return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("classes", [2, 6, 77])
@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_it_is_the_minimum_and_near_the_truth(classes: int, truth: float) -> None:
    logits, labels = drawn(1500, classes, truth, seed=classes)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(truth, rel=0.15)
    best = minimize_scalar(lambda b: likelihood(logits, labels, 1 / b), bounds=(0.01, 20), method="bounded")
    assert found is not None and likelihood(logits, labels, found) <= best.fun + 1e-12
    assert likelihood(logits, labels, found) < min(likelihood(logits, labels, found * end) for end in (0.99, 1.01))


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1.0, 1e20, 1e306])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_logits_of_any_size_and_shift(size: float, shift: float) -> None:
    logits, labels = drawn(200, 4, 2.0, seed=1)
    found = fit_temperature((logits + shift) * size, labels)
    assert found is not None and found / size == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


def test_float32_logits_are_computed_in_float64() -> None:
    logits, labels = drawn(300, 3, 2.0, seed=2)
    single = logits.astype(np.float32)
    assert fit_temperature(single, labels) == fit_temperature(single.astype(np.float64), labels)


def test_no_finite_temperature_is_the_best_one() -> None:
    logits, _ = drawn(300, 4, 0.5, seed=3)
    assert fit_temperature(logits, logits.argmax(axis=1)) is None, "every row is right"
    assert fit_temperature(logits, logits.argmin(axis=1)) is None, "worse than chance"
    assert fit_temperature(np.zeros((5, 3)), np.zeros(5, int)) is None, "all logits are equal"
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) is None
    one_wrong = logits.argmax(axis=1)
    one_wrong[0] = logits[0].argmin()
    assert fit_temperature(logits, one_wrong) is not None


@pytest.mark.parametrize("logits", [[[np.inf, 0.0]], [[np.nan, 0.0]], [[1.0, 2.0], [1.0, 2.0]], [1.0]])
def test_what_is_no_table_of_finite_numbers_is_refused(logits: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="logits must be finite"):
        fit_temperature(np.array(logits), np.array([0]))
