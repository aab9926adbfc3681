"""Records what every command writes on tiny presets, and compares a later state of the code with it.

A change that moves code must not change results. Record before the first move, compare after each:

    python -m tests.golden record /tmp/golden.json
    python -m tests.golden compare /tmp/golden.json

Both run the commands in a new folder, with relative paths and one thread, so that equal code gives equal files on
the same machine. The record is one JSON file: `commands` holds what each command printed, `files` a fingerprint of
each file that it wrote. The fingerprint is the content itself for metrics.json, verification.json and labels.json,
the sha256 of each tensor for HDF5 files, and otherwise the sha256 of the file. Before that, times, memory and
identifiers that are drawn at random are taken out (see `VOLATILE`, `TIMES` and `MASKED`). ZIP archives, databases and
checkpoints are left out: the resumed run shows whether a checkpoint holds what it must.

What is recorded: a default classification fit, a fit that is interrupted and resumed, a language model on turns,
pre-training with masked and with next tokens, evaluate, report of one and of two runs, predict, generate, every
format of export, merge, import of the PEFT export, data show and save, and a small study with its refit.

`compare` prints each difference and exits with 1 where there is one. It takes about 75 seconds on one core.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import h5py
import numpy as np

from kerora.cli.main import run as kerora
from kerora.training.checkpoint import Checkpointer
from tests.tiny import WORDS, tiny_huggingface, tiny_keras_preset

GOOD = ("great", "wonderful", "love", "best", "excellent")
BAD = ("terrible", "awful", "boring", "worst", "hate")
FORMATS = ("peft", "keras", "transformers", "onnx", "kerora")

VOLATILE = (
    "seconds",
    "memory",
    "time",
    "started",
    "finished",
    "ended",
    "pid",
    "process",
    "per_second",
    "date",
    "worker",
)
"""Keys of JSON files and columns of CSV files that hold one of these words are left out."""
IDENTIFIERS = ("directory", "working_directory", "argv", "versions", "host")
"""Keys of JSON files that name the machine."""
TIMES = re.compile(r"\d+(\.\d+)?(?= ?(s|ms|min|h|seconds?|minutes?|tokens/s|MB)\b)|\d{4}-\d\d-\d\d[T ][\d:.+]+")
"""Durations and times of day in a text."""
MASKED = re.compile(r"(?<=id=\")[\w.-]+|(?<=#)[mp][0-9a-f]{10}\b|kerora-golden-\w+")
"""Identifiers that are drawn at random, such as those inside an SVG figure."""
TABLES = re.compile(r"<table.*?</table>", re.DOTALL)
VALUES = ("metrics.json", "verification.json", "labels.json")
LEFT_OUT = (".zip", ".keras", ".db", ".png", ".lock")


def main(arguments: list[str]) -> int:
    """Record or compare, and return the exit code."""
    if len(arguments) != 2 or arguments[0] not in ("record", "compare"):
        print("Usage: python -m tests.golden record|compare FILE", file=sys.stderr)
        return 2
    path = Path(arguments[1]).resolve()
    with in_new_folder():
        found = recorded()
    if arguments[0] == "record":
        path.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"Recorded {len(found['files'])} files of {len(found['commands'])} commands.")
        return 0
    differences = list(compared(json.loads(path.read_text(encoding="utf-8")), found))
    print("\n".join(differences) or f"Equal: {len(found['files'])} files of {len(found['commands'])} commands.")
    return int(bool(differences))


@contextlib.contextmanager
def in_new_folder() -> Iterator[None]:
    """Work in a new folder, with caches of its own."""
    with tempfile.TemporaryDirectory(prefix="kerora-golden-") as folder, contextlib.chdir(folder):
        for name in ("KERORA_CACHE", "KAGGLEHUB_CACHE", "HF_HOME"):
            os.environ[name] = str(Path(folder) / "caches" / name.lower())
        yield


class Record:
    """What the commands printed and wrote."""

    def __init__(self) -> None:
        self.commands: dict[str, Any] = {}

    def call(self, command: str, code: int = 0) -> None:
        """Run a command and keep what it printed.

        Raises:
            RuntimeError: the exit code is another one.
        """
        started = time.perf_counter()
        printed, errors = io.StringIO(), io.StringIO()
        sys.argv = ["kerora", *command.split()]  # a run keeps the command line
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            found = kerora(command.split())
        if found != code:
            raise RuntimeError(f"kerora {command}: exit code {found}.\n{printed.getvalue()}{errors.getvalue()}")
        self.commands[command] = without_times_in(printed.getvalue())
        print(f"{time.perf_counter() - started:6.1f} s  kerora {command}", file=sys.stderr)


def recorded() -> dict[str, Any]:
    """Run every command and return what came out."""
    write_inputs()
    record = Record()
    for part in (classification, language, pretraining, data, study):
        part(record)
    files = sorted(path for path in Path(".").rglob("*") if path.is_file() and is_recorded(path))
    return {"commands": record.commands, "files": {path.as_posix(): fingerprint(path) for path in files}}


def is_recorded(path: Path) -> bool:
    """Say whether a file is a result with a fingerprint."""
    return path.parts[0] not in ("presets", "caches", "inputs") and (
        path.suffix not in LEFT_OUT and "checkpoints" not in path.parts
    )


def write_inputs() -> None:
    """Write presets and data."""
    tiny_keras_preset("distil_bert", Path("presets/encoder"))
    tiny_huggingface("gpt2", Path("presets/gpt2"), task="LMHeadModel", initializer_range=0.4)
    Path("inputs").mkdir()
    write_lines("rows.jsonl", labelled_rows(96, seed=0))
    write_lines("more.jsonl", labelled_rows(24, seed=1))
    write_lines("chat.jsonl", [{"turns": [WORDS[at + step] for step in range(4)]} for at in range(60)])
    write_lines("prompts.jsonl", [{"prompt": " ".join(WORDS[at : at + 3])} for at in range(6)])
    write_lines("text.jsonl", [{"text": " ".join(WORDS[at : at + 12])} for at in range(200)])


def write_lines(name: str, rows: list[dict[str, Any]]) -> None:
    """Write a JSON Lines file of input."""
    Path("inputs", name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def labelled_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Return texts with good or bad words among neutral ones."""
    draws = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words, label = (GOOD, "good") if number % 2 else (BAD, "bad")
        text = [*draws.choice(["the", "was", "my", "order", "story", "plot"], draws.integers(1, 9))]
        rows.append({"text": " ".join([*text, *draws.choice(words, 3)]), "label": label})
    return rows


