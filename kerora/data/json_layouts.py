"""The layouts of JSON documents that hold a table."""

import json
from collections.abc import Mapping
from typing import Any

from kerora.data.split_names import SPLIT_NAMES
from kerora.errors import DataError
from kerora.notices import notice

SPEAKERS = ("role", "from", "speaker")


def parts_in(value: Any) -> dict[str, Any] | None:
    """Return the parts of ``{"train": [...], "test": [...]}`` by split, or None if the document is something else."""
    if not isinstance(value, dict) or not value:
        return None
    splits = {str(key): SPLIT_NAMES.get(str(key).lower()) for key in value}
    # Two keys of one split, such as "dev" and "val", leave it open which is meant.
    if None in splits.values() or len(set(splits.values())) < len(splits):
        return None
    # {"train": 1, "test": 2} is a row with numbers, not a data set.
    if not all(isinstance(part, dict) or _are_objects(part) for part in value.values()):
        return None
    return {str(splits[str(key)]): part for key, part in value.items()}


def rows_in(name: str, value: Any) -> list[Any]:
    """Return the rows of a document: a list of objects or of texts, or an object with one of these layouts.

    - one list of objects beside other values: ``{"version": 1, "data": [...]}``
    - columns as lists of equal length: ``{"text": [...], "label": [...]}``
    - what `DataFrame.to_json` of pandas writes: columns (its default), index and split

    Raises:
        DataError: the layout is none of these, or two readings are possible.
    """
    # A list of strings is a list of texts without labels.
    if isinstance(value, list):
        texts = bool(value) and all(isinstance(item, str) for item in value)
        return [{"text": text} for text in value] if texts else value
    if isinstance(value, dict) and value:
        if parts := parts_in(value):
            raise DataError(
                f"{name} holds the parts {' and '.join(parts)}. Give it with --data, --train, --validation or --test, "
                "or write the part to a file of its own."
            )
        # Lists before objects: only `_pandas` accepts an object of objects.
        rows = _listed(name, value)
        rows = _pandas(name, value) if rows is None else rows
        if rows is not None:
            return rows
    raise DataError(
        f"{name}: expected a list of objects, or an object with one such list or with columns. "
        f"Received: {json.dumps(value):.40}"
    )


def _listed(name: str, value: Mapping[str, Any]) -> list[Any] | None:
    if set(value) in ({"columns", "index", "data"}, {"columns", "data"}):  # orient="split" of pandas
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]]
    # {"messages": [{"role": ...}, ...]} is one row with a conversation, not a list of rows.
    lists = [key for key, column in value.items() if _are_objects(column) and not _is_conversation(column)]
    if len(lists) > 1:
        raise DataError(
            f"{name} holds several lists of rows: {', '.join(lists)}. Write one of them to a file of its own."
        )
    if lists:
        if len(value) > 1:
            notice(f"{name}: the rows are its list '{lists[0]}'.")
        found: list[Any] = value[lists[0]]
        return found
    if not all(isinstance(column, list) for column in value.values()):
        return None
    lengths = {key: len(column) for key, column in value.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{name}: the columns have different lengths: {lengths}. Make them equal.")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _pandas(name: str, value: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of an object of objects: columns by row (the default of pandas), or rows by name."""
    inner = list(value.values())
    if not all(isinstance(item, dict) and item.keys() == inner[0].keys() for item in inner) or not inner[0]:
        return None
    # Rows have numbers and columns have names. If both have numbers, or both have names, either reading is possible.
    rows_outside, rows_inside = _are_numbers(value), _are_numbers(inner[0])
    if rows_outside == rows_inside:
        raise DataError(f"{name} holds objects in an object, in rows or in columns. Write it as a list of objects.")
    return inner if rows_outside else [{key: item[row] for key, item in value.items()} for row in inner[0]]


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _is_conversation(turns: list[dict[str, Any]]) -> bool:
    return all(any(key in turn for key in SPEAKERS) for turn in turns)


def _are_numbers(keys: Mapping[str, Any]) -> bool:
    return all(str(key).isdigit() for key in keys)
