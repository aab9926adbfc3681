"""The text for the terminal: reports of regressors."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.comparison import costs
from kerora.evaluation.regression import NUMBER_METRICS
from kerora.evaluation.terminal import (
    Facts,
    before_after_table,
    cost_table,
    cut,
    name_text,
    plain_table,
    training_time,
    visible,
)
from kerora.runfolder import RunFolder
from kerora.tasks.regression.labels import Targets
from kerora.tasks.regression.results import (
    Comparison,
    RegressionResults,
    SplitResults,
    mean_note,
    notes,
    read_predictions,
)

# `notes` too: it is a function of the contract, and only imported here
__all__ = ["comparison", "evaluation", "notes", "report", "title"]
SHOWN_ERRORS, TEXT_WIDTH = 5, 60


def title(results: RegressionResults, split: SplitResults) -> str:
    """Return the name of the run, the split and the number of its rows."""
    return f"{results.name}: {split.name}, {len(split):,} rows"


def report(results: RegressionResults, split: SplitResults) -> Iterator[RenderableType | None]:
    """Yield the metrics, the change by the training, the targets and the largest errors."""
    yield headline(split)
    yield before_after_table(results)
    yield training_time(results)
    yield target_table(split)
    yield error_table(split)


def comparison(comparison: Comparison) -> tuple[list[str], list[Table]]:
    """Return the notes and the tables of a comparison."""
    return comparison.notes(), [*comparison_tables(comparison), cost_table(costs(comparison.names, comparison.runs))]


def evaluation(
    folder: RunFolder, metrics: Mapping[str, Any], targets: Targets
) -> Iterator[tuple[str, list[RenderableType]]]:
    """Yield the metrics of each split."""
    # from the file, because the intervals need the rows, which the metrics do not hold
    for split in read_predictions(folder.predictions, targets.names, metrics).values():
        weak = mean_note(split.name, split.metrics, split.mean)
        parts = [Text(f"Note: {visible(weak)}", style="yellow") if weak else None, headline(split), target_table(split)]
        yield visible(f"{split.name}, {len(split):,} rows"), [part for part in parts if part is not None]


def headline(split: SplitResults) -> Group:
    """Return the metrics with their intervals, and those of predicting the mean."""
    lines = []
    for key in NUMBER_METRICS:
        # 10: the longest name and a blank
        value = Text(f"{wording.LABELS[key]:<10}").append(wording.decimal(split.metrics[key]), style="bold")
        ends = split.intervals[key]
        facts = [value]
        if ends is not None:
            low, high = (wording.decimal(end, 3) for end in ends)
            facts.append(Text(f"95 % interval {low} to {high}", style="dim"))
        if key in split.mean:
            facts.append(Text(f"predicting the mean {wording.decimal(split.mean[key])}", style="dim"))
        lines.append(Facts(facts, gap="  "))
    return Group(*lines, Text(f"{wording.LABELS['loss']:<10}{wording.decimal(split.metrics['loss'])}"))


def target_table(split: SplitResults) -> Table | None:
    """Return the metrics of each target. None with one target."""
    if len(split.targets) == 1:
        return None
    table = plain_table("target", *(wording.LABELS[key] for key in NUMBER_METRICS))
    for name, values in split.metrics["per_target"].items():
        table.add_row(name_text(name), *(wording.decimal(values[key]) for key in NUMBER_METRICS))
    return table


def error_table(split: SplitResults) -> Table:
    """Return the rows with the largest errors."""
    table = plain_table("largest errors", "true", "predicted")
    for place in split.largest()[:SHOWN_ERRORS]:
        numbers = [", ".join(f"{value:.4g}" for value in side[place]) for side in (split.labels, split.predicted)]
        table.add_row(Text(cut(visible(split.texts[place]), TEXT_WIDTH)), *numbers)
    return table


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return a table of the runs, numbered, and a table of the paired bootstrap for each pair of runs."""
    runs = plain_table("", "run", "split", "rows", "RMSE", "Pearson", "training")
    for column in (1, 2):
        runs.columns[column].justify = "left"
    for number, (name, run, split) in enumerate(
        zip(comparison.names, comparison.runs, comparison.splits, strict=True), start=1
    ):
        cells = [_with_interval(split, key) for key in ("rmse", "pearson")]
        time = wording.duration(run.manifest.get("training_seconds"))
        runs.add_row(str(number), Text(visible(name)), visible(split.name), wording.whole(len(split)), *cells, time)
    return [runs, _pairs_table(comparison)]


def _with_interval(split: SplitResults, key: str) -> str:
    ends = split.intervals[key]
    shown = "" if ends is None else f"\n{wording.decimal(ends[0], 3)} to {wording.decimal(ends[1], 3)}"
    return f"{wording.decimal(split.metrics[key], 3)}{shown}"


def _pairs_table(comparison: Comparison) -> Table:
    table = plain_table("runs", "shared rows", "RMSE difference", "95 % interval", "p", "verdict")
    table.columns[-1].justify = "left"
    numbers = {name: number for number, name in enumerate(comparison.names, start=1)}
    for pair in comparison.pairs:
        test, cells = pair.test, [wording.NOTHING] * 3
        if test is not None:
            ends = f"{wording.signed(test.low)} to {wording.signed(test.high)}"
            cells = [wording.signed(test.difference), ends, wording.p_value(test.p_value)]
        # numbers, because two long names would not fit into a row
        verdict = f"run {numbers[pair.winner]} is better" if pair.winner else pair.verdict
        table.add_row(f"{numbers[pair.first]}, {numbers[pair.second]}", wording.whole(pair.shared), *cells, verdict)
    return table
