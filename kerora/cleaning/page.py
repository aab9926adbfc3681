"""report.html of `kerora clean`: the suspicious rows, the most suspicious one first."""

from typing import Any

from kerora.cleaning.findings import Findings
from kerora.cleaning.rows import AllRows
from kerora.evaluation.html import render_page
from kerora.version import __version__

PACKAGE = "kerora.cleaning"
MOST_ROWS = 500
LONGEST_TEXT = 600


def render(every: AllRows, found: Findings, model: str, folds: int) -> str:
    """Return the page.

    Args:
        every: the rows.
        found: the findings.
        model: name of the base model.
        folds: number of folds.
    """
    flagged = found.flagged.tolist()
    return render_page(
        "clean.html",
        __version__,
        PACKAGE,
        name=every.dataset.name,
        subtitle=[model, f"{folds} folds", f"{len(every.rows):,} rows", f"{len(every.dataset.classes)} classes"],
        counts={
            "wrong": int(found.wrong.sum()),
            "twins": int((found.twin >= 0).sum()),
            "outliers": int(found.outlier.sum()),
        },
        total=len(every.rows),
        shown=min(len(flagged), MOST_ROWS),
        flagged=len(flagged),
        several=len(set(every.parts)) > 1,
        rows=[_row(every, found, place) for place in flagged[:MOST_ROWS]],
    )


def _row(every: AllRows, found: Findings, place: int) -> dict[str, Any]:
    rows, classes, twin = every.rows, every.dataset.classes, int(found.twin[place])
    text = rows.texts[place] if rows.pairs is None else f"{rows.texts[place]}\n{rows.pairs[place]}"
    targets = rows.targets or []
    return {
        "id": rows.ids[place],
        "split": every.parts[place],
        "label": classes[targets[place]],
        "model": classes[found.model[place]],
        "p_label": float(found.p_label[place]),
        "p_model": float(found.p_model[place]),
        "suspicion": float(found.suspicion[place]),
        "reasons": found.reasons(place),
        "twin": None if twin < 0 else {"id": rows.ids[twin], "label": classes[targets[twin]]},
        "text": text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ...",
    }
