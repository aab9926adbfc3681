"""Measures what the temperature does for the calibration error (ECE) of the test rows.

    python benchmarks/calibration.py --seeds 1 2 3
    python benchmarks/calibration.py --data train.csv --test test.csv --seeds 1 2 3 --set data.subset=2000

Trains on a data set with each seed, with defaults for all other settings. Prints the temperature, and ECE and loss of
the test rows without and with it. "by chance" is the mean ECE of 1,000 draws of labels with exactly the probabilities
of the run: that of perfect calibration on so many rows.
"""

import argparse
import tempfile
from typing import Any

import numpy as np

import kerora
from kerora.config import parse_assignment, resolve
from kerora.evaluation.metrics import calibration
from kerora.runfolder import RunFolder
from kerora.runs.results import read_results

DRAWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--test", default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", dest="assignments", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    given: list[dict[str, Any]] = [parse_assignment(text) for text in options.assignments]
    print("seed  temperature  ECE without  ECE with  by chance  loss without  loss with")
    for seed in options.seeds:
        base = {"model.preset": options.preset, "data.source": options.data, "data.test": options.test}
        with tempfile.TemporaryDirectory() as folder:
            result = kerora.fit(resolve(base, {"training.seed": seed, "runs_dir": folder}, *given))
            print(line_of(seed, result.run), flush=True)


def line_of(seed: int, run: RunFolder) -> str:
    """Return the line of a finished run."""
    split: Any = read_results(run).split("test")  # type: ignore[attr-defined]
    metrics = split.recorded
    ece, loss = (metrics.get(f"{name}_uncalibrated", metrics[name]) for name in ("ece", "loss"))
    chance = by_chance(split.probabilities, split.predicted)
    errors = f"{ece:11.4f}  {metrics['ece']:8.4f}  {chance:9.4f}"
    return f"{seed:4}  {split.temperature:11.3f}  {errors}  {loss:12.4f}  {metrics['loss']:9.4f}"


def by_chance(probabilities: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean ECE if the probabilities (rows, classes) of the predicted classes (rows,) are exactly right."""
    generator = np.random.default_rng(0)
    right = probabilities[np.arange(len(predicted)), predicted]
    # only whether the prediction is right matters for the error; -1 is no class
    draws = (np.where(generator.random(len(right)) < right, predicted, -1) for _ in range(DRAWS))
    return float(np.mean([calibration(labels, probabilities, predicted).error for labels in draws]))


if __name__ == "__main__":
    main()
