"""Finds the rows of a pool whose labels would help a run most, and writes them for people to label."""

import dataclasses
import hashlib
import heapq
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerora.data.annotations import Guess, check_ending, write_guesses
from kerora.data.bad_rows import BadRows, write_bad_rows
from kerora.data.extract import Record
from kerora.data.streams import stream_texts
from kerora.errors import ConfigError, KeroraError, RunError
from kerora.evaluation.spread import spread
from kerora.models.embedding import Embedder
from kerora.notices import muted, notice
from kerora.places import check_output
from kerora.runfolder import RunFolder, atomic_file
from kerora.runs.inputs import check_pairs, empty_count, input_config, pools, rows_of
from kerora.runs.open import load, read_by_columns_of, read_config_for
from kerora.settings.fit import FitConfig
from kerora.tasks.registry import Task, tasks

STRATEGIES = ("margin", "random")
CANDIDATES = 10
"""Uncertain rows for each wanted row. From them, rows that differ are chosen."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        count: number of rows to choose.
        strategy: ``margin`` takes rows whose two most probable classes are close, spread over their texts. ``random``
            takes any rows, as a control. Default: margin.
        tool: annotation tool that imports the file, one of `kerora.data.annotations.TOOLS`. Default: None, a table with
            an empty label column.
        seed: seed of the choice. Default: None, that of the run.
    """

    count: int
    strategy: str = "margin"
    tool: str | None = None
    seed: int | None = None


def most_useful(
    path: Path | str,
    source: Path | IO[bytes],
    output: Path,
    request: Request,
    *,
    settings: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    preset: str | Path | None = None,
    force: bool = False,
    skipped: BadRows | None = None,
) -> int:
    """Choose rows of a pool of texts, and write them with the guesses of the run. Return their number.

    Rows of the run, and texts that occur twice, are left out. The rows are streamed: the memory depends on the number
    of wanted rows, not on the pool.

    Args:
        path: the run folder.
        source: a file, or a binary stream.
        output: the new file.
        request: how many rows, and how they are chosen and written.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        batch_size: rows in a batch. Default: 64.
        preset: path or name of the base model, if it moved since the run was made.
        force: whether to replace an existing output file.
        skipped: counts the rows that `skip_bad_rows` drops.

    Raises:
        ConfigError: the number or the ending of the output is wrong.
        RunError: the output exists and `force` is False, or the task of the run has no such choice.
        DataError: a row cannot be used.
    """
    _check(output, request, force)
    run = RunFolder.open(path)
    trained, task = read_config_for(run, "predict")
    if not task.abstains:
        known = ", ".join(other.name for other in tasks() if other.abstains)
        raise RunError(f"{run.path} was trained for {task.name}. --most-useful is for runs of {known}.")
    config = read_by_columns_of(run, input_config(trained.data, settings or {}, isinstance(source, str | Path)))
    bad = empty_count(skipped, config)
    records = stream_texts(source, config, bad)
    first = next(records, None)  # an error in the input then appears before the slow loading of the model
    check_pairs(run, first)
    known_rows = _own_texts(task, trained)
    model = load(run.path, preset)
    seed = trained.training.seed if request.seed is None else request.seed
    chooser = Chooser(task, model, request, batch_size, seed, known_rows)
    guesses = chooser.choose(itertools.chain([] if first is None else [first], records))
    chooser.tell(len(guesses))
    columns = _columns(run, first)
    form = output.suffix.lower().removeprefix(".")
    with atomic_file(output) as stream:
        names: dict[str, Any] = {"columns": columns, "classes": chooser.labels, "model": run.path.resolve().name}
        write_guesses(stream, guesses, request.tool, form=form, **names)
    write_bad_rows(config.bad_rows, [bad])
    return len(guesses)


def _check(output: Path, request: Request, force: bool) -> None:
    if request.count < 1:
        raise ConfigError(f"--most-useful must be 1 or more. Received: {request.count}")
    if request.strategy not in STRATEGIES:
        raise ConfigError(f"--strategy must be {' or '.join(STRATEGIES)}. Received: {request.strategy!r}")
    check_ending(output, request.tool)
    check_output(output, force)


