"""One line for each finding of an audit that a training should not pass over in silence."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from kerora.data.audit import Audit, Leakage, SplitAudit
from kerora.data.labels import WHOLE_NUMBER
from kerora.errors import quoted

DECIMAL = re.compile(r"[+-]?\d+\.\d+")
MISSING = ("nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nat")
"""Names that programs write for a missing value."""
MOST_LOST = 0.01
"""Fraction of the tokens of a part that may be lost without a finding."""


def concerns(result: Audit, classes: Sequence[str] = (), *, cut: bool = True) -> list[str]:
    """Return the findings, one line each.

    Args:
        result: the audit.
        classes: the class names; empty without classes.
        cut: whether rows that are longer than the limit lose tokens. Default: True.
    """
    return [
        *_class_concerns(classes),
        *_absent_concerns(result, classes),
        *(_cut_concerns(result) if cut else []),
        *leakage_concerns(result.leakage, {split: part.rows for split, part in result.splits.items()}),
        *_text_concerns(result),
    ]


def _class_concerns(classes: Sequence[str]) -> list[str]:
    groups = defaultdict(list)
    for name in classes:
        # NFKC joins full-width letters and ligatures with their usual form. They look the same in a table.
        groups[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    lines = [
        f"The classes {quoted(names, 5)} differ only in case, white space or the form of their characters. If they are "
        "one class, write one name in the data."
        for names in groups.values()
        if len(names) > 1
    ]
    missing = [name for name in classes if name.strip().casefold() in MISSING]
    if missing:
        lines.append(
            f"The class {quoted(missing, 5)} has a name that often stands for a missing label. If it does, remove "
            "these rows."
        )
    # Ratings such as 1, 2 and 3 are classes in many data sets. Decimals measure something.
    measured = [name for name in classes if DECIMAL.fullmatch(name)]
    if measured and all(DECIMAL.fullmatch(name) or WHOLE_NUMBER.fullmatch(name) for name in classes):
        lines.append(
            f"The {len(classes)} classes are numbers with decimals ({quoted(measured, 5)}). A classifier does not know "
            "that 1.5 is near 2: it learns each number as a name. To predict numbers, add --task regression."
        )
    return lines


def _absent_concerns(result: Audit, classes: Sequence[str]) -> list[str]:
    found = []
    for split, part in result.splits.items():
        # Not `not part.labels.get(name)`: a missing key means that the audit did not count this class.
        absent = [name for name in classes if part.labels.get(name) == 0]
        if absent and part.rows:
            found.append(f"{split} has no rows of the class {quoted(absent, 5)}.")
    return found


def _cut_concerns(result: Audit) -> list[str]:
    return [
        f"{split}: {_share(_long_rows(part), part.rows)} are longer than {result.max_length} {result.unit}, and "
        f"{part.lost:.1%} of all {result.unit} are lost. --long windows reads all of them, a higher --max-length more."
        for split, part in result.splits.items()
        if part.lost > MOST_LOST
    ]


def length_notes(result: Audit, windows: bool) -> list[str]:
    """Return one line on the rows that are longer than the limit, in all parts. Without such rows there is no line.

    Args:
        result: the audit.
        windows: whether long rows are divided into windows and not cut.
    """
    parts = []
    for split, part in result.splits.items():
        if rows := _long_rows(part):
            how = f" in {part.windows:,} windows" if windows else ""
            lost = "" if windows and not part.lost else f", {part.lost:.2%} of all {result.unit} lost"
            parts.append(f"{split} {_share(rows, part.rows)}{how}{lost}")
    read = "read in windows" if windows else "cut"
    return [f"Longer than {result.max_length} {result.unit}, so {read}: {'; '.join(parts)}"] if parts else []


def _long_rows(part: SplitAudit) -> int:
    # The audit holds only the fraction. Rounding gives the number of rows back.
    return round(part.truncated * part.rows)


def leakage_concerns(leakage: Mapping[str, Leakage], rows: Mapping[str, int]) -> list[str]:
    """Return one line for each part with rows that are also training rows.

    Args:
        leakage: these rows by split.
        rows: number of all rows by split.
    """
    return [
        f"{split}: {_share(leak.count, rows[split])} are also training rows, so its numbers are too good."
        f" The first is row {leak.examples[0][0]:.40}, in train {leak.examples[0][1]:.40}."
        for split, leak in leakage.items()
        if leak.count
    ]


def _text_concerns(result: Audit) -> list[str]:
    lines = []
    for split, part in result.splits.items():
        if part.conflicts:
            lines.append(
                f"{split}: {_share(part.conflicts, part.rows)} have a text that occurs with another label too."
            )
        if part.unknown:
            lines.append(
                f"{split}: {_share(part.unknown, part.rows)} are mostly unknown tokens. The model may not know the "
                "language of these texts. Choose another --preset."
            )
    return lines


def _share(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} rows ({count / max(1, rows):.1%})"