SMALL = "--precision float32 --max-length 24 --batch-size 8"


def classification(record: Record) -> None:
    """Record everything that a classifier's run can do."""
    fit = f"fit --preset presets/encoder --data inputs/rows.jsonl --epochs 2 --test-split 0.2 {SMALL} --quiet"
    record.call(f"{fit} --run runs/classes --json")
    record.call(f"{fit} --run runs/other --seed 7 --dropout 0.1 --targets all-linear --logging-steps 3")
    with stopping_after(5):
        record.call(f"{fit} --run runs/resumed --save-steps 3", code=130)
    record.call("fit --resume runs/resumed --quiet")
    record.call("evaluate runs/classes --data inputs/more.jsonl --json")
    record.call("report runs/classes --json")
    record.call("report runs/classes runs/other --output comparison.html")
    for output in ("predicted.csv", "predicted.jsonl"):
        record.call(f"predict runs/classes inputs/more.jsonl --output {output}")
    exchanged(record, "classes", "presets/encoder", "inputs/rows.jsonl")
    record.call("predict runs/classes-imported inputs/more.jsonl --output predicted-imported.csv")


def exchanged(record: Record, name: str, preset: str, rows: str, task: str = "classification") -> None:
    """Record every export of a run, its merge with another, and the import of its PEFT export."""
    for form in FORMATS:
        record.call(f"export runs/{name} --format {form} --output exports/{name}-{form}")
    record.call(f"merge runs/{name} runs/other{'-chat' * (task != 'classification')} --output exports/{name}-merged")
    imported = f"import --peft exports/{name}-peft --output runs/{name}-imported --preset {preset} --data {rows}"
    record.call(f"{imported} --max-length 24 --precision float32")


def language(record: Record) -> None:
    """Record everything that a language model's run can do, on turns."""
    fit = f"fit --task causal-lm --preset presets/gpt2 --data inputs/chat.jsonl --targets c_attn,c_proj {SMALL} --quiet"
    record.call(f"{fit} --run runs/chat --epochs 2 --test-split 0.1 --json")
    record.call(f"{fit} --run runs/other-chat --max-steps 4 --test-split 0.1 --seed 7 --logging-steps 2 --pack blocks")
    record.call("evaluate runs/chat --data inputs/chat.jsonl --json")
    record.call("report runs/chat --json")
    record.call("report runs/chat runs/other-chat --output comparison-chat.html")
    prompts = "generate runs/chat --prompts inputs/prompts.jsonl --max-tokens 8"
    record.call(f"{prompts} --output generated.jsonl")
    record.call(f"{prompts} --temperature 0.8 --n 2 --output sampled.jsonl")
    exchanged(record, "chat", "presets/gpt2", "inputs/chat.jsonl", "causal-lm")