def _columns(run: RunFolder, first: Record | None) -> list[str]:
    """Return the columns of a table of rows to label: those that the run was trained on, else usual names."""
    data = run.read_manifest().get("data")
    held = data.get("columns") if isinstance(data, dict) else None
    texts = held.get("texts", []) if isinstance(held, dict) else []
    labels = held.get("labels", []) if isinstance(held, dict) else []
    wanted = 2 if first is not None and first.pair is not None else 1
    # Joined columns cannot be divided again, so their text gets a name of its own.
    texts = texts if len(texts) == wanted else ["text", "pair"][:wanted]
    return ["id", *texts, labels[0] if len(labels) == 1 else "label"]


def _own_texts(task: Task, config: FitConfig) -> set[bytes]:
    """Return the digests of the texts of a run, or nothing if its rows are not here any more."""
    try:
        with muted():
            dataset = task.rows.load(dataclasses.replace(config))
    except (KeroraError, OSError):
        notice("The rows of the run are not here any more, so the pool may hold some of them.")
        return set()
    every = (rows for _, rows in dataset)
    return {
        _digest(text, None if rows.pairs is None else rows.pairs[place])
        for rows in every
        for place, text in enumerate(rows.texts)
    }


def _digest(text: str, pair: str | None) -> bytes:
    return hashlib.sha256(f"{text}\0{pair or ''}".encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass
class Chooser:
    """The choice among the records of a pool; counts what it leaves out.

    Attributes:
        task: the task of the model.
        model: the trained model.
        request: how many rows, and how they are chosen.
        batch_size: rows in a batch.
        seed: seed of the choice.
        known: digests of the texts to leave out.
        own: number of rows of the pool that were left out.
        seen: number of rows of the pool.
    """

    task: Task
    model: Any
    request: Request
    batch_size: int
    seed: int
    known: set[bytes]
    own: int = 0
    seen: int = 0

    @property
    def labels(self) -> list[str]:
        """The labels to choose from, as the training data has them."""
        return list(self.model.label_values or self.model.classes)

    def choose(self, records: Iterator[Record]) -> list[Guess]:
        """Return the chosen rows, the most useful one first."""
        count = self.request.count
        if self.request.strategy == "random":
            return [guess for _, _, _, guess in self._best(records, count)]
        found = [guess for _, _, _, guess in self._best(records, count * CANDIDATES)]
        if len(found) <= count:
            return found
        rows = rows_of([Record(guess.id, guess.text, guess.pair, 0) for guess in found])
        vectors = Embedder.of_model(self.model).embed(rows, self.batch_size)
        return [found[place] for place in spread(vectors, count, self.seed)]

    def _best(self, records: Iterator[Record], count: int) -> list[tuple[float, int, bytes, Guess]]:
        """Return the rows with the highest keys, each text once, the highest key first."""
        heap: list[tuple[float, int, bytes, Guess]] = []
        held: set[bytes] = set()
        for key, digest, guess in self._keyed(records):
            # -seen: of equal keys, the earlier row wins
            item = (key, -self.seen, digest, guess)
            if digest in held or (len(heap) == count and item[:2] <= heap[0][:2]):
                continue
            held.add(digest)
            if len(heap) < count:
                heapq.heappush(heap, item)
            else:
                held.discard(heapq.heappushpop(heap, item)[2])
        return sorted(heap, key=lambda item: item[:2], reverse=True)

    def _keyed(self, records: Iterator[Record]) -> Iterator[tuple[float, bytes, Guess]]:
        generator = np.random.default_rng(self.seed)
        face, labels = self.task.predictions, dict(zip(self.model.classes, self.labels, strict=True))
        for pool in pools(records, self.batch_size):
            answers = face.predict(self.model, rows_of(pool), self.batch_size, False)
            for record, values in zip(pool, answers, strict=True):
                self.seen += 1
                digest = _digest(record.text, record.pair)
                if digest in self.known:
                    self.own += 1
                    continue
                key = (
                    float(generator.random()) if self.request.strategy == "random" else self.task.answers.unsure(values)
                )
                yield key, digest, Guess(record.id, record.text, record.pair, labels[values[0]], float(values[1]))

    def tell(self, count: int) -> None:
        """Say which rows were left out, and whether there are fewer than wanted."""
        if self.own:
            notice(f"{self.own:,} of {self.seen:,} rows of the pool are rows of the run. They are left out.")
        if count < self.request.count:
            notice(f"The pool has {count:,} other texts, fewer than --most-useful {self.request.count:,}.")
