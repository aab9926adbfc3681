"""Measures the default learning rate and the default number of epochs.

    python benchmarks/defaults.py --preset path/to/all-MiniLM-L6-v2 --rates 1e-3 2e-3 4e-3

Trains on a data set at each learning rate, with defaults for all other settings. The data set is the bundled
tickets, or any value of `kerora fit --data`. Prints the validation macro F1 by epoch, the test macro F1 and the
training time. --set changes other settings, for example --set data.subset=2000.
"""

import argparse
import tempfile
from typing import Any

import kerora
from kerora.config import parse_assignment, resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--rates", nargs="+", type=float, default=[5e-4, 1e-3, 2e-3, 4e-3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--set", dest="assignments", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    given: list[dict[str, Any]] = [parse_assignment(text) for text in options.assignments]
    print("rate      seed  epochs  best validation F1  test F1  training s  validation F1 by epoch")
    for rate in options.rates:
        for seed in options.seeds:
            print(_line(options.preset, options.data, rate, seed, given), flush=True)


def _line(preset: str, data: str, rate: float, seed: int, given: list[dict[str, Any]]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        base = {"model.preset": preset, "data.source": data, "runs_dir": folder}
        training = {"training.learning_rate": rate, "training.seed": seed}
        result = kerora.fit(resolve(base, training, *given))
    scores = [row["val_macro_f1"] for row in result.history]
    test = result.metrics["after"].get("test", {}).get("macro_f1", float("nan"))
    course = " ".join(f"{score:.3f}" for score in scores)
    facts = f"{len(scores):6}  {max(scores):18.4f}  {test:7.4f}  {result.seconds:10.1f}  {course}"
    return f"{rate:<8.0e}  {seed:4}  {facts}"


if __name__ == "__main__":
    main()
