"""`FitResult`: what `kerora.fit` returns, to print, to look at in a notebook, and to use."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from markupsafe import Markup

from kerora.data.rows import Rows
from kerora.errors import RunError
from kerora.evaluation import wording
from kerora.evaluation.verdict import baseline_line
from kerora.exchange.export import export_run
from kerora.exchange.verify import Verification
from kerora.lora.files import read_adapter_config
from kerora.models.tokenizer import checked_pairs
from kerora.runs.open import load
from kerora.runs.report import ReportSummary, report
from kerora.runs.results import read_results, task_of
from kerora.tasks.abstention import Abstention, answers
from kerora.tasks.registry import check_command, task_of_model
from kerora.training.fit import TrainedRun


@dataclass(frozen=True, repr=False)
class FitResult(TrainedRun):
    """The result of a run. It prints in a few lines, and a notebook shows tables, confusion matrix and curves.

    Attributes:
        run: the run folder.
        metrics: the contents of metrics.json.
        history: the rows of history.csv.
        parameters: counts of the trainable weights and of all weights.
        seconds: training time, without evaluation and start-up.
    """

    @classmethod
    def of(cls, found: TrainedRun) -> Self:
        """Return the result of a training."""
        return cls(**{spec.name: getattr(found, spec.name) for spec in dataclasses.fields(TrainedRun)})

    @cached_property
    def model(self) -> Any:
        """The fine-tuned model, such as a `TextClassifier`. It is loaded at the first use; see `kerora.load`."""
        return load(self.run.path)

    def report(self, output: Path | str | None = None, split: str | None = None) -> ReportSummary:
        """Write the report of the run; see `kerora.report`."""
        return report(self.run.path, output=output, split=split)

    def export(self, form: str, output: Path | str) -> Verification:
        """Write the run for another tool; see `kerora.export`."""
        return export_run(self.run.path, form, output)

    def predict(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        abstain_below: float | None = None,
        target_accuracy: float | None = None,
    ) -> list[Any]:
        """Return the name of the most probable class of each text.

        With several labels per text it is the list of the labels. A regression gives a number, or a list of several.

        Args:
            texts: the texts, as a list or one column of a table. A single string is one text.
            pairs: the second texts, if the run was trained on sentence pairs.
            abstain_below: probability, 0 to 1. A text whose class has a lower one gets None.
            target_accuracy: accuracy, 0 to 1, that the other answers are to have with 95 % confidence. The validation
                rows of the run give the threshold, and a notice says it.

        Raises:
            RunError: the run is of another task, or no threshold reaches the accuracy.
            ConfigError: something other than texts was given, or a threshold is no probability.
        """
        found = self._predictions(texts, pairs, Abstention(abstain_below, target_accuracy))
        return [task_of_model(self.model).predictions.answer(values) for values in found]

    def predict_proba(self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> np.ndarray:
        """Return the probability of each class, float64 (texts, classes), in the order of `model.classes`.

        `texts`, `pairs` and the errors are those of `predict`.
        """
        rows = self._predictions(texts, pairs, Abstention())
        columns = task_of_model(self.model).predictions.columns(self.model, False)
        places = [place for place, name in enumerate(columns) if name.startswith("p_")]
        if not places:
            raise RunError(f"{self.run.path} predicts numbers, which have no probabilities. Use predict.")
        return np.array([[values[place] for place in places] for values in rows], dtype=np.float64)

    def _predictions(self, texts: Any, pairs: Any, abstain: Abstention) -> list[list[Any]]:
        task = task_of_model(self.model)
        check_command(self.run, task, "predict")
        first, second = checked_pairs(texts, pairs)
        trained_on_pairs = bool(read_adapter_config(self.run.adapter).get("kerora", {}).get("pairs"))
        if trained_on_pairs != (second is not None):
            wanted, given = ("pairs", "single texts") if trained_on_pairs else ("single texts", "pairs")
            raise RunError(f"{self.run.path} was trained on {wanted}. Received: {given}.")
        rows: Rows[Any] = Rows.numbered(first, pairs=second)
        abstain.check(self.run, task)
        threshold = abstain.threshold(self.run, task)
        return list(answers(task, self.model, rows, 64, False, threshold)) if first else []

    def __repr__(self) -> str:
        lines = [f"FitResult: {self.run.path}", *self._changes(), f"Training took {wording.duration(self.seconds)}"]
        return "\n".join(lines)

    def _changes(self) -> list[str]:
        """Return one line for each evaluated split, its main metrics before and after, and one for the baseline."""
        if not self.metrics["after"]:
            return ["No validation or test rows were evaluated."]
        lines, results = [], read_results(self.run)
        for split, changes in wording.changes(results).items():
            shown = [change for change in changes if change.key in wording.MAIN]
            parts = [
                f"{change.label} {wording.decimal(change.before)} -> {wording.decimal(change.after)}"
                for change in shown
            ]
            lines.append(f"{split}: {', '.join(parts)}")
        verdict = baseline_line(results)
        return lines if verdict is None else [*lines, verdict]

    def _repr_html_(self) -> str:
        if not self.metrics["after"]:
            return str(Markup("<pre>{}</pre>").format(str(self)))
        results = read_results(self.run)
        task = task_of(results)
        return task.page.summary(results, task.results.split(results, None))
