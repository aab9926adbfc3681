"""How many flipped labels does `kerora clean` find? Labels of the bundled messages are flipped at random.

    python benchmarks/clean.py --rows 300 --share 0.1 --epochs 6

The precision is the share of flipped rows among the most suspicious rows, as many as were flipped.
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from kerora.cleaning.clean import clean
from kerora.config import resolve
from kerora.data.sources import load_dataset


def main() -> None:
    """Flip, clean and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--rows", type=int, default=300, help="the first training rows")
    parser.add_argument("--share", type=float, default=0.1, help="share of the labels that are flipped")
    parser.add_argument("--epochs", type=int, help="default: that of kerora fit")
    parser.add_argument("--seed", type=int, default=0, help="seed of the flips")
    arguments = parser.parse_args()
    dataset = load_dataset("tickets")
    rows = dataset["train"].take(range(min(arguments.rows, len(dataset["train"]))))
    generator = np.random.default_rng(arguments.seed)
    flipped = set(generator.permutation(len(rows))[: round(arguments.share * len(rows))].tolist())
    with tempfile.TemporaryDirectory() as name:
        file, lines = Path(name) / "noisy.jsonl", []
        for place, row in enumerate(rows.objects(dataset.classes)):
            others = [label for label in dataset.classes if label != row["label"]]
            label = others[generator.integers(len(others))] if place in flipped else row["label"]
            lines.append(json.dumps({"text": row["text"], "label": label}))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        config = resolve(
            {"data.source": str(file), "model.preset": arguments.preset, "training.epochs": arguments.epochs}
        )
        started = time.perf_counter()
        found = clean(config, Path(name) / "clean", say=print)
        with (Path(name) / "clean" / "suspicions.csv").open(newline="", encoding="utf-8") as stream:
            table = list(csv.DictReader(stream))
    top = sum(int(row["row"]) - 1 in flipped for row in table[: len(flipped)])
    caught = sum(int(row["row"]) - 1 in flipped for row in table if "wrong label" in row["reasons"])
    print(f"{top} of the {len(flipped)} most suspicious rows are flipped ({top / len(flipped):.0%})")
    print(f"{found.wrong} labels are called wrong, with {caught} of the {len(flipped)} flipped ones")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
