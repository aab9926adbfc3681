"""Dropout before the low-rank products, where usually only a small fraction of the values is dropped.

For a small fraction, the positions of the dropped values are sampled: the distance from one to the next, not a random
number for each value. This is faster up to a fraction of about 0.2. Above it there are too many positions, and 16
random bits for each value are faster.
"""

import math

import numpy as np
import torch

MOST_BY_POSITION = 0.2
"""Largest fraction for which positions are sampled."""


def dropout(values: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Set a random fraction of the values to zero. The caller must divide the others. Differentiable.

    Random numbers come from the generator of torch, whose state depends only on the seed and the step (see
    `kerora.training.step`). On a CPU it seeds a generator of numpy.

    Args:
        values: any shape and floating dtype.
        rate: fraction to drop, 0 to 1.

    Returns:
        The values, and their divisor: the expected fraction of kept values.
    """
    dropped, divisor = draw_dropped(values, rate)
    return apply_dropout(values, dropped), divisor


def draw_dropped(values: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Sample the values that dropout sets to zero, each independently with the probability `rate`.

    Args:
        values: tensor that gives the shape and the device.
        rate: fraction to drop, 0 to 1.

    Returns:
        The argument for `zero_`: the ascending positions of the dropped values, int64 (dropped,), or a mask of them,
        bool in the shape of `values`. And the divisor of the other values.
    """
    if values.device.type != "cpu":
        return torch.rand(values.shape, device=values.device) < rate, 1.0 - rate
    bits = np.random.SFC64(int(torch.randint(2**62, ())))
    if rate <= MOST_BY_POSITION:
        return torch.from_numpy(_positions(bits, values.numel(), rate)), 1.0 - rate
    count = values.numel()
    # Each random number of 64 bits gives four of 16 bits.
    draws = torch.from_numpy(bits.random_raw(-(-count // 4)).view(np.int16))
    # The rate is rounded to a multiple of 2^-16, and the divisor uses the rounded rate.
    limit = min(round(rate * 2**16), 2**16 - 1)
    return draws[:count].view(values.shape) < limit - 2**15, 1.0 - limit / 2**16  # int16 is signed and starts at -2^15.


def _positions(bits: np.random.SFC64, count: int, rate: float) -> np.ndarray:
    """Return ascending positions below `count`. Each position is taken with the probability `rate`."""
    if rate <= 0:
        return np.empty(0, np.int64)
    generator = np.random.Generator(bits)
    expected = count * rate
    found, end = [], -1
    while end < count:
        # The distances have a geometric distribution. Exponential numbers of this scale have it when rounded up.
        # Six standard deviations more than expected: one pass of the loop is almost always enough.
        draws = generator.standard_exponential(int(expected + 6 * math.sqrt(expected)) + 16, dtype=np.float32)
        draws *= -1.0 / math.log1p(-rate)
        # An exponential number of 0 would take the same position twice.
        gaps = np.maximum(np.ceil(draws), 1.0).astype(np.int64)
        # The first gap starts at -1, so that position 0 can be taken.
        gaps[0] += end
        found.append(np.cumsum(gaps))
        end = int(found[-1][-1])
    positions = np.concatenate(found)
    return positions[: np.searchsorted(positions, count)]


def apply_dropout(values: torch.Tensor, dropped: torch.Tensor | None) -> torch.Tensor:
    """Return a copy with the values from `draw_dropped` set to zero, or the values themselves for None."""
    return values if dropped is None else zero_(values.clone(memory_format=torch.contiguous_format), dropped)


def zero_(values: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
    """Set the values that `draw_dropped` sampled to zero in place, and return the tensor.

    Args:
        values: contiguous, in the shape given to `draw_dropped`.
        dropped: see `draw_dropped`.
    """
    if dropped.dtype == torch.bool:
        return values.masked_fill_(dropped, 0)
    values.view(-1)[dropped] = 0
    return values
