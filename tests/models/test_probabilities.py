"""The softmax with a temperature."""

import numpy as np
import pytest
import scipy.special

from kerora.models.probabilities import softmax


@pytest.mark.parametrize("temperature", [1.0, 0.25, 7.0])
def test_it_equals_scipys(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (40, 3)).astype(np.float32)
    expected = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=1)
    np.testing.assert_allclose(softmax(logits, temperature), expected, rtol=1e-12)


def test_each_row_can_have_its_own_temperature() -> None:
    logits = np.array([[1.0, 2.0, -np.inf], [1.0, 2.0, 3.0]])
    found = softmax(logits, np.array([[2.0], [1.0]]))
    np.testing.assert_allclose(found[0, :2], softmax(logits[0, :2], 2.0), rtol=1e-12)
    np.testing.assert_allclose(found[1], softmax(logits[1]), rtol=1e-12)
    assert found[0, 2] == 0


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_huge_logits_stay_finite(temperature: float) -> None:
    found = softmax(np.array([[3e38, -3e38, 0.0], [-1e30, -1e30, -1e30]], np.float32), temperature)
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3] * 3], atol=1e-15)
    assert found.dtype == np.float64
