"""Kerora: training by `kerora.fit`, prediction by the model of a run, many rows."""

import os
import time
from typing import Any

import kerora
from benchmarks.speed.work import Job, load_rows
from kerora.config import FitConfig, resolve
from kerora.data.rows import Rows
from kerora.training.progress import Silent

WARM_ROWS = 64


class _Clock(Silent):
    """Records when data and model are ready. This is when the heading is printed."""

    ready: float | None = None

    def note(self, text: str) -> None:
        self.ready = self.ready or time.time()


def settings(job: Job, **more: Any) -> FitConfig:
    """Return the settings of a job. All other settings have their defaults."""
    given: dict[str, Any] = {
        "run": str(job.path / f"kerora-{os.getpid()}"),
        "data.train": str(job.path / "train.csv"),
        "data.validation_split": 0.0,
        "model.preset": job.preset,
        "model.max_length": job.max_length,
        "training.epochs": job.epochs,
        "training.batch_size": job.batch_size,
        "training.learning_rate": job.learning_rate,
        "training.early_stopping": False,
        "training.seed": job.seed,
    }
    return resolve({**given, **more})


def train(job: Job) -> dict[str, Any]:
    """Train and test. Then measure the time of the evaluation alone."""
    clock = _Clock()
    result = kerora.fit(settings(job, **{"data.test": str(job.path / "test.csv")}), progress=clock)
    assert clock.ready is not None
    texts, labels, _ = load_rows(job.path / "test.csv")
    model = kerora.load(result.run.path)
    rows = Rows(texts, [""] * len(texts), labels)
    return {
        "train_seconds": result.seconds,
        "tokens_per_second": _tokens(result.history) / result.seconds,
        "accuracy": result.metrics["after"]["test"]["accuracy"],
        "startup_seconds": clock.ready - job.started,
        "evaluate_rows_per_second": _rate(model, rows),
    }


def _tokens(history: list[dict[str, Any]]) -> float:
    return sum(row["tokens_per_second"] * row["seconds"] for row in history)


def _rate(model: Any, rows: Rows) -> float:
    model.predict_logits(rows.take(range(min(WARM_ROWS, len(rows)))))
    started = time.perf_counter()
    model.predict_logits(rows)
    return len(rows) / (time.perf_counter() - started)


def predict(job: Job) -> dict[str, Any]:
    """Predict reviews, including tokenising."""
    texts = (job.path / "reviews.txt").read_text(encoding="utf-8").splitlines()[: job.texts]
    model = kerora.load(job.path / "run")
    return {"rows_per_second": _rate(model, Rows(texts, [""] * len(texts)))}


def many_rows(job: Job) -> dict[str, Any]:
    """Train a few steps on a long generated file, to measure the peak memory of the process."""
    name = str(job.path / f"rows-{job.rows}.csv")
    result = kerora.fit(settings(job, **{"data.train": name, "training.max_steps": 5}))
    return {"train_seconds": result.seconds}
