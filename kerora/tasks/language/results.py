"""The results of the run of a language model: its metrics and samples, read and compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.comparison import differ, different_settings, distinct_names, rate_notes
from kerora.evaluation.results import RunResults, not_evaluated
from kerora.evaluation.verdict import RunBaseline, baseline_line, run_baselines
from kerora.evaluation.wording import lookup
from kerora.runfolder import RunFolder, read_json
from kerora.tasks.language.samples import Sample, read_samples


@dataclass(frozen=True)
class LanguageResults(RunResults):
    """The run of a language model.

    Attributes:
        samples: prompts and their continuations.
    """

    samples: Sequence[Sample] = ()


@dataclass(frozen=True)
class LanguageComparison:
    """Several runs of language models side by side.

    Attributes:
        names: one name per run. All names differ.
        runs: the runs, in the order given.
        splits: the splits to show: those that all runs evaluated. If there are none, all evaluated splits.
    """

    names: tuple[str, ...]
    runs: tuple[LanguageResults, ...]
    splits: tuple[str, ...]

    def notes(self) -> list[str]:
        """Return the reasons why the numbers cannot be compared."""
        said = rate_notes(self.names, self.runs)
        # the fingerprint of the files, because a name can stand for several versions of a model
        if differ(lookup(run.manifest, "preset", "fingerprint") for run in self.runs):
            said.append(
                "The runs have different base models. If their tokenizers differ, loss and perplexity count different "
                "tokens. Then compare only bits per byte."
            )
        for split in self.splits:
            held = [run for run in self.runs if split in run.after]
            if differ(lookup(run.manifest, "data", "splits", split, "sha256") for run in held):
                said.append(f"{split}: the runs were evaluated on different texts.")
        if any(split not in run.after for run in self.runs for split in self.splits):
            said.append("The runs have no evaluated split in common.")
        return said

    def rows(self) -> Iterator[tuple[int, str, LanguageResults, str]]:
        """Yield (number from 1, name, run, split) for each split of each run that was evaluated, in order of splits."""
        for split in self.splits:
            for number, (name, run) in enumerate(zip(self.names, self.runs, strict=True), start=1):
                if split in run.after:
                    yield number, name, run, split

    def as_dict(self) -> dict[str, Any]:
        """Return names, metrics after training by split, and notes, as plain values."""
        metrics = {split: [run.after.get(split) for run in self.runs] for split in self.splits}
        baselines = [asdict(row) for row in self.baselines()]
        return {"names": list(self.names), "metrics": metrics, "baselines": baselines, "notes": self.notes()}

    def baselines(self) -> list[RunBaseline]:
        """Return the runs beside their baselines."""
        return run_baselines(self.names, self.runs, self.splits)

    def different_settings(self) -> dict[str, list[Any]]:
        """Return the settings that differ between the runs, with one value per run. None stands for no value."""
        return different_settings(self.runs)


def needed(run: RunFolder) -> Sequence[Path]:
    """Return metrics.json."""
    return (run.metrics,)


def read(common: Mapping[str, Any]) -> LanguageResults:
    """Add the samples to the results that every run has."""
    run: RunFolder = common["folder"]
    # a fit writes metrics.json before it trains, with the values of the base alone
    if "after" not in read_json(run.metrics):
        raise not_evaluated(run, f"{run.metrics} holds no metrics of the trained model", common["manifest"])
    return LanguageResults(**common, samples=read_samples(run.samples))


def split(results: LanguageResults, name: str | None) -> None:
    """Check that a split was evaluated. The report shows all splits.

    Raises:
        RunError: the split was not evaluated.
    """
    if name is not None and name not in results.after:
        raise RunError(f"{results.folder.metrics} holds no split '{name}'. It holds: {', '.join(results.after)}.")


def summary(results: LanguageResults, split: None) -> dict[str, Any]:
    """Return the metrics before and after training."""
    metrics = {"before": results.before, "after": results.after, "baseline": results.baseline}
    return {"metrics": metrics, "verdict": baseline_line(results)}


def compare(runs: Sequence[LanguageResults], split: str | None = None) -> LanguageComparison:
    """Compare runs on a split. Default: all splits that every run evaluated."""
    names = distinct_names(runs)
    # a dict without values keeps the order of the splits, a set would not
    held = list(dict.fromkeys(name for run in runs for name in run.after))
    shared = [name for name in held if all(name in run.after for run in runs)]
    return LanguageComparison(names, tuple(runs), (split,) if split else tuple(shared or held))
