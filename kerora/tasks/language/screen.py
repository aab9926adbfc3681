"""The text for the terminal: reports of language models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.comparison import costs
from kerora.evaluation.terminal import (
    baseline_table,
    before_after_table,
    cost_table,
    cut,
    plain_table,
    training_time,
    verdict_text,
    visible,
)
from kerora.runfolder import RunFolder
from kerora.tasks.language.results import LanguageComparison, LanguageResults
from kerora.tasks.language.samples import Sample


def title(results: LanguageResults, split: None) -> str:
    """Return the name of the run."""
    return results.name


def notes(results: LanguageResults, split: None) -> list[str]:
    """Return a note if the run did not finish."""
    return wording.state_notes(results)


def report(results: LanguageResults, split: None) -> Iterator[RenderableType | None]:
    """Yield the metrics and the samples."""
    yield language_table(results.after)
    yield before_after_table(results)
    yield verdict_text(results)
    yield training_time(results)
    yield samples_text(results.samples) if results.samples else None


def comparison(comparison: LanguageComparison) -> tuple[list[str], list[Table]]:
    """Return the notes and the tables of a comparison."""
    baselines = baseline_table(comparison.baselines())
    tables = [comparison_table(comparison), *([baselines] if baselines else [])]
    return comparison.notes(), [*tables, cost_table(costs(comparison.names, comparison.runs))]


def evaluation(folder: RunFolder, metrics: Mapping[str, Any], head: None) -> Iterator[tuple[str, list[RenderableType]]]:
    """Yield the metrics of all splits in one table."""
    yield "", [language_table(metrics)]


def language_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the metrics of a language model by split."""
    table = plain_table("split", "perplexity", "bits per byte", "loss", "tokens")
    for split, values in metrics.items():
        numbers = [wording.decimal(values.get(key)) for key in ("perplexity", "bits_per_byte", "loss")]
        table.add_row(visible(split), *numbers, wording.whole(values.get("tokens")))
    return table


def samples_text(samples: Sequence[Sample]) -> Text:
    """Return the prompts with the continuations before and after training."""
    text = Text()
    for sample in samples:
        # two lines of a terminal with 80 columns, and three for a continuation
        text.append(f"{cut(visible(sample.prompt), 160)}\n", style="bold")
        for name, words in (("before", sample.before), ("after", sample.after)):
            if words is not None:
                text.append(f"  {name:<7}", style="dim").append(f"{cut(visible(words), 240)}\n")
    return text


def comparison_table(comparison: LanguageComparison) -> Table:
    """Return a table of the runs, numbered."""
    table = plain_table("", "run", "split", "perplexity", "before", "bits per byte", "loss", "training")
    for column in (1, 2):
        table.columns[column].justify = "left"
    for number, name, run, split in comparison.rows():
        after = run.after[split]
        table.add_row(
            str(number),
            # Text, because rich reads brackets in a plain string as markup
            Text(visible(name)),
            visible(split),
            wording.decimal(after.get("perplexity")),
            Text(wording.decimal(run.before.get(split, {}).get("perplexity")), style="dim"),
            wording.decimal(after.get("bits_per_byte")),
            wording.decimal(after.get("loss")),
            wording.duration(run.manifest.get("training_seconds")),
        )
    return table
