"""The form of a baseline in metrics.json, for every task."""

from typing import Any

from kerora.evaluation.significance import Difference


def outcome(
    name: str, metrics: dict[str, Any], least: str, simplest: dict[str, Any], test: dict[str, Any]
) -> dict[str, Any]:
    """Return the baseline of one split as metrics.json holds it.

    Args:
        name: the model, in words.
        metrics: its metrics, with the keys of the tuned model.
        least: the answer that needs no text, in words, such as the most frequent class.
        simplest: the metrics of that answer.
        test: what `tested` returned.
    """
    return {"name": name, **metrics, "majority": {"name": least, **simplest}, "test": test}


def tested(metric: str, difference: Difference, *, lower_is_better: bool = False) -> dict[str, Any]:
    """Return the result of a paired bootstrap as metrics.json holds it.

    Args:
        metric: the metric of the test.
        difference: the metric of the tuned model minus that of the baseline.
        lower_is_better: whether a lower value is better, as of a loss.
    """
    low, high = difference.low, difference.high
    verdict = "undecided" if not (low > 0 or high < 0) else "better" if (low > 0) != lower_is_better else "worse"
    return {"metric": metric, "difference": difference.value, "low": low, "high": high, "verdict": verdict}
