"""What helps with few labels: each method against doing nothing, on a few rows a class of the bundled messages.

    python benchmarks/few_labels.py --rows 8 32 --seeds 2

Every method has the default settings of `kerora fit` beside its own. The rows of a seed are the same for all methods.
There are no validation rows: with few labels all are for training, and the last epoch counts. The accuracy is that on
the whole test part. The seconds are those of the training with the loading left out, because all methods share it.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from kerora.config import FitConfig, resolve
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_dataset
from kerora.tuning.workbench import Workbench

METHODS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no masking": {"training.mask_share": 0.0},
    "mask": {"training.augment": "mask"},
    "cutoff": {"training.augment": "cutoff"},
    "aeda": {"training.augment": "aeda"},
    "swap": {"training.augment": "swap"},
    "rdrop": {"training.consistency": "rdrop"},
    "contrastive": {"training.start": "contrastive"},
}


def sample(rows: Rows[int], count: int, seed: int) -> Rows[int]:
    """Return `count` random rows of each class."""
    labels, generator = np.asarray(rows.targets), np.random.default_rng(seed)
    chosen = [generator.permutation(np.flatnonzero(labels == number))[:count] for number in np.unique(labels)]
    return rows.take(np.sort(np.concatenate(chosen)).tolist())


def accuracy(bench: Workbench, config: FitConfig, rows: Rows[int], test: Rows[int]) -> tuple[float, float]:
    """Return the accuracy on the test rows, and the seconds of the training."""
    dataset: Dataset[Any] = dataclasses.replace(bench.data, splits={"train": rows})
    started = time.perf_counter()

    def look(model: Any) -> tuple[float, float]:
        seconds = time.perf_counter() - started
        found = model.predict_logits(test).argmax(axis=1)
        return float((found == np.asarray(test.targets)).mean()), seconds

    return bench.trained(config, dataset, look)


def tfidf(rows: Rows[int], test: Rows[int]) -> tuple[float, float]:
    """Return accuracy and seconds of TF-IDF of words and word pairs with logistic regression."""
    started = time.perf_counter()
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors.fit_transform(rows.texts), rows.targets)
    found = model.predict(vectors.transform(test.texts))
    return float((found == np.asarray(test.targets)).mean()), time.perf_counter() - started


def measure(arguments: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return one result for each method, number of rows and seed."""
    dataset = load_dataset({"source": arguments.data})
    settings = {"data.source": arguments.data, "model.preset": arguments.preset, "training.calibrate": False}
    base = resolve(settings, {"training.early_stopping": False})
    bench = Workbench(base, dataset)
    results = []
    for count in arguments.rows:
        for seed in range(arguments.seeds):
            rows = sample(dataset["train"], count, seed)
            for name in (*METHODS, "tfidf"):
                config = resolve(
                    settings, {"training.early_stopping": False, "training.seed": seed}, METHODS.get(name, {})
                )
                value, seconds = (
                    tfidf(rows, dataset["test"]) if name == "tfidf" else accuracy(bench, config, rows, dataset["test"])
                )
                results.append({"rows": count, "seed": seed, "method": name, "accuracy": value, "seconds": seconds})
                say(json.dumps(results[-1]))
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the mean accuracy by method and number of rows as Markdown."""
    counts = sorted({result["rows"] for result in results})
    head = " | ".join(f"{count} rows a class | seconds" for count in counts)
    lines = [f"| method | {head} |", "|---|" + "---|---|" * len(counts)]
    for name in dict.fromkeys(result["method"] for result in results):
        cells = []
        for count in counts:
            own = [result for result in results if (result["method"], result["rows"]) == (name, count)]
            values = [result["accuracy"] for result in own]
            spread = f"{min(values):.3f} to {max(values):.3f}"
            cells.append(f"{np.mean(values):.3f} ({spread}) | {np.mean([result['seconds'] for result in own]):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="tickets", help="labelled data with a test part")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 32], help="rows a class")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="file for all results as JSON")
    arguments = parser.parse_args()
    results = measure(arguments, lambda text: print(text, flush=True))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
