"""Learning rates over the updates of a run."""

import math
from typing import Any

import keras


@keras.saving.register_keras_serializable("kerora")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then a cosine or linear decay to zero, or a constant rate.

    During warm-up, update number `step` (from 0) has the rate ``peak * (step + 1) / warmup``. The rate of the first
    update is not zero, because that update would have no effect. After warm-up the rate is
    ``peak * (1 + cos(pi t)) / 2``, ``peak * (1 - t)`` or ``peak``. Here t rises from 0 at the end of the warm-up to 1
    at `total`.

    Args:
        peak: highest learning rate.
        total: number of updates of the whole run.
        warmup: number of updates of the warm-up. Default: 0.
        shape: ``cosine``, ``linear`` or ``constant``. Default: ``cosine``.
    """

    def __init__(self, peak: float, total: int, warmup: int = 0, shape: str = "cosine") -> None:
        self.peak = peak
        self.total = total
        self.warmup = warmup
        self.shape = shape

    def __call__(self, step: Any) -> float:
        """Return the learning rate of update `step`."""
        # Keras passes a variable, but `math.cos` needs a number
        step = int(step)
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.shape == "constant":
            return self.peak
        # min: the cosine would rise again beyond `total`
        progress = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        if self.shape == "linear":
            return self.peak * (1.0 - progress)
        return self.peak * (1.0 + math.cos(math.pi * progress)) / 2.0

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"peak": self.peak, "total": self.total, "warmup": self.warmup, "shape": self.shape}


def warmup_updates(warmup: float, total: int) -> int:
    """Turn a warm-up setting into updates: below 1 it is a fraction of `total`, else a number of updates."""
    return round(warmup * total) if warmup < 1 else min(int(warmup), total)
