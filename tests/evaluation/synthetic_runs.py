"""Lays out run folders as `kerora fit` leaves them, without training anything."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.config import dump_yaml, resolve
from kerora.evaluation.metrics import classification_metrics
from kerora.models.probabilities import softmax
from kerora.runfolder import RunFolder

TWO = ("negative", "positive")
SIX = ("billing", "delivery", "returns", "account", "technical", "praise-and-feedback")
TWENTY = (
    *(
        "comp.graphics",
        "comp.os.ms-windows.misc",
        "comp.sys.ibm.pc.hardware",
        "comp.sys.mac.hardware",
        "comp.windows.x",
    ),
    *("rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey", "sci.crypt", "sci.electronics"),
    *("sci.med", "sci.space", "misc.forsale", "talk.politics.misc", "talk.politics.guns", "talk.politics.mideast"),
    *("talk.religion.misc", "alt.atheism", "soc.religion.christian"),
)
SENTENCES = (
    "The parcel came two days late and the box was open.",
    "I was charged twice for one order, please refund the second payment.",
    "Wonderful film, the actors carry a thin plot with ease.",
    "The app crashes each time I open the camera since the last update.",
    "Nothing about this makes sense; I asked for a return label a week ago and still wait.",
)


def make_run(
    path: Path,
    classes: Sequence[str] = TWO,
    rows: int = 200,
    splits: Sequence[str] = ("validation", "test"),
    epochs: int = 3,
    strength: float = 2.0,
    seed: int = 0,
    texts: Sequence[str] = SENTENCES,
    **settings: Any,
) -> RunFolder:
    """Write a run whose rows and labels depend on nothing but `rows` and `classes`; predictions on `seed`."""
    run = RunFolder(path)
    run.adapter.mkdir(parents=True)
    run.labels.write_text(json.dumps({"classes": list(classes)}), encoding="utf-8")
    run.config.write_text(dump_yaml(resolve({"data": {"source": "tickets"}, **settings})), encoding="utf-8")
    parts = {split: draw(classes, rows, strength, seed, place) for place, split in enumerate(splits)}
    weak = {split: draw(classes, rows, 0.1, seed + 7, place) for place, split in enumerate(splits)}
    metrics = {
        "before": {split: classification_metrics(*part, classes) for split, part in weak.items()},
        "after": {split: classification_metrics(*part, classes) for split, part in parts.items()},
    }
    run.metrics.write_text(json.dumps(metrics), encoding="utf-8")
    write_predictions(run, parts, classes, texts)
    write_history(run, epochs, validation="validation" in splits)
    run.manifest.write_text(json.dumps(manifest(classes, splits, rows)), encoding="utf-8")
    return run


def make_language_run(
    path: Path, loss: float = 2.0, preset: str = "gpt2", data: str = "ab", **settings: Any
) -> RunFolder:
    """Write a language model's run with three epochs and two samples."""
    run = RunFolder(path)
    run.adapter.mkdir(parents=True)
    run.config.write_text(dump_yaml(resolve({"task": "causal-lm", **settings})), encoding="utf-8")

    def measured(value: float) -> dict[str, Any]:
        bits = value / 3
        return {"validation": {"loss": value, "perplexity": float(np.exp(value)), "bits_per_byte": bits, "tokens": 900}}

    run.metrics.write_text(json.dumps({"before": measured(loss + 1), "after": measured(loss)}), encoding="utf-8")
    lines = ["epoch,loss,perplexity,val_loss,val_perplexity,val_bits_per_byte,learning_rate"]
    for epoch, value in enumerate((loss + 0.4, loss + 0.1, loss), start=1):
        lines.append(f"{epoch},{value},{np.exp(value)},{value},{np.exp(value)},{value / 3},0.001")
    run.history.write_text("\n".join(lines) + "\n", encoding="utf-8")
    samples = [{"id": "1", "prompt": f"once <{at}>", "before": "a", "after": f"upon {loss}"} for at in range(2)]
    run.samples.write_text(json.dumps({"samples": samples}), encoding="utf-8")
    content = manifest(("any",), ("validation",), 12) | {"task": "causal-lm", "training_seconds": 12.5}
    content["preset"] = {"name": preset, "fingerprint": preset}
    content["data"]["splits"]["validation"]["sha256"] = data * 32
    run.manifest.write_text(json.dumps(content), encoding="utf-8")
    return run


def draw(classes: Sequence[str], rows: int, strength: float, seed: int, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of shape (rows,) and probabilities of shape (rows, classes)."""
    labels = np.random.default_rng(place).integers(0, len(classes), rows)
    generator = np.random.default_rng([seed, place])
    logits = generator.normal(size=(rows, len(classes)))
    logits[np.arange(rows), labels] += strength
    near = (labels + 1) % len(classes)
    logits[np.arange(rows), near] += 0.4 * strength
    return labels, softmax(logits * 1.3)


def write_predictions(
    run: RunFolder, parts: dict[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str], texts: Sequence[str]
) -> None:
    """Write predictions.csv."""
    with run.predictions.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "split", "text", "label", "predicted", "score", *(f"p_{name}" for name in classes)])
        for split, (labels, probabilities) in parts.items():
            for row, (label, values) in enumerate(zip(labels, probabilities, strict=True)):
                best = int(values.argmax())
                text = f"{texts[row % len(texts)]} ({row + 1})"
                start = [row + 1, split, text, classes[label], classes[best], f"{values[best]:.6f}"]
                writer.writerow([*start, *(f"{value:.6f}" for value in values)])


def write_history(run: RunFolder, epochs: int, validation: bool = True) -> None:
    """Write history.csv; the validation columns are empty where there is no validation split."""
    names = "epoch loss accuracy val_loss val_accuracy val_macro_f1 learning_rate seconds validation_seconds"
    lines = [names.replace(" ", ",") + ",tokens_per_second,peak_memory_mb"]
    for epoch in range(1, epochs + 1):
        values = [0.35 + 0.9 * 0.6**epoch + 0.02 * epoch, 0.9 - 0.4 * 0.6**epoch, 0.89 - 0.4 * 0.6**epoch]
        held_out = ",".join(f"{value:.4f}" for value in values) if validation else ",,"
        lines.append(f"{epoch},{1.2 * 0.6**epoch:.4f},{1 - 0.5 * 0.6**epoch:.4f},{held_out},0.001,41.5,3.2,9120,1820")
    run.history.write_text("\n".join(lines) + "\n", encoding="utf-8")


def manifest(classes: Sequence[str], splits: Sequence[str], rows: int) -> dict[str, Any]:
    """Return the content of run.json."""
    parts = {
        split: {"sha256": "ab" * 32, "rows": rows, "labels": dict.fromkeys(classes, rows // len(classes))}
        for split in ("train", *splits)
    }
    return {
        "kerora": "0.1.0",
        "versions": {"python": "3.11.2", "keras": "3.15.1", "torch": "2.13.0"},
        "argv": ["kerora", "fit", "--data", "tickets", "--preset", "distil_bert_base_en_uncased"],
        "seed": 42,
        "device": "cpu",
        "precision": "float32",
        "state": "finished",
        "started": "2026-01-05T10:00:00+00:00",
        "finished": "2026-01-05T10:02:31+00:00",
        "seconds": 151.0,
        "training_seconds": 124.5,
        "data": {"name": "tickets", "splits": parts},
        "preset": {"name": "distil_bert_base_en_uncased", "kind": "distil_bert", "fingerprint": "cd" * 32},
        "parameters": {"trainable": 739_586, "lora": 147_456, "head": 592_130, "total": 66_955_010},
        "best_epoch": 2,
    }
