"""Do labels of uncertain rows help more than labels of random rows? A simulation with known labels.

    python benchmarks/active.py --start 48 --step 48 --rounds 3 --seeds 2

Each round trains a new adapter on the labelled rows, measures it on the test part, and chooses the next rows of the
pool with the code of `kerora predict --most-useful`. Both strategies begin with the same random rows. There are no
validation rows, and the last epoch counts.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from kerora.config import resolve
from kerora.data.extract import Record
from kerora.data.rows import Rows
from kerora.data.sources import load_dataset
from kerora.runs.useful import STRATEGIES, Chooser, Request
from kerora.tuning.workbench import Workbench


def curve(
    bench: Workbench, pool: Rows[int], test: Rows[int], strategy: str, seed: int, arguments: argparse.Namespace
) -> list[tuple[int, float]]:
    """Return the number of labelled rows and the test accuracy of each round."""
    generator = np.random.default_rng(seed)
    labelled = generator.permutation(len(pool))[: arguments.start].tolist()
    config = dataclasses.replace(
        bench.config, training=dataclasses.replace(bench.config.training, early_stopping=False, seed=seed)
    )
    found = []
    for number in range(arguments.rounds):
        dataset: Any = dataclasses.replace(bench.data, splits={"train": pool.take(sorted(labelled))})
        others = sorted(set(range(len(pool))) - set(labelled))
        last = number + 1 == arguments.rounds

        def look(model: Any, others: list[int] = others, last: bool = last) -> tuple[float, list[int]]:
            answers = model.predict_logits(test).argmax(axis=1)
            accuracy = float((answers == np.asarray(test.targets)).mean())
            if last:
                return accuracy, []
            records = (Record(str(place), pool.texts[place], None, place) for place in others)
            chooser = Chooser(bench.task, model, Request(arguments.step, strategy), 64, seed, set())
            return accuracy, [int(guess.id) for guess in chooser.choose(records)]

        accuracy, chosen = bench.trained(config, dataset, look)
        found.append((len(labelled), accuracy))
        labelled += chosen
    return found


def measure(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, list[list[tuple[int, float]]]]:
    """Return the curves of each strategy, one for each seed."""
    dataset = load_dataset({"source": arguments.data})
    settings = {"data.source": arguments.data, "model.preset": arguments.preset, "training.calibrate": False}
    bench = Workbench(resolve(settings), dataset)
    curves: dict[str, list[list[tuple[int, float]]]] = {strategy: [] for strategy in STRATEGIES}
    for seed in range(arguments.seeds):
        for strategy in STRATEGIES:
            curves[strategy].append(curve(bench, dataset["train"], dataset["test"], strategy, seed, arguments))
            say(json.dumps({"seed": seed, "strategy": strategy, "curve": curves[strategy][-1]}))
    return curves


def table(curves: dict[str, list[list[tuple[int, float]]]]) -> str:
    """Return the mean accuracy by number of labels, and the difference with its 95 % interval, as Markdown."""
    names = list(curves)
    lines = [f"| labels | {' | '.join(names)} | difference |", "|---|" + "---|" * (len(names) + 1)]
    for place, (count, _) in enumerate(curves[names[0]][0]):
        values = {name: np.array([run[place][1] for run in runs]) for name, runs in curves.items()}
        difference = values[names[0]] - values[names[1]]
        # Interval of Student's t over the paired differences of the seeds; none from one seed.
        count_of = len(difference)
        error = difference.std(ddof=1) / np.sqrt(count_of) if count_of > 1 else float("nan")
        half = float(stats.t.ppf(0.975, max(1, count_of - 1)) * error)
        means = " | ".join(f"{value.mean():.3f}" for value in values.values())
        lines.append(f"| {count} | {means} | {difference.mean():+.3f} ± {half:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="tickets", help="labelled data with a test part")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--start", type=int, default=48, help="labelled rows of the first round")
    parser.add_argument("--step", type=int, default=48, help="rows that each round adds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    print(table(measure(parser.parse_args(), lambda text: print(text, flush=True))))


if __name__ == "__main__":
    main()
