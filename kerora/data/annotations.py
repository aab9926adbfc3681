"""Files of annotation tools: rows with guesses for Label Studio, doccano and Prodigy, and the exports of these tools.

The guesses of a model are never read as labels: a file whose guesses nobody has looked at is refused.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kerora.data.table import RawRow, Table
from kerora.errors import ConfigError, DataError
from kerora.notices import notice

TOOLS = ("label-studio", "doccano", "prodigy")
TITLES = {"label-studio": "Label Studio", "doccano": "doccano", "prodigy": "Prodigy"}
ENDINGS = {None: (".jsonl", ".csv"), "label-studio": (".json",), "doccano": (".jsonl",), "prodigy": (".jsonl",)}
FROM, TO = "label", "text"
"""The names of the control and of the text in the labelling interface of Label Studio."""


@dataclass(frozen=True)
class Guess:
    """A row to label, with the answer of a model.

    Attributes:
        id: identifier of the row.
        text: the text; the first text of a pair.
        pair: the second text of a pair, or None.
        label: the answer of the model.
        score: its probability.
    """

    id: str
    text: str
    pair: str | None
    label: str
    score: float


def check_ending(path: Path, tool: str | None) -> None:
    """Check that a tool can import a file of this name.

    Raises:
        ConfigError: it imports another format.
    """
    if path.suffix.lower() not in ENDINGS[tool]:
        what = f"{TITLES[tool]} imports" if tool else "Rows to label are written as"
        raise ConfigError(f"{what} {' or '.join(ENDINGS[tool])}. Received: --output {path}")


def write_guesses(
    stream: IO[str], guesses: Sequence[Guess], tool: str | None, *, form: str, columns: Sequence[str],
    classes: Sequence[str], model: str,
) -> None:  # fmt: skip
    """Write rows to label.

    Args:
        stream: the file.
        guesses: the rows.
        tool: the annotation tool, or None for a table with an empty label column.
        form: of a table, ``csv`` or ``jsonl``.
        columns: of a table, the names of id, texts and label.
        classes: the labels to choose from.
        model: name of the model.

    Raises:
        DataError: the rows are pairs, and the tool shows one text.
    """
    paired = any(guess.pair is not None for guess in guesses)
    if paired and tool in ("doccano", "prodigy"):
        raise DataError(f"The rows are pairs of texts, but {TITLES[tool]} shows one text. Leave --annotations out.")
    if tool == "label-studio":
        json.dump([_label_studio(guess, model) for guess in guesses], stream, ensure_ascii=False, indent=1)
        stream.write("\n")
        return
    if tool is None and form == "csv":
        writer = csv.writer(stream)
        writer.writerow([*columns, "guess", "score"])
        writer.writerows(list(_plain(guess, columns).values()) for guess in guesses)
        return
    rows: dict[str | None, Callable[[Guess], dict[str, Any]]] = {
        None: lambda guess: _plain(guess, columns),
        "doccano": _doccano,
        "prodigy": lambda guess: _prodigy(guess, classes),
    }
    stream.writelines(json.dumps(rows[tool](guess), ensure_ascii=False) + "\n" for guess in guesses)


def _plain(guess: Guess, columns: Sequence[str]) -> dict[str, Any]:
    texts = [guess.text] if guess.pair is None else [guess.text, guess.pair]
    named = dict(zip(columns, [guess.id, *texts, None], strict=True))
    return {**named, "guess": guess.label, "score": round(guess.score, 6)}


def _label_studio(guess: Guess, model: str) -> dict[str, Any]:
    data = {"text": guess.text, **({} if guess.pair is None else {"pair": guess.pair}), "row_id": guess.id}
    choice = {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [guess.label]}}
    prediction = {"model_version": model, "score": round(guess.score, 6), "result": [choice]}
    return {"data": data, "predictions": [prediction]}


def _doccano(guess: Guess) -> dict[str, Any]:
    # Everything beside text and label is kept by doccano as metadata, and comes back in its export.
    facts = {"row_id": guess.id, "guess": guess.label, "score": round(guess.score, 6)}
    return {"text": guess.text, "label": [guess.label], **facts}


def _prodigy(guess: Guess, classes: Sequence[str]) -> dict[str, Any]:
    options = [{"id": name, "text": name} for name in classes]
    meta = {"row_id": guess.id, "score": round(guess.score, 6)}
    return {"text": guess.text, "options": options, "accept": [guess.label], "meta": meta}


def exported(table: Table) -> Table:
    """Return the rows of an export of an annotation tool with the columns of its data, ``id`` and ``label``.

    A table of another origin is returned as it is. Rows that nobody has answered are left out, and a notice gives their
    number. A row with several labels has a tuple of them.

    Raises:
        DataError: the file holds guesses that nobody has answered.
    """
    head = list(itertools.islice(table.rows, 1))
    rows = itertools.chain(head, table.rows)
    first = next((row.values for row in head if row.problem is None), {})
    tool = _tool_of(first)
    if tool is None:
        return Table(table.name, table.columns, rows, table.class_names, table.header, table.several)
    if _only_guesses(first, tool):
        raise DataError(
            f"{table.name} holds guesses of a model for {TITLES[tool]}, and no answers. Import it there, and give the "
            "export of the answered rows."
        )
    read = {"label-studio": _read_label_studio, "doccano": _read_doccano, "prodigy": _read_prodigy}[tool]
    columns = _columns(tool, first)
    return Table(table.name, columns, _answered(table.name, tool, rows, read), {}, several=("label",), tool=tool)


def _tool_of(first: Mapping[str, Any]) -> str | None:
    """Return the tool that wrote a row, by the keys that only its files have."""
    if isinstance(first.get("data"), Mapping) and ("annotations" in first or "predictions" in first):
        return "label-studio"
    if "text" not in first:
        return None
    if isinstance(first.get("label"), list) and ("Comments" in first or {"row_id", "guess"} <= first.keys()):
        return "doccano"
    # Data of multiple choice has options and answers too, but not these.
    options = first.get("options")
    chosen = isinstance(options, list) and all(isinstance(item, dict) for item in options) and "accept" in first
    return "prodigy" if chosen or {"_task_hash", "answer"} <= first.keys() else None


def _only_guesses(first: Mapping[str, Any], tool: str) -> bool:
    # doccano gives every row an id, and our file has none. The others mark answers with keys of their own.
    missing = {"label-studio": "annotations", "doccano": "id", "prodigy": "answer"}[tool]
    return missing not in first


def _columns(tool: str, first: Mapping[str, Any]) -> tuple[str, ...]:
    names = list(first["data"]) if tool == "label-studio" else ["text"]
    return tuple(dict.fromkeys([*(name for name in names if name != "row_id"), "id", "label"]))


Read = Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[str]] | str | None]
"""Returns the values and the labels of a row, what is wrong with it, or None if nobody has answered it."""


def _answered(name: str, tool: str, rows: Iterable[RawRow], read: Read) -> Iterator[RawRow]:
    answers = skipped = 0
    for row in rows:
        try:
            found = row.problem or read(row.values)
        except (KeyError, TypeError, AttributeError):
            found = f"is no row of an export of {TITLES[tool]}"
        if found is None:
            skipped += 1
        elif isinstance(found, str):
            yield RawRow(row.number, row.line, row.values, found)
        else:
            answers += 1
            values, labels = found
            label = labels[0] if len(labels) == 1 else tuple(labels)
            yield RawRow(row.number, row.line, {**values, "label": label})
    left_out = f", {skipped:,} without an answer are left out" if skipped else ""
    notice(f"{name} is read as an export of {TITLES[tool]}: {answers:,} answered rows{left_out}.")


def _read_label_studio(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]] | str | None:
    given = [item for item in values.get("annotations") or [] if not item.get("was_cancelled")]
    answers = [_choices(item) for item in given]
    answers = [labels for labels in answers if labels]
    if not answers:
        return None
    if any(labels != answers[0] for labels in answers):
        return f"has different answers of {len(answers)} annotators: {answers[0]} and others"
    data = dict(values["data"])
    identifier = data.pop("row_id", data.get("id", values.get("id")))
    return {**data, "id": identifier}, answers[0]


def _choices(annotation: Mapping[str, Any]) -> list[str]:
    results = [item["value"] for item in annotation.get("result") or [] if item.get("type") == "choices"]
    return [str(choice) for value in results for choice in value["choices"]]


def _read_doccano(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]] | str | None:
    labels = [str(label) for label in values["label"]]
    if not labels:
        return None
    return {"text": values["text"], "id": values.get("row_id", values.get("id"))}, labels


def _read_prodigy(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]] | str | None:
    # "reject" says which label is wrong, not which one is right.
    if values.get("answer") != "accept":
        return None
    labels = [str(label) for label in values["accept"]] if "accept" in values else [str(values["label"])]
    if not labels:
        return None
    meta = values.get("meta") or {}
    return {"text": values["text"], "id": meta.get("row_id", values.get("id"))}, labels
