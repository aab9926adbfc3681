"""What is suspicious about each row: its label, a near-duplicate with another label, or that it is like no other."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.cleaning.rows import NEW_LABEL, AllRows
from kerora.errors import RunError
from kerora.evaluation.confident import label_issues, suspicion
from kerora.evaluation.neighbours import contradicting, nearest, outliers
from kerora.evaluation.report_files import csv_text

WRONG, TWIN, OUTLIER = "wrong label", "near-duplicate with another label", "outlier"
COLUMNS = ("row", "id", "split", "suspicion", "reasons", "label", "model_label", "p_label", "p_model", "similar_row")
DIGITS = 6


@dataclass(frozen=True)
class Findings:
    """What was found about each row; arrays have an entry for each row, in the order of the data.

    Attributes:
        suspicion: highest probability of another class, minus that of the label, -1 to 1.
        model: the class that the model predicts, out of fold.
        p_label: its probability of the label.
        p_model: its probability of the class that it predicts.
        wrong: whether the label is probably wrong, by confident learning.
        twin: the place of a near-duplicate with another label, or -1.
        outlier: whether the text is far from all others.
    """

    suspicion: np.ndarray
    model: np.ndarray
    p_label: np.ndarray
    p_model: np.ndarray
    wrong: np.ndarray
    twin: np.ndarray
    outlier: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """The places of the rows, the most suspicious one first."""
        return np.argsort(-self.suspicion, kind="stable")

    @property
    def flagged(self) -> np.ndarray:
        """The places of the rows with a reason or another answer of the model, the most suspicious one first."""
        order = self.order
        found: np.ndarray = order[((self.suspicion > 0) | self.wrong | (self.twin >= 0) | self.outlier)[order]]
        return found

    def reasons(self, place: int) -> list[str]:
        """Return why a row is suspicious."""
        found = ((WRONG, self.wrong[place]), (TWIN, self.twin[place] >= 0), (OUTLIER, self.outlier[place]))
        return [reason for reason, holds in found if holds]


def find(every: AllRows, probabilities: np.ndarray, vectors: np.ndarray) -> Findings:
    """Return the findings.

    A row that is the only one of its class is never judged by its label: the model has not seen the class.

    Args:
        every: the rows.
        probabilities: out-of-fold probabilities, (rows, classes).
        vectors: a vector for each text, (rows, width).
    """
    labels = np.asarray(every.rows.targets)
    alone = np.bincount(labels, minlength=probabilities.shape[1])[labels] == 1
    places, similar = nearest(vectors)
    model, rows = probabilities.argmax(axis=1), np.arange(len(labels))
    texts: Sequence[str] = _whole_texts(every)
    return Findings(
        # Last of all: its probability of the own label says nothing.
        np.where(alone, -1.0, suspicion(probabilities, labels)),
        model,
        probabilities[rows, labels],
        probabilities[rows, model],
        label_issues(probabilities, labels) & ~alone,
        contradicting(texts, labels.tolist(), places),
        outliers(similar),
    )


def table_text(every: AllRows, found: Findings) -> str:
    """Return the table as CSV: a line for each row, the most suspicious one first, with an empty column for labels."""
    return csv_text(_lines(every, found))


def _lines(every: AllRows, found: Findings) -> Iterator[list[Any]]:
    yield [*COLUMNS, NEW_LABEL, "text"]
    texts, classes, targets = _whole_texts(every), every.dataset.classes, every.rows.targets or ()
    for place in found.order.tolist():
        yield [
            place + 1,
            every.rows.ids[place],
            every.parts[place],
            round(float(found.suspicion[place]), DIGITS),
            ", ".join(found.reasons(place)),
            classes[targets[place]],
            classes[found.model[place]],
            round(float(found.p_label[place]), DIGITS),
            round(float(found.p_model[place]), DIGITS),
            int(found.twin[place]) + 1 if found.twin[place] >= 0 else "",
            "",
            texts[place],
        ]


def most_suspicious(path: Path, count: int) -> list[int]:
    """Return the places of the most suspicious rows of a table, from 0, whatever the order of its lines.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [
                (-float(line["suspicion"]), place, int(line["row"]))
                for place, line in enumerate(csv.DictReader(stream))
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {error}. Make it again with --force.") from error
    return [row - 1 for _, _, row in sorted(rows)[:count]]


def _whole_texts(every: AllRows) -> list[str]:
    rows = every.rows
    if rows.pairs is None:
        return list(rows.texts)
    return [f"{first}\n{second}" for first, second in zip(rows.texts, rows.pairs, strict=True)]
