"""The usual names of columns, and the search for a column by its name."""

from collections.abc import Iterable, Sequence

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "message", "document", "body", "comment", "utterance", "tweet"),
    *(
        "review_body",
        "review_text",
        "reviewtext",
        "question_text",
        "headline",
        "post",
        "ticket",
        "email",
        "query",
        "texts",
    ),
)
LABEL_NAMES = (
    *("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "polarity", "tag", "y"),
    *("class_index", "class index", "label_text"),
)


def plain_name(column: str) -> str:
    """Return the name of a column without the differences that do not count: case and white space around it."""
    return column.strip().lower()


def column_by_name(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column whose name comes first in `names`, ignoring case, or None."""
    # Reversed, so that the first of several columns with the same plain name is kept.
    by_plain_name = {plain_name(column): column for column in reversed(list(columns))}
    return next((by_plain_name[name] for name in names if name in by_plain_name), None)


def same_column(name: str | None, columns: Sequence[str]) -> str | None:
    """Return the column of that name, or else the first whose name differs only in case and white space, or None."""
    if name is None or name in columns:
        return name
    return column_by_name(columns, (plain_name(name),))
