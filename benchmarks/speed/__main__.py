"""Compares speed and memory: ``make bench``, or ``python -m benchmarks.speed --preset FOLDER``.

Each measurement runs in its own process. The sides alternate, and each runs `--repeats` times, each time with another
seed. The table has medians. The files benchmarks/results/speed.md and .json are written again after each measurement,
so that a stop loses nothing.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed.plan import MANY_ROWS, PARTS, TOKENIZED_TEXTS, Plan, make_run, measure, prepare
from benchmarks.speed.process import ROOT
from benchmarks.speed.table import facts, write
from benchmarks.speed.work import Job
from kerora.models.precision import resolve_precision

OUTPUT = ROOT / "benchmarks" / "results" / "speed"
NEED_RUN = {"predict", "cold"}
SETTINGS = ("preset", "rows", "test_rows", "epochs", "batch_size", "max_length", "learning_rate", "texts", "repeats")


def main(arguments: list[str] | None = None) -> None:
    """Run the requested measurements, and write the table."""
    options = _parser().parse_args(arguments)
    parts = PARTS if options.only is None else tuple(options.only.split(","))
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"--only takes {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        plan = _plan(options, parts, Path(folder))
        counts = prepare(plan, options.data or [], options.reviews, options.rows, options.test_rows)
        if NEED_RUN & set(parts):
            make_run(plan.job)
        about = facts({**{name: getattr(options, name) for name in SETTINGS}, **_counted(counts)})
        results: list[dict[str, Any]] = []
        text = ""
        for result in measure(plan):
            results.append(result)
            shown = {name: round(value, 3) if isinstance(value, float) else value for name, value in result.items()}
            print(shown, flush=True)
            text = write(options.output, about, results)
    print(text)


def _counted(counts: dict[str, int]) -> dict[str, int]:
    return {"rows": counts["train"], "test_rows": counts["test"]}


def _plan(options: argparse.Namespace, parts: tuple[str, ...], folder: Path) -> Plan:
    job = Job(
        str(folder),
        _folder_of(options.preset),
        options.seed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_length=options.max_length,
        learning_rate=options.learning_rate,
        slice_steps=options.slice_steps,
        texts=options.texts,
        steps=options.steps,
        bfloat16=resolve_precision("auto") == "bfloat16",
    )
    sides = tuple(options.sides.split(",")) if options.sides else ()
    return Plan(job, parts, options.repeats, options.tokenized_texts, options.many_rows, sides)


def _folder_of(preset: str) -> str:
    # KerasHub and transformers do not know the names of Kerora's own presets
    bundled = ROOT / "kerora" / "presets" / preset
    found = next((path for path in (Path(preset), bundled) if path.is_dir()), None)
    return preset if found is None else str(found.resolve())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--preset", default="kerora_mini_en", help="the peers need a Hugging Face folder (BERT-like)")
    parser.add_argument("--data", type=Path, nargs="+", help="CSV without header: class, title, description")
    parser.add_argument("--reviews", type=Path, help="JSON Lines with 'text', to predict and tokenise")
    parser.add_argument("--only", help=f"parts, separated by commas: {','.join(PARTS)}")
    parser.add_argument("--sides", help="sides, separated by commas, such as train-kerora,train-peft-best")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="path of the table, without ending")
    parser.add_argument("--work-dir", type=Path, help="folder for temporary files")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    numbers = {"rows": 5_600, "test-rows": 2_000, "epochs": 2, "batch-size": 32, "max-length": 256, "repeats": 3}
    numbers |= {"seed": 42, "slice-steps": 12, "steps": 12, "texts": 5_000, "tokenized-texts": TOKENIZED_TEXTS}
    for name, default in {**numbers, "many-rows": MANY_ROWS}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    return parser


if __name__ == "__main__":
    main()
