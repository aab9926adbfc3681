"""The list of measurements and their order. The sides alternate."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.process import Outcome, run_command, run_side
from benchmarks.speed.work import Job, read_labelled, read_texts, split_rows, write_generated, write_rows

TRAIN_SIDES = ("train-kerora", "train-peft-defaults", "train-peft-best", "train-kerashub")
PREDICT_SIDES = ("predict-kerora", "predict-pipeline-float32", "predict-pipeline-bfloat16")
SENTENCE = "my parcel is late again and nobody answers\n"
TOKENIZED_TEXTS = 25_000
FEW_ROWS, MANY_ROWS = 25_000, 1_000_000
PARTS = ("train", "step", "predict", "cold", "tokenize", "rows")
RUN = "run"
"""Name of the run in the session's folder that is used for predictions."""

Result = dict[str, Any]
Runner = Callable[[str, Job], Outcome]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The measurements of a session.

    Attributes:
        job: the work that all measurements share.
        parts: names from `PARTS`.
        repeats: repeats of each part. The seeds of the trainings are ``job.seed``, ``job.seed + 1`` and so on.
        texts: number of texts that are tokenised.
        many: rows of the long file.
        sides: sides to run. Empty means all.
    """

    job: Job
    parts: Sequence[str] = PARTS
    repeats: int = 3
    texts: int = TOKENIZED_TEXTS
    many: int = MANY_ROWS
    sides: Sequence[str] = ()


def prepare(plan: Plan, data: Sequence[Path], reviews: Path | None, train: int, test: int) -> dict[str, int]:
    """Write the files of the session, and return the number of rows of each kind."""
    folder, rows = plan.job.path, read_labelled(data)
    parts = dict(zip(("train", "test"), split_rows(rows, train, test), strict=True))
    for name, part in parts.items():
        write_rows(folder / f"{name}.csv", part)
    # one line per text, because a line break is white space for every tokenizer here
    texts = [" ".join(text.split()) for text in read_texts(reviews, rows, max(plan.texts, plan.job.texts))]
    (folder / "reviews.txt").write_text("\n".join(texts), encoding="utf-8")
    if "rows" in plan.parts:
        for count in (min(FEW_ROWS, plan.many), plan.many):
            write_generated(folder / f"rows-{count}.csv", rows, count)
    return {name: len(part) for name, part in parts.items()}


def make_run(job: Job) -> None:
    """Train one step, for the parts that need a run."""
    columns = ["--train", str(job.path / "train.csv"), "--preset", job.preset, "--max-length", str(job.max_length)]
    command = [sys.executable, "-m", "kerora", "fit", *columns, "--run", str(job.path / RUN), "--max-steps", "1"]
    outcome = run_command([*command, "--force", "--quiet"], plain=True)
    if outcome.figures is None:
        raise SystemExit(f"kerora fit failed: {outcome.problem}")


def measure(plan: Plan, runner: Runner = run_side) -> Iterator[Result]:
    """Run the parts alternately. Yield a result for each process: part, side, repeat, seed, figures or problem."""
    for part in plan.parts:
        for repeat in range(plan.repeats):
            for side, job in _turns(part, plan):
                if plan.sides and side not in plan.sides:
                    continue
                job = dataclasses.replace(job, seed=plan.job.seed + repeat)
                outcome = _cold(job) if side == "cold-kerora" else runner(side.partition("@")[0], job)
                yield {
                    **{"part": part, "side": side, "repeat": repeat, "seed": job.seed},
                    **({"problem": outcome.problem} if outcome.figures is None else outcome.figures),
                }


def _turns(part: str, plan: Plan) -> list[tuple[str, Job]]:
    job = plan.job
    if part == "rows":
        return [
            (f"rows-kerora@{count}", dataclasses.replace(job, rows=count))
            for count in (min(FEW_ROWS, plan.many), plan.many)
        ]
    if part == "tokenize":
        job = dataclasses.replace(job, texts=plan.texts)
        return [("tokenize-kerora", job), ("tokenize-rust", job)]
    sides = {"train": TRAIN_SIDES, "predict": PREDICT_SIDES, "step": ("step-kerora",), "cold": ("cold-kerora",)}
    return [(side, job) for side in sides[part] if job.bfloat16 or not side.endswith("bfloat16")]


def _cold(job: Job) -> Outcome:
    command = [sys.executable, "-m", "kerora", "predict", str(job.path / RUN), "-"]
    return run_command(command, text=SENTENCE, plain=True)
