"""The text for the terminal: reports of classifiers."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kerora.data.classes import ClassLabels
from kerora.evaluation import wording
from kerora.evaluation.comparison import costs
from kerora.evaluation.coverage import Coverage
from kerora.evaluation.terminal import (
    Facts,
    baseline_table,
    before_after_table,
    cost_table,
    name_text,
    plain_table,
    training_time,
    verdict_text,
    visible,
)
from kerora.runfolder import RunFolder
from kerora.tasks.classification.confusion_matrix import ConfusionMatrix
from kerora.tasks.classification.majority import majority_note, supports_of
from kerora.tasks.classification.results import (
    ClassificationResults,
    Comparison,
    SplitResults,
    most_confused,
    notes,
    read_predictions,
)

# `notes` too: it is a function of the contract, and only imported here
__all__ = ["comparison", "evaluation", "notes", "report", "title"]


def title(results: ClassificationResults, split: SplitResults) -> str:
    """Return the name of the run, the split and the number of its rows."""
    return f"{results.name}: {split.name}, {len(split):,} rows"


def report(results: ClassificationResults, split: SplitResults) -> Iterator[RenderableType | None]:
    """Yield the metrics, the confusion matrix and the classes."""
    yield headline(split)
    yield before_after_table(results)
    yield verdict_text(results, split.name)
    yield training_time(results)
    yield ConfusionMatrix(split)
    yield confusions_table(split)
    yield class_table(split)


def comparison(comparison: Comparison) -> tuple[list[str], list[Table]]:
    """Return the notes and the tables of a comparison."""
    baselines = baseline_table(comparison.baselines())
    tables = [*comparison_tables(comparison), *([baselines] if baselines else [])]
    return comparison.notes(), [*tables, cost_table(costs(comparison.names, comparison.runs))]


def evaluation(
    folder: RunFolder, metrics: Mapping[str, Any], labels: ClassLabels
) -> Iterator[tuple[str, list[RenderableType]]]:
    """Yield the metrics of each split."""
    # from the file, because the intervals need the rows, which the metrics do not hold
    for split in read_predictions(folder.predictions, labels, metrics).values():
        weak = majority_note(split.name, split.metrics, supports_of(split.metrics))
        note = [Text(f"Note: {visible(weak)}", style="yellow")] if weak else []
        parts: list[RenderableType] = [*note, headline(split), *_coverage(metrics.get(split.name, {}))]
        yield visible(f"{split.name}, {len(split):,} rows"), [*parts, class_table(split)]


def _coverage(metrics: Mapping[str, Any]) -> list[Text]:
    """Return a line on the rows that a threshold answers, if one was given."""
    found = metrics.get("coverage")
    if not found:
        return []
    values = {spec.name: found[spec.name] for spec in fields(Coverage)}
    return [Text(f"Coverage: {Coverage(**values).described()}")]


def class_table(split: SplitResults) -> Table:
    """Return precision, recall, F1 and support of each class, and the averages."""
    table = plain_table("class", "precision", "recall", "F1", "support")
    for name, values in split.metrics["per_class"].items():
        numbers = [wording.decimal(values[key]) for key in ("precision", "recall", "f1")]
        table.add_row(name_text(name), *numbers, wording.whole(values["support"]))
    table.add_section()
    for average in ("macro", "weighted"):
        numbers = [wording.decimal(split.metrics[f"{average}_{key}"]) for key in ("precision", "recall", "f1")]
        table.add_row(f"{average} average", *numbers, wording.whole(len(split)), style="dim")
    return table


def headline(split: SplitResults) -> Group:
    """Return the main metrics: accuracy and macro F1 with their intervals, and a line of others."""
    lines = []
    for key in ("accuracy", "macro_f1"):
        low, high = split.intervals[key]
        # 9: the longer of both names and a blank
        value = Text(f"{wording.LABELS[key]:<9}").append(wording.decimal(split.metrics[key]), style="bold")
        lines.append(Facts([value, Text(f"95 % interval {low:.3f} to {high:.3f}", style="dim")], gap="  "))
    rest = [f"{wording.LABELS[key]} {wording.decimal(split.metrics[key])}" for key in ("mcc", "roc_auc", "ece", "loss")]
    if "ece_uncalibrated" in split.metrics:
        rest[2] += f" ({wording.decimal(split.metrics['ece_uncalibrated'])} without temperature)"
    return Group(*lines, Facts(rest))


def confusions_table(split: SplitResults, count: int = 5) -> Table | None:
    """Return the most frequent mistakes. None if there are no mistakes or only two classes."""
    # with two classes, the matrix already shows both kinds of mistakes
    found = most_confused(split, count) if len(split.classes) > 2 else []
    if not found:
        return None
    table = plain_table("true", "predicted instead", "rows", "of the true class")
    table.columns[1].justify = "left"
    for item in found:
        names = name_text(split.classes[item.true]), name_text(split.classes[item.predicted])
        table.add_row(*names, wording.whole(item.rows), f"{item.percent:.1f} %")
    return table


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return a table of the runs, numbered, and a table of McNemar's test for each pair of runs."""
    runs = plain_table("", "run", "split", "rows", "accuracy", "macro F1", "training")
    for column in (1, 2):
        runs.columns[column].justify = "left"
    for number, (name, run, split) in enumerate(
        zip(comparison.names, comparison.runs, comparison.splits, strict=True), start=1
    ):
        cells = [
            f"{split.metrics[key]:.3f}\n{split.intervals[key][0]:.3f}-{split.intervals[key][1]:.3f}"
            for key in ("accuracy", "macro_f1")
        ]
        time = wording.duration(run.manifest.get("training_seconds"))
        runs.add_row(str(number), Text(visible(name)), visible(split.name), wording.whole(len(split)), *cells, time)
    return [runs, _pairs_table(comparison)]


def _pairs_table(comparison: Comparison) -> Table:
    table = plain_table("runs", "shared rows", "only 1st right", "only 2nd right", "p", "verdict")
    table.columns[-1].justify = "left"
    numbers = {name: number for number, name in enumerate(comparison.names, start=1)}
    for pair in comparison.pairs:
        test = pair.test
        cells = [wording.NOTHING] * 3
        if test is not None:
            cells = [wording.whole(test.b), wording.whole(test.c), wording.p_value(test.p_value)]
        # numbers, because two long names would not fit into a row
        verdict = f"run {numbers[pair.winner]} is better" if pair.winner else pair.verdict
        names = f"{numbers[pair.first]}, {numbers[pair.second]}"
        table.add_row(names, wording.whole(pair.shared), *cells, verdict)
    return table
