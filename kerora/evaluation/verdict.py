"""Says in words whether a trained model beats its baseline beyond noise."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerora.evaluation.results import SPLIT_ORDER, RunResults
from kerora.evaluation.wording import LABELS, NOTHING, decimal, number, p_value, signed

VERDICTS = {
    "better": "the model is better than {name} beyond the noise of the {split} part",
    "worse": "the model is worse than {name} beyond the noise of the {split} part",
    "undecided": "the model is not better than {name} beyond the noise of the {split} part",
}

SHORT = {
    "better": "better than the baseline",
    "worse": "worse than the baseline",
    "undecided": "no significant difference",
}


@dataclass(frozen=True)
class BaselineView:
    """The baseline of one split, for a table.

    Attributes:
        split: the split.
        sentence: the result of the test in words. None if there is none.
        name: the baseline, in words.
        least: the answer that needs no text, in words.
        rows: label, and the values of the trained model, the baseline and that answer, for each metric.
    """

    split: str
    sentence: str | None
    name: str
    least: str
    rows: list[tuple[str, Any, Any, Any]]


def baseline_views(results: RunResults) -> list[BaselineView]:
    """Return the baseline of each split, in the order of the report. Empty if the run has none."""
    views = []
    for split in results.evaluated:
        found, after = results.baseline.get(split), results.after.get(split, {})
        if not found:
            continue
        simplest = found.get("majority")
        simplest = simplest if isinstance(simplest, Mapping) else {}
        keys = [key for key in LABELS if number(found.get(key)) is not None]
        rows = [(LABELS[key], after.get(key), found.get(key), simplest.get(key)) for key in keys]
        names = str(found.get("name", "baseline")), str(simplest.get("name", NOTHING))
        views.append(BaselineView(split, baseline_sentence(split, after, found), *names, rows))
    return views


@dataclass(frozen=True)
class RunBaseline:
    """A run and its baseline by the metric of the test, for the comparison of runs.

    Attributes:
        run: name of the run.
        split: the split.
        label: name of the metric.
        own: its value of the trained model.
        name: the baseline, in words.
        value: its value of the baseline.
        verdict: the result of the test, in words.
    """

    run: str
    split: str
    label: str
    own: Any
    name: str
    value: Any
    verdict: str


def run_baselines(names: Sequence[str], runs: Sequence[RunResults], splits: Collection[str]) -> list[RunBaseline]:
    """Return the baselines of several runs on some splits. Runs without a baseline are left out."""
    rows = []
    for run_name, run in zip(names, runs, strict=True):
        for split in run.evaluated:
            found = run.baseline.get(split) if split in splits else None
            test = found.get("test") if found else None
            if found and isinstance(test, Mapping):
                key = str(test.get("metric"))
                values = run.after.get(split, {}).get(key), str(found.get("name", "baseline")), found.get(key)
                rows.append(RunBaseline(run_name, split, LABELS.get(key, key), *values, SHORT.get(_verdict(test), "-")))
    return rows


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
    if not isinstance(test, Mapping) or _verdict(test) not in VERDICTS:
        return None
    verdict = VERDICTS[_verdict(test)].format(name=baseline.get("name", "the baseline"), split=split)
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


def _verdict(test: Mapping[str, Any]) -> str:
    return str(test.get("verdict"))


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"
