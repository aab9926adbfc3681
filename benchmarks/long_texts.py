"""Compares ways to read long texts: IMDb reviews that are longer than the model reads.

    python benchmarks/long_texts.py run results.jsonl --folder DATA --preset minilm --seeds 0 1 2
    python benchmarks/long_texts.py table results.jsonl

`--folder` has imdb_train.jsonl.gz and imdb_validation.jsonl.gz, with the columns text and label. Of both, reviews of
more than `--longer-than` tokens are taken, the same for all ways and seeds. Each way is a run of `kerora fit` with its
defaults, scored on the validation reviews. Early stopping is off, so no epoch is chosen on them. `run` appends a line
for each finished run and skips those that the file has, so it can be stopped and started again. `table` prints the mean
and the range over the seeds, and the difference to `cut-end` in the same seeds.
"""

import argparse
import gzip
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kerora
from kerora.models.presets import find_preset

WAYS: dict[str, dict[str, Any]] = {
    "cut-end": {"long": "cut-end"},
    "cut-left": {"long": "cut-end", "truncate": "left"},
    "cut-middle": {"long": "cut-middle"},
    "windows": {"long": "windows"},
    "windows-max": {"long": "windows", "pool": "max"},
}
DEFAULT_WAYS = ("cut-end", "cut-middle", "windows")
FIXED = ("preset", "max_length", "train_rows", "validation_rows", "longer_than", "epochs")
"""The arguments that runs of one table share."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and score")
    run.add_argument("results", type=Path)
    run.add_argument("--folder", type=Path, required=True, help="folder of the data")
    run.add_argument("--preset", default="minilm")
    run.add_argument("--ways", nargs="+", choices=WAYS, default=DEFAULT_WAYS)
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument("--max-length", type=int, default=256)
    run.add_argument("--longer-than", type=int, default=256, help="tokens of the shortest review")
    run.add_argument("--train-rows", type=int, default=600)
    run.add_argument("--validation-rows", type=int, default=400)
    run.add_argument("--epochs", type=int, default=3)
    table = commands.add_parser("table", help="print the results")
    table.add_argument("results", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "run":
        run_all(arguments)
    else:
        print_table(read(arguments.results))


def run_all(arguments: argparse.Namespace) -> None:
    """Train what the file of results lacks."""
    fixed = {name: getattr(arguments, name) for name in FIXED}
    done = {(line["way"], line["seed"]) for line in read(arguments.results) if line["fixed"] == fixed}
    # seeds outside: after a stop, each finished seed has all ways
    missing = [(way, seed) for seed in arguments.seeds for way in arguments.ways if (way, seed) not in done]
    if not missing:
        return
    tokenizer = find_preset(arguments.preset).load_tokenizer()
    parts = {
        part: long_reviews(arguments.folder / f"imdb_{part}.jsonl.gz", tokenizer, arguments.longer_than, count)
        for part, count in (("train", arguments.train_rows), ("validation", arguments.validation_rows))
    }
    for way, seed in missing:
        line = {"way": way, "seed": seed, **one_run(parts, WAYS[way], seed, fixed), "fixed": fixed}
        with arguments.results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(f"{way:12} seed {seed}  accuracy {line['accuracy']:.4f}  {line['seconds']:.0f} s", flush=True)


def long_reviews(path: Path, tokenizer: Any, longer_than: int, count: int) -> dict[str, list[str]]:
    """Return the first reviews of each class that are long, half of `count` for each class."""
    wanted = {"0": count // 2, "1": count - count // 2}
    found: dict[str, list[str]] = {"text": [], "label": []}
    for text, label in reviews(path):
        if wanted.get(label, 0) and len(text) > longer_than and tokenizer.lengths([text])[0] > longer_than:
            wanted[label] -= 1
            found["text"].append(text)
            found["label"].append(label)
        if not any(wanted.values()):
            return found
    raise SystemExit(f"{path} has too few reviews of more than {longer_than} tokens: {wanted} are missing.")


def reviews(path: Path) -> Iterator[tuple[str, str]]:
    """Yield texts and labels, 0 or 1."""
    numbers = {"neg": "0", "pos": "1", "negative": "0", "positive": "1"}
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            yield row["text"], numbers.get(str(row["label"]), str(row["label"]))


def one_run(parts: dict[str, Any], way: dict[str, Any], seed: int, fixed: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy and time of a fit."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes about cut texts are the subject here
        started = time.perf_counter()
        result = kerora.fit(
            train=parts["train"],
            validation=parts["validation"],
            preset=fixed["preset"],
            max_length=fixed["max_length"],
            epochs=fixed["epochs"],
            early_stopping=False,
            seed=seed,
            runs_dir=folder,
            **way,
        )
        after = result.metrics["after"]["validation"]
        return {
            "accuracy": after["accuracy"],
            "macro_f1": after["macro_f1"],
            "loss": after["loss"],
            "seconds": time.perf_counter() - started,
        }


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results. A file that does not exist has none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print a table for each set of shared arguments."""
    for fixed in list({json.dumps(line["fixed"], sort_keys=True): line["fixed"] for line in lines}.values()):
        of_table = [line for line in lines if line["fixed"] == fixed]
        scores: dict[str, dict[int, dict[str, Any]]] = {}
        for line in of_table:
            scores.setdefault(line["way"], {})[line["seed"]] = line
        print(", ".join(f"{name} {value}" for name, value in fixed.items()))
        print("| way | seeds | accuracy, mean (range) | points against cut-end | seconds |")
        print("|---|---:|---:|---:|---:|")
        for way, by_seed in scores.items():
            print(row_of(way, by_seed, scores.get("cut-end", {})))
        print()


def row_of(way: str, by_seed: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """Return the row of a way."""
    values = [line["accuracy"] for line in by_seed.values()]
    paired = [100 * (by_seed[seed]["accuracy"] - base[seed]["accuracy"]) for seed in by_seed if seed in base]
    against = (
        "-" if way == "cut-end" or not paired else f"{np.mean(paired):+.2f} ({min(paired):+.2f} to {max(paired):+.2f})"
    )
    seconds = np.mean([line["seconds"] for line in by_seed.values()])
    spread = f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
    return f"| {way} | {len(values)} | {spread} | {against} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
