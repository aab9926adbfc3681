"""Answers that are withheld because their probability is low, and the threshold below which they are."""

import numbers
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kerora.errors import ConfigError, RunError
from kerora.notices import notice
from kerora.runfolder import RunFolder
from kerora.settings.base import shown
from kerora.tasks.registry import Task

DIGITS = 6
"""Digits after the point of a score in every output. A threshold is compared with scores that are rounded to them."""


@dataclass(frozen=True)
class Abstention:
    """Below which probability no answer is given. At most one of both is set.

    Attributes:
        below: the threshold, 0 to 1.
        accuracy: accuracy that the answers are to have with 95 % confidence, 0 to 1. The validation rows of the run
            give the threshold; see `kerora.evaluation.coverage`.
    """

    below: float | None = None
    accuracy: float | None = None

    def __bool__(self) -> bool:
        """Tell whether answers are withheld."""
        return self.below is not None or self.accuracy is not None

    def check(self, run: RunFolder, task: Task) -> None:
        """Check the values, and that the task has one probability for each answer.

        Raises:
            ConfigError: both are given, or one is not between 0 and 1.
            RunError: the task does not have such a probability.
        """
        if self.below is not None and self.accuracy is not None:
            raise ConfigError("--abstain-below and --target-accuracy both give the threshold. Leave one out.")
        for option, value in (("--abstain-below", self.below), ("--target-accuracy", self.accuracy)):
            if value is not None and not _is_share(value):
                raise ConfigError(f"{option} must be a number from 0 to 1. Received: {shown(value)}")
        if self and not task.abstains:
            raise RunError(
                f"{run.path} was trained for {task.name}, which has no single probability for an answer. Leave "
                f"{'--abstain-below' if self.below is not None else '--target-accuracy'} out."
            )

    def threshold(self, run: RunFolder, task: Task) -> float | None:
        """Return the threshold, or None if every row is answered. A notice describes a threshold that was looked for.

        Raises:
            ConfigError: see `check`.
            RunError: see `check`; or the validation rows of the run are missing, or no threshold reaches the accuracy.
        """
        self.check(run, task)
        if self.accuracy is None:
            return self.below
        curve = task.answers.validation_curve(run)
        found = curve.reaching(self.accuracy)
        if found is None:
            best = curve.best()
            raise RunError(
                f"No threshold reaches --target-accuracy {self.accuracy:g} with 95 % confidence on the {curve.rows:,} "
                f"validation rows of {run.path}. The best is {best.rounded_bound:.4f}, which "
                f"--abstain-below {best.threshold:.6g} reaches with {best.share:.1%} of them answered."
            )
        notice(f"--target-accuracy {self.accuracy:g}: on the validation rows, {found.described()}.")
        return found.threshold


def _is_share(value: Any) -> bool:
    # the comparison is False for NaN
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


ANSWER_ALL = Abstention()


def answers(
    task: Task, model: Any, rows: Any, batch_size: int, submission: bool, threshold: float | None
) -> Iterator[list[Any]]:
    """Yield the values of `PredictFace.predict` for each row, with None in place of an answer below a threshold.

    Args:
        task: the task of the model. With a threshold it abstains.
        model: the model.
        rows: the rows.
        batch_size: rows in a batch.
        submission: whether to yield the answer alone.
        threshold: the smallest score that is answered. None answers every row.
    """
    if threshold is None:
        yield from task.predictions.predict(model, rows, batch_size, submission)
        return
    # the values of a submission hold no score
    for answer, score, *others in task.predictions.predict(model, rows, batch_size, False):
        # Rounded, as the outputs show it: a threshold is a score of predictions.csv, and the same row must not fall
        # below it by its seventh digit.
        given = None if round(score, DIGITS) < threshold else answer
        yield [given] if submission else [given, score, *others]
