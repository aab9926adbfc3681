"""The work of all sides: rows from files, cut to the wanted number, and written once for all sides."""

import csv
import dataclasses
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKETS = Path(__file__).resolve().parents[2] / "kerora" / "data" / "tickets.jsonl"
COLUMNS = ("label", "text")


@dataclass(frozen=True)
class Job:
    """The work of one measurement, as it is passed to a process.

    Attributes:
        folder: folder of the session; the process may write below it.
        preset: what `--preset` takes; the peers need a folder in Hugging Face format.
        seed: seed of the order, the adapters and dropout.
        started: when the process was started, seconds since the epoch.
        epochs: passes over the training rows.
        batch_size: rows in a batch.
        max_length: longest row in tokens.
        learning_rate: peak learning rate.
        slice_steps: batches that the extrapolated side trains on.
        texts: texts to predict or to tokenise.
        rows: rows of a generated file.
        steps: timed steps of the step measurement.
        bfloat16: whether the hardware computes in it; where it does not, it is emulated and far slower than float32.
    """

    folder: str
    preset: str
    seed: int = 42
    started: float = 0.0
    epochs: int = 2
    batch_size: int = 32
    max_length: int = 256
    learning_rate: float = 1e-3
    slice_steps: int = 12
    texts: int = 5_000
    rows: int = 25_000
    steps: int = 12
    bfloat16: bool = True

    @property
    def path(self) -> Path:
        """The folder of the session."""
        return Path(self.folder)

    def as_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(dataclasses.asdict(self))


Labelled = tuple[str, str]


def read_labelled(paths: Sequence[Path]) -> list[Labelled]:
    """Read (label, text) rows from a CSV without header (class, title, description). No path: the bundled tickets."""
    if not paths:
        rows = [json.loads(line) for line in TICKETS.read_text(encoding="utf-8").splitlines()]
        return [(row["label"], row["text"]) for row in rows]
    found: list[Labelled] = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as stream:
            found += [(row[0], " ".join(row[1:])) for row in csv.reader(stream) if len(row) > 1]
    return found


def read_texts(path: Path | None, rows: Sequence[Labelled], count: int) -> list[str]:
    """Read the texts of a JSON Lines file (key ``text``, also gzipped), or of the rows. Repeat them up to `count`."""
    if path is None:
        texts = [text for _, text in rows]
    else:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as stream:
            texts = [json.loads(line)["text"] for line in stream]
    repeats = -(-count // len(texts))
    return (texts * repeats)[:count]


def split_rows(rows: Sequence[Labelled], train: int, test: int, seed: int = 0) -> tuple[list[Labelled], list[Labelled]]:
    """Shuffle the rows, and take test rows (at most a quarter) and training rows."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    test = min(test, len(mixed) // 4)
    return mixed[test : test + train], mixed[:test]


def write_rows(path: Path, rows: Sequence[Labelled]) -> None:
    """Write rows as a CSV with the header label, text."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])


def load_rows(path: Path) -> tuple[list[str], list[int], list[str]]:
    """Read the file of `write_rows`: texts, class numbers, class names in order."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["label"] for row in rows})
    return [row["text"] for row in rows], [names.index(row["label"]) for row in rows], names


def write_generated(path: Path, rows: Sequence[Labelled], count: int) -> None:
    """Write `count` different rows that are made from the given rows."""
    made = ((rows[number % len(rows)][0], f"{number} {rows[number % len(rows)][1]}") for number in range(count))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(made)
