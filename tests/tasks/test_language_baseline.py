"""The interval of the baseline of language models, and the losses that it compares."""

import numpy as np
import pytest

from kerora.tasks.language.baseline import stretches_difference


@pytest.mark.parametrize("tokens", [1, 49, 130, 10_000])
def test_the_difference_is_the_mean_over_all_tokens(tokens: int) -> None:
    losses = np.random.default_rng(0).normal(0.5, 1, tokens)
    found = stretches_difference(losses)
    assert found.value == pytest.approx(losses.mean())
    assert found.low <= found.value <= found.high


def test_neighbours_that_depend_on_each_other_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    apart, together = generator.normal(0, 1, 6400), np.repeat(generator.normal(0, 1, 100), 64)
    widths = [found.high - found.low for found in map(stretches_difference, (apart, together))]
    assert widths[1] > 5 * widths[0]
