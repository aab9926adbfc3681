"""The text for the terminal: reports of models with several labels per text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.comparison import costs
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
from kerora.tasks.multi_label.labels import TagLabels
from kerora.tasks.multi_label.predictions import LabelPair, LabelSplit, most_of, read_predictions
from kerora.tasks.multi_label.results import COMPARED, Comparison, LabelResults, notes

# `notes` too: it is a function of the contract, and only imported here
__all__ = ["comparison", "evaluation", "notes", "report", "title"]
MOST_LABELS = 40
"""Labels of the table on the terminal. Of more labels, those with most rows are shown."""
SHOWN_PAIRS = 5


def title(results: LabelResults, split: LabelSplit) -> str:
    """Return the name of the run, the split and the number of its rows."""
    return f"{results.name}: {split.name}, {len(split):,} rows, {len(split.classes)} labels"


def report(results: LabelResults, split: LabelSplit) -> Iterator[RenderableType | None]:
    """Yield the metrics, the labels, and the pairs of labels in mistakes."""
    yield headline(split)
    yield before_after_table(results)
    yield verdict_text(results, split.name)
    yield training_time(results)
    yield from label_table(split)
    totals = split.labels.sum(axis=0)
    yield pair_table(split, most_of(split.confused, totals, SHOWN_PAIRS), "given wrongly instead")
    yield pair_table(split, most_of(split.missed_together, totals, SHOWN_PAIRS), "missed too")


def comparison(comparison: Comparison) -> tuple[list[str], list[Table]]:
    """Return the notes and the tables of a comparison."""
    baselines = baseline_table(comparison.baselines())
    tables = [_run_table(comparison), _test_table(comparison), *([baselines] if baselines else [])]
    return comparison.notes(), [*tables, cost_table(costs(comparison.names, comparison.runs))]


def evaluation(
    folder: RunFolder, metrics: Mapping[str, Any], labels: TagLabels
) -> Iterator[tuple[str, list[RenderableType]]]:
    """Yield the metrics of each split."""
    # from the file, because the intervals need the rows, which the metrics do not hold
    for split in read_predictions(folder.predictions, labels, metrics).values():
        yield visible(f"{split.name}, {len(split):,} rows"), [headline(split), *label_table(split)]


def headline(split: LabelSplit) -> Group:
    """Return the main metrics: macro and micro F1 with their intervals, and a line of others."""
    lines = []
    for key in ("macro_f1", "micro_f1"):
        low, high = split.intervals[key]
        value = Text(f"{wording.LABELS[key]:<9}").append(wording.decimal(split.metrics[key]), style="bold")
        lines.append(Facts([value, Text(f"95 % interval {low:.3f} to {high:.3f}", style="dim")], gap="  "))
    shown = ("macro_f1_at_half", "samples_f1", "map", "subset_accuracy", "hamming_loss", "ranking_loss", "loss")
    return Group(*lines, Facts([f"{wording.LABELS[key]} {wording.decimal(split.metrics[key])}" for key in shown]))


def label_table(split: LabelSplit) -> Iterator[RenderableType]:
    """Yield the table of the labels, and a line if it does not hold all."""
    table = plain_table("label", "precision", "recall", "F1", "AP", "support", "threshold")
    rows = list(split.metrics["per_class"].items())
    if len(rows) > MOST_LABELS:
        # stable: labels with equal support stay in their order
        rows = sorted(rows, key=lambda item: -item[1]["support"])[:MOST_LABELS]
    for name, values in rows:
        numbers = [wording.decimal(values[key]) for key in ("precision", "recall", "f1", "average_precision")]
        table.add_row(
            name_text(name), *numbers, wording.whole(values["support"]), wording.decimal(values["threshold"], 3)
        )
    yield table
    left = len(split.classes) - len(rows)
    if left:
        yield Text(f"The {len(rows)} labels with most rows; labels.csv of the report has {left} more.", style="dim")


def pair_table(split: LabelSplit, pairs: Sequence[LabelPair], other: str) -> Table | None:
    """Return the pairs of labels of a kind of mistake. None without such rows."""
    if not pairs:
        return None
    table = plain_table("missed", other, "rows", "of the missed label")
    table.columns[1].justify = "left"
    for pair in pairs:
        names = name_text(split.classes[pair.first]), name_text(split.classes[pair.second])
        table.add_row(*names, wording.whole(pair.rows), f"{pair.percent:.1f} %")
    return table


def _run_table(comparison: Comparison) -> Table:
    runs = plain_table("", "run", "split", "rows", "macro F1", "micro F1", "at 0.5", "training")
    for column in (1, 2):
        runs.columns[column].justify = "left"
    found = zip(comparison.names, comparison.runs, comparison.splits, strict=True)
    for number, (name, run, split) in enumerate(found, start=1):
        cells = [
            f"{split.metrics[key]:.3f}\n{split.intervals[key][0]:.3f}-{split.intervals[key][1]:.3f}"
            for key in ("macro_f1", "micro_f1")
        ]
        cells.append(wording.decimal(split.metrics["macro_f1_at_half"], 3))
        time = wording.duration(run.manifest.get("training_seconds"))
        runs.add_row(str(number), Text(visible(name)), visible(split.name), wording.whole(len(split)), *cells, time)
    return runs


def _test_table(comparison: Comparison) -> Table:
    heads = [f"{wording.LABELS[key].lower()}, p" for key in COMPARED]
    table = plain_table("runs", "shared rows", *heads, "verdict")
    table.columns[-1].justify = "left"
    numbers = {name: number for number, name in enumerate(comparison.names, start=1)}
    for pair in comparison.pairs:
        cells = [
            f"{wording.signed(pair.tests[key].value, 3)}, {wording.p_value(pair.tests[key].p_value)}"
            if key in pair.tests
            else wording.NOTHING
            for key in COMPARED
        ]
        # numbers, because two long names would not fit into a row
        verdict = f"run {numbers[pair.winner]} is better" if pair.winner else pair.verdict
        names = f"{numbers[pair.first]}, {numbers[pair.second]}"
        table.add_row(names, wording.whole(pair.shared), *cells, verdict)
    return table