def pretraining(record: Record) -> None:
    """Record a pre-training of each objective, and a continued one."""
    sizes = "--layers 1 --width 32 --heads 2 --intermediate 64 --holdout 0.1 --epochs 2 --learning-rate 0.01"
    pretrain = f"pretrain --text inputs/text.jsonl {SMALL} --quiet"
    record.call(f"{pretrain} {sizes} --vocabulary-size 120 --output pretrained/mlm")
    record.call(f"{pretrain} {sizes} --objective clm --vocabulary-size 300 --output pretrained/clm")
    taught = "--teacher presets/encoder --teacher-words 1 --epochs 1 --short-rows 0.2"
    record.call(f"{pretrain} --init pretrained/mlm {taught} --output pretrained/taught")


def data(record: Record) -> None:
    """Record what is shown and saved of data."""
    for name, task in (("rows", ""), ("chat", " --task causal-lm")):
        record.call(f"data show inputs/{name}.jsonl{task}")
        record.call(f"data show inputs/{name}.jsonl{task} --json")
        record.call(f"data save inputs/{name}.jsonl saved/{name}{task}")


def study(record: Record) -> None:
    """Record a small study with its refit."""
    fit = f"--preset presets/encoder --data inputs/rows.jsonl --epochs 2 --test-split 0.2 {SMALL}"
    record.call(f"tune {fit} --trials 3 --study studies/small --refit --quiet")


@contextlib.contextmanager
def stopping_after(updates: int) -> Iterator[None]:
    """Send SIGINT to this process once a training has done so many updates."""
    original: Callable[..., None] = Checkpointer.on_train_batch_end

    def on_train_batch_end(self: Checkpointer, batch: int, logs: Any = None) -> None:
        if self._updates() == updates and not self.interrupt.raised:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        original(self, batch, logs)

    Checkpointer.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
    try:
        yield
    finally:
        Checkpointer.on_train_batch_end = original  # type: ignore[method-assign]


def fingerprint(path: Path) -> Any:
    """Return what stands for a file's content."""
    if path.suffix == ".h5":
        return tensors_of(path)
    if path.suffix == ".json":
        value = without_times(json.loads(path.read_text(encoding="utf-8")))
        return value if path.name in VALUES else digest(json.dumps(value))
    if path.suffix == ".csv":
        return digest(json.dumps(table_of(path)))
    try:
        return digest(masked(without_timed_tables(path.read_text(encoding="utf-8"))))
    except UnicodeDecodeError:
        return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def masked(text: str) -> str:
    """Return a text without times and random identifiers."""
    return TIMES.sub("TIME", MASKED.sub("NAME", text))


def without_times_in(printed: str) -> Any:
    """Return what a command printed, as a value where it is JSON, without what differs from run to run."""
    return without_times(json.loads(printed)) if printed.startswith("{") else masked(printed)


def without_timed_tables(page: str) -> str:
    """Return a report's page without the tables that hold times."""
    return TABLES.sub(lambda table: "" if any(word in table[0].lower() for word in VOLATILE) else table[0], page)


def is_volatile(key: str) -> bool:
    """Say whether the values of a key differ from run to run."""
    return key in IDENTIFIERS or any(word in key for word in VOLATILE)


def without_times(value: Any) -> Any:
    """Return a JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not is_volatile(key)}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def table_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file without the columns that hold times."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{key: value for key, value in row.items() if not is_volatile(key)} for row in csv.DictReader(stream)]


def tensors_of(path: Path) -> dict[str, str]:
    """Return the sha256 of each tensor of an HDF5 file."""
    found: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = hashlib.sha256(np.ascontiguousarray(item[()]).tobytes()).hexdigest()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def compared(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Yield a line for each difference."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from compared(before.get(key), after.get(key), f"{place} {key}")
    elif before != after:
        shown = (repr(value)[:300] for value in (before, after))
        yield f"{place.strip()}: {' -> '.join(shown)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
