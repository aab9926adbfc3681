"""Compares rules for early stopping on rows that no rule sees.

    python benchmarks/early_stopping.py record courses --data tickets sst2-200 --seeds 0 1 2
    python benchmarks/early_stopping.py compare courses

A rule decides which epoch is kept and when training stops. `record` trains to the end of the schedule with the defaults
of `kerora fit` and without early stopping. It stores the logits of each epoch for two sets of rows. The rule decides on
the validation rows and is judged on the other held-out rows. Both sets come from the training part, and no test row is
read. With `--average`, the logits of the running average of the weights are stored too. `compare` applies every rule
to every recorded course and prints the mean score of the kept epochs. `--folder` has the data sets other than the
tickets.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras
import numpy as np
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from benchmarks.bfloat16 import FastBfloat16
from kerora.config import parse_assignment, resolve
from kerora.training.fit import assemble, make_loop
from kerora.training.loop import run_fit
from kerora.training.stopping import trainable_values


@dataclass(frozen=True)
class Source:
    """A data set: its file and columns, the number of rows for training and validation, and the rows for judging."""

    settings: dict[str, Any]
    rows: int
    judged: int


_AG = {"data.columns": ["class", "title", "description"], "data.label": "class", "data.text": ["title", "description"]}
SOURCES = {
    "tickets": Source({"data.source": "tickets"}, 977, 209),
    "ag-400": Source({"data.train": "ag_news_train.csv", **_AG}, 400, 400),
    "ag-2600": Source({"data.train": "ag_news_train.csv", **_AG}, 2600, 400),
    "sst2-200": Source({"data.train": "sst2_train.tsv"}, 200, 400),
    "sst2-1000": Source({"data.train": "sst2_train.tsv"}, 1000, 400),
    "sst2-3000": Source({"data.train": "sst2_train.tsv"}, 3000, 400),
    "banking-1000": Source({"data.train": "banking77_train.csv"}, 1000, 400),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("courses", type=Path)
    record.add_argument("--data", nargs="+", choices=SOURCES, default=list(SOURCES))
    record.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    record.add_argument("--folder", type=Path, default=Path())
    record.add_argument("--preset", default="kerora_mini_en")
    record.add_argument("--average", action="store_true", help="also predict with averaged weights: twice the time")
    record.add_argument("--bfloat16", action="store_true", help="round as hardware with bfloat16 does")
    record.add_argument("--set", dest="assignments", nargs="*", default=[], metavar="KEY=VALUE")
    compare = commands.add_parser("compare")
    compare.add_argument("courses", type=Path, nargs="+")
    options = parser.parse_args()
    record_all(options) if options.command == "record" else compare_all(options.courses)


def record_all(options: argparse.Namespace) -> None:
    """Train on every data set with every seed that is not recorded yet."""
    options.courses.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.data:
            path = options.courses / f"{name}-{seed}.npz"
            if not path.exists():
                course = record_one(options, SOURCES[name], seed)
                np.savez_compressed(path, **course)
                print(f"{path.name}: {len(course['validation'])} epochs", flush=True)


def record_one(options: argparse.Namespace, source: Source, seed: int) -> dict[str, np.ndarray]:
    """Train once. Return labels, and by epoch the logits of both held-out parts."""
    with tempfile.TemporaryDirectory() as folder:
        files = _write_parts(Path(folder), options.folder, source, seed)
        given: dict[str, Any] = {
            "model.preset": options.preset,
            "training.seed": seed,
            "training.early_stopping": False,
        }
        for text in options.assignments:
            given |= parse_assignment(text)
        config = resolve({**files, "data.label": "label", "data.text": ["text"], **given})
        if options.bfloat16:
            config = replace(config, model=replace(config.model, precision="bfloat16"))
        with FastBfloat16() if options.bfloat16 else contextlib.nullcontext():
            parts = assemble(config)
            loop = make_loop(parts)
            recorder = Recorder(parts.dataset, options.average)
            run_fit(parts.model, loop.batches, loop.epochs, None, [*loop.callbacks, recorder])
    return recorder.course()


class Recorder(keras.callbacks.Callback):
    """Store the logits of each epoch, for the weights and, if wanted, for their average over about one epoch."""

    def __init__(self, dataset: Any, averages: bool) -> None:
        super().__init__()
        self.dataset = dataset
        self.averages = averages
        self.found: dict[str, list[np.ndarray]] = {}
        self.average: list[np.ndarray] | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Update the average."""
        if not self.averages:
            return
        values = trainable_values(self.model)
        share = 1 / self.params["steps"]
        old = values if self.average is None else self.average
        self.average = [before + share * (value - before) for before, value in zip(old, values, strict=True)]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Predict with the weights, and with the average."""
        self._predict("")
        if self.average is None:
            return
        variables = self.model.trainable_variables
        values = trainable_values(self.model)
        for variable, value in zip(variables, self.average, strict=True):
            variable.assign(value)
        self._predict("_average")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _predict(self, ending: str) -> None:
        for split in ("validation", "test"):
            logits = self.model.predict_logits(self.dataset[split], cache=True)
            self.found.setdefault(split + ending, []).append(logits.astype(np.float32))

    def course(self) -> dict[str, np.ndarray]:
        """Return everything as arrays: logits (epochs, rows, classes), labels (rows,)."""
        labels = {f"{split}_labels": np.asarray(self.dataset[split].targets) for split in ("validation", "test")}
        return {**{name: np.stack(parts) for name, parts in self.found.items()}, **labels}


def _write_parts(target: Path, folder: Path, source: Source, seed: int) -> dict[str, Any]:
    """Cut the training part into rows for training, for the decision and for judging, and write a file of each."""
    settings = {key: str(folder / value) if key == "data.train" else value for key, value in source.settings.items()}
    dataset = kerora.load_dataset(resolve({**settings, "data.validation_split": 0.0}).data, seed=0)
    train = dataset["train"]
    rows = [(text, dataset.classes[number]) for text, number in zip(train.texts, train.targets, strict=True)]
    if settings.get("data.source") == "tickets":
        held = dataset["validation"]
        judged = [(text, dataset.classes[number]) for text, number in zip(held.texts, held.targets, strict=True)]
        share = source.judged / len(rows)
    else:
        chosen, judged = _split(rows, source.judged, seed)
        rows = _split(chosen, source.rows, seed)[1] if source.rows < len(chosen) else chosen
        share = 0.1
    rows, decided = _split(rows, max(2, round(share * len(rows))), seed + 1000)
    files = {"data.train": rows, "data.validation": decided, "data.test": judged}
    for key, part in files.items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in part]
        (target / f"{key}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return {key: str(target / f"{key}.jsonl") for key in files}


def _split(rows: list[Any], size: int, seed: int) -> tuple[list[Any], list[Any]]:
    labels = [label for _, label in rows]
    few = min(labels.count(label) for label in set(labels)) < 2 or size < len(set(labels))
    return train_test_split(rows, test_size=size, random_state=seed, stratify=None if few else labels)


Rule = Callable[["Course"], tuple[int, int]]


@dataclass(frozen=True)
class Course:
    """The validation scores of a course by epoch: macro F1, and for each row the loss and whether it is correct."""

    f1: np.ndarray
    losses: np.ndarray
    right: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """Mean loss by epoch."""
        return self.losses.mean(axis=1)

    @property
    def epochs(self) -> int:
        """Epochs of the course."""
        return len(self.f1)


def _course(logits: np.ndarray, labels: np.ndarray) -> Course:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    losses = -log_probabilities[:, np.arange(len(labels)), labels]
    predicted = logits.argmax(axis=-1)
    f1 = np.array([f1_score(labels, row, average="macro", zero_division=0) for row in predicted])
    return Course(f1, losses, predicted == labels)


def _patient(scores: np.ndarray, patience: int) -> tuple[int, int]:
    """Return the kept epoch and the number of trained epochs for the rule "best value with patience"."""
    best = 0
    for epoch in range(1, len(scores)):
        if scores[epoch] > scores[best]:
            best = epoch
        elif epoch - best >= patience:
            return best, epoch + 1
    return best, len(scores)


def _single_error(course: Course, epoch: int) -> float:
    """Return the standard error of the accuracy of an epoch, as that of a proportion."""
    share = float(course.right[epoch].mean())
    return float(np.sqrt(max(share * (1 - share), 1e-9) / course.right.shape[1]))


def _loss_error(course: Course, epoch: int) -> float:
    return float(course.losses[epoch].std() / np.sqrt(course.losses.shape[1]))


def _within_error(
    course: Course, width: float, patience: int, choice: str = "newest", loss_width: float | None = None
) -> tuple[int, int]:
    """Keep the newest epoch, or the one with the least loss, whose F1 is within `width` standard errors of the best."""
    best = kept = lowest = 0
    for epoch in range(1, course.epochs):
        best = epoch if course.f1[epoch] > course.f1[best] else best
        lowest = epoch if course.loss[epoch] < course.loss[lowest] else lowest
        floor = course.f1[best] - width * _single_error(course, best)
        good = course.f1[epoch] >= floor
        if loss_width is not None:
            good &= course.loss[epoch] <= course.loss[lowest] + loss_width * _loss_error(course, lowest)
        fallen = course.f1[kept] < floor
        if good and (choice == "newest" or course.loss[epoch] < course.loss[kept] or fallen):
            kept = epoch
        elif epoch - kept >= patience:
            return kept, epoch + 1
    return kept, course.epochs


def rules() -> dict[str, Rule]:
    """Return the compared rules by name. A rule is a function: course -> kept epoch, number of trained epochs."""
    found: dict[str, Rule] = {
        "best F1, patience 4": lambda course: _patient(course.f1, 4),
        "best F1, to the end": lambda course: _patient(course.f1, 99),
        "best loss, patience 4": lambda course: _patient(-course.loss, 4),
        "best loss, to the end": lambda course: _patient(-course.loss, 99),
        "last": lambda course: (course.epochs - 1, course.epochs),
    }
    for width in (0.5, 1.0, 2.0):
        name = f"within {width:g} SE"
        found[f"newest {name}"] = lambda course, w=width: _within_error(course, w, 4)
        found[f"least loss {name}"] = lambda course, w=width: _within_error(course, w, 4, "loss")
        for other in (1.0, 2.0):
            found[f"newest {name}, loss {other:g}"] = lambda course, w=width, v=other: _within_error(
                course, w, 4, "newest", v
            )
    return found


def compare_all(folders: list[Path]) -> None:
    """Print for each rule the mean macro F1 on the judged rows by data set, and the share of trained epochs."""
    names = sorted({path.stem.rpartition("-")[0] for folder in folders for path in folder.glob("*.npz")})
    table: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.npz")):
        for rule, score, trained in _scores(path):
            table.setdefault(rule, {}).setdefault(path.stem.rpartition("-")[0], []).append((score, trained))
    counts = [len(next(iter(table.values()))[name]) for name in names]
    print(
        "  ".join(
            [
                f"{'rule':40}",
                *(f"{f'{name} ({count})':>20}" for name, count in zip(names, counts, strict=True)),
                "epochs",
            ]
        )
    )
    for rule, by_name in table.items():
        cells = [np.array(by_name[name]) for name in names]
        means = [f"{f'{100 * cell[:, 0].mean():.2f} (min {100 * cell[:, 0].min():.1f})':>20}" for cell in cells]
        print("  ".join([f"{rule:40}", *means, f"{np.mean([cell[:, 1].mean() for cell in cells]):6.2f}"]))


def _scores(path: Path) -> Iterator[tuple[str, float, float]]:
    """Yield rule, macro F1 on the judged rows and share of trained epochs."""
    with np.load(path) as arrays:
        for ending in ("", "_average"):
            # only courses with --average hold it
            if f"validation{ending}" not in arrays:
                continue
            course = _course(arrays[f"validation{ending}"], arrays["validation_labels"])
            judged = _course(arrays[f"test{ending}"], arrays["test_labels"])
            for name, rule in rules().items():
                kept, trained = rule(course)
                yield (f"average: {name}" if ending else name), float(judged.f1[kept]), trained / course.epochs


if __name__ == "__main__":
    main()
