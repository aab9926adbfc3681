"""What dropout drops: each value with the same chance, regardless of the others, on every way it is drawn."""

import numpy as np
import pytest
import torch

from kerora.fast.dropout import MOST_BY_POSITION, draw_dropped, dropout, zero_

RATES = [0.01, 0.05, 0.1, MOST_BY_POSITION, 0.3, 0.5, 0.9]


def dropped_share(rate: float, rows: int = 400, columns: int = 500, seed: int = 0) -> torch.Tensor:
    # the stream of torch.manual_seed, which takes a millisecond to look for GPUs
    torch.default_generator.manual_seed(seed)
    values = torch.ones(rows, columns)
    return (zero_(values, draw_dropped(values, rate)[0]) == 0).double()


@pytest.mark.parametrize("rate", RATES)
def test_each_value_has_the_same_chance(rate: float) -> None:
    dropped = dropped_share(rate)
    error = 5 * np.sqrt(rate * (1 - rate))  # five standard deviations of a single value
    assert abs(dropped.mean() - rate) < error / np.sqrt(dropped.numel())
    for shares, count in ((dropped.mean(0), 400), (dropped.mean(1), 500)):
        assert (shares - rate).abs().max() < error / np.sqrt(count)
    # of the first and the last values too, over many draws
    ends = torch.stack([dropped_share(rate, 1, 7, seed)[0] for seed in range(3_000)])
    assert (ends.mean(0) - rate).abs().max() < error / np.sqrt(3_000)


@pytest.mark.parametrize("rate", RATES)
def test_values_are_dropped_regardless_of_their_neighbours(rate: float) -> None:
    flat = dropped_share(rate).flatten() - rate
    for distance in (1, 2, 3, 500):
        correlation = (flat[:-distance] * flat[distance:]).mean() / (rate * (1 - rate))
        assert abs(correlation) < 5 / np.sqrt(len(flat))


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_the_rest_is_kept_with_its_gradient(rate: float) -> None:
    torch.manual_seed(3)
    values = torch.randn(30, 40).T.requires_grad_()  # not contiguous
    outputs, divisor = dropout(values, rate)
    kept = outputs != 0
    assert divisor == pytest.approx(1 - rate, abs=1e-4) and 0 < kept.sum() < kept.numel()
    assert torch.equal(outputs, torch.where(kept, values, 0))
    (gradient,) = torch.autograd.grad((outputs * 2).sum(), values)
    assert torch.equal(gradient, 2.0 * kept)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 0.05, 0.5])
def test_the_seed_decides(rate: float) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(draw_dropped(torch.empty(50, 60), rate)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert rate < 0.01 or not torch.equal(drawn[0], drawn[2])
    assert rate >= 0.01 or drawn[0].numel() == 0
