"""Compares a classifier with the answer that needs no model: always the most frequent class."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kerora.evaluation.wording import decimal, number

# the same share can differ in its last bits if it is computed in another order
ROUNDING = 1e-9


class Majority(NamedTuple):
    """The metrics of always answering the most frequent class.

    Attributes:
        name: the class.
        accuracy: its share of the rows.
        macro_f1: macro F1 over all classes, of which only one has an F1 above 0.
    """

    name: str
    accuracy: float
    macro_f1: float


def majority(supports: Mapping[str, int]) -> Majority | None:
    """Return the metrics of the most frequent class. None without rows, or with rows of a single class.

    Args:
        supports: number of rows of each class.
    """
    rows = sum(supports.values())
    # with rows of one class, no model can be better than this answer
    if sum(count > 0 for count in supports.values()) < 2:
        return None
    name = max(supports, key=lambda key: supports[key])
    share = supports[name] / rows
    # the class has precision = share and recall = 1, so F1 = 2 share / (1 + share); the other classes have 0
    return Majority(name, share, 2 * share / (1 + share) / len(supports))


def supports_of(metrics: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of rows of each class from the metrics of a split."""
    return {name: int(values["support"]) for name, values in metrics.get("per_class", {}).items()}


def majority_note(split: str, metrics: Mapping[str, Any], supports: Mapping[str, int]) -> str | None:
    """Return a sentence if the model is not better than always answering the most frequent class, else None.

    Args:
        split: name of the evaluated rows.
        metrics: accuracy and macro F1 of the model.
        supports: number of rows of each class.
    """
    least = majority(supports)
    accuracy, macro_f1 = number(metrics.get("accuracy")), number(metrics.get("macro_f1"))
    if least is None or accuracy is None or macro_f1 is None or accuracy > least.accuracy + ROUNDING:
        return None
    values = f"accuracy {decimal(accuracy)} against {decimal(least.accuracy)}"
    others = f"macro F1 {decimal(macro_f1)} against {decimal(least.macro_f1)}"
    # with a higher macro F1, the model does find other classes too
    if macro_f1 <= least.macro_f1 + ROUNDING:
        return (
            f"The model is not better than always answering '{least.name}', the most frequent class of the {split} "
            f"rows: {values}, {others}. It has learned nothing that helps. Train longer, or change --learning-rate."
        )
    return (
        f"The model is right less often than always answering '{least.name}', the most frequent class of the {split} "
        f"rows, or as often: {values}. Its {others}."
    )
