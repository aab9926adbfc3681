"""Says in words whether a trained model beats its baseline beyond noise."""

from collections.abc import Mapping
from typing import Any

from kerora.evaluation.results import SPLIT_ORDER, RunResults
from kerora.evaluation.wording import LABELS, decimal, number, p_value, signed

VERDICTS = {
    "better": "the model is better than {name} beyond the noise of the {split} part",
    "worse": "the model is worse than {name} beyond the noise of the {split} part",
    "undecided": "the model is not better than {name} beyond the noise of the {split} part",
}


def baseline_line(results: RunResults, split: str | None = None) -> str | None:
    """Return the sentence on the baseline of a split. None if the run has no baseline.

    Args:
        results: the run.
        split: the split. Default: test if it was evaluated, else the first one.
    """
    order = [split] if split else [*SPLIT_ORDER, *results.after]
    name = next((name for name in order if name in results.baseline), None)
    return None if name is None else baseline_sentence(name, results.after.get(name, {}), results.baseline[name])


def baseline_sentence(split: str, after: Mapping[str, Any], baseline: Mapping[str, Any]) -> str | None:
    """Return one sentence with the result of the test and the numbers. None if the baseline has no test.

    Args:
        split: name of the evaluated rows.
        after: the metrics of the trained model.
        baseline: the baseline of this split in metrics.json.
    """
    test = baseline.get("test")
    if not isinstance(test, Mapping) or test.get("verdict") not in VERDICTS:
        return None
    verdict = VERDICTS[test["verdict"]].format(name=baseline.get("name", "the baseline"), split=split)
    parts = []
    if number(test.get("p_value")) is not None:
        parts.append(f"{_pair('accuracy', after, baseline)} (McNemar p {_equals(p_value(test['p_value']))})")
    low, high = signed(test.get("low"), 3), signed(test.get("high"), 3)
    main = _pair(str(test.get("metric")), after, baseline)
    parts.append(f"{main} (difference {signed(test.get('difference'))}, 95 % interval {low} to {high})")
    return f"Baseline: {verdict}: {', '.join(parts)}."


def _pair(key: str, after: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    label = LABELS.get(key, key.replace("_", " "))
    # in the middle of a sentence, but MCC and F1 stay as they are
    label = label if label[:2].isupper() else label[0].lower() + label[1:]
    return f"{label} {decimal(after.get(key))} against {decimal(baseline.get(key))}"


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"
