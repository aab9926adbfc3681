"""The gain from the pre-training of the bundled preset on the bundled tickets.

    python -m benchmarks.mini_en
    python -m benchmarks.mini_en --only lora --seeds 0 1 2 3 4 5 6 7 8 9 --bfloat16

Prints the test macro F1 of five classifiers for each seed. `tfidf`: TF-IDF and logistic regression with the defaults of
scikit-learn. `pairs`: the same with pairs of words and sublinear counts, which suit these short texts. `frozen`: the
frozen features of the preset with a new head. `random`: LoRA on the same architecture with random weights. `lora`: LoRA
on the preset. The last two are `kerora fit` with its defaults. The frozen features have the same head, updates,
schedule, masked tokens and choice of the best epoch.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from benchmarks.bfloat16 import FastBfloat16
from kerora.callbacks import ClassificationReport, EarlyStopping
from kerora.config import FitConfig, resolve
from kerora.models.learning_rate import default_learning_rate
from kerora.models.presets import find_preset
from kerora.models.write_preset import write_preset
from kerora.tasks.classification.task import settled_mask_share
from kerora.training.defaults import default_epochs
from kerora.training.loop import make_optimizer

WAYS = ("tfidf", "pairs", "frozen", "random", "lora")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=FitConfig().model.preset)
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44, 45, 46])
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--bfloat16", action="store_true", help="round as hardware with bfloat16 does")
    options = parser.parse_args()
    print("seed        " + "  ".join(f"{way:>7}" for way in options.only), flush=True)
    lines = []
    with FastBfloat16() if options.bfloat16 else contextlib.nullcontext():
        for seed in options.seeds:
            lines.append([_score(way, options, seed) for way in options.only])
            _show(str(seed), lines[-1])
    columns = list(zip(*lines, strict=True))
    for name, summary in (("mean", mean), ("least", min), ("most", max)):
        _show(name, [summary(column) for column in columns])


def _show(name: str, values: list[float]) -> None:
    print(f"{name:10}  " + "  ".join(f"{value:7.3f}" for value in values), flush=True)


def _score(way: str, options: argparse.Namespace, seed: int) -> float:
    ways: dict[str, Callable[[], float]] = {
        "tfidf": lambda: _tfidf(options.data, seed, TfidfVectorizer()),
        "pairs": lambda: _tfidf(options.data, seed, TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
        "frozen": lambda: _frozen(options, seed),
        "random": lambda: _random(options, seed),
        "lora": lambda: _lora(options.preset, options, seed),
    }
    return ways[way]()


def _tfidf(data: str, seed: int, vectorizer: TfidfVectorizer) -> float:
    dataset = kerora.load_dataset(data, seed=seed)
    model = make_pipeline(vectorizer, LogisticRegression(max_iter=1000))
    model.fit(dataset["train"].texts, dataset["train"].targets)
    predicted = model.predict(dataset["test"].texts)
    return float(f1_score(dataset["test"].targets, predicted, average="macro"))


def _lora(preset: str, options: argparse.Namespace, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model.preset": preset, "data.source": options.data, "training.seed": seed, "runs_dir": folder}
        precision = {"model.precision": "bfloat16"} if options.bfloat16 else {}
        result = kerora.fit(resolve({**settings, **precision}))
    return float(result.metrics["after"]["test"]["macro_f1"])


def _random(options: argparse.Namespace, seed: int) -> float:
    """Fit the same architecture and tokenizer with random weights."""
    kerora.set_random_seed(seed)
    preset = find_preset(options.preset)
    backbone = preset.load_backbone()
    fresh = type(backbone).from_config(backbone.get_config())
    with tempfile.TemporaryDirectory() as folder:
        write_preset(fresh, preset.load_tokenizer(), preset.architecture, Path(folder) / "random")
        return _lora(str(Path(folder) / "random"), options, seed)


def _frozen(options: argparse.Namespace, seed: int) -> float:
    dataset = kerora.load_dataset(options.data, seed=seed)
    kerora.set_random_seed(seed)
    config = FitConfig().training
    model = kerora.TextClassifier.from_preset(options.preset, dataset.classes, seed=seed)
    model.backbone.trainable = False
    model.mask_share = settled_mask_share(config, len(dataset["train"]), model)
    train = model.batches(dataset["train"], batch_size=config.batch_size, shuffle=True, seed=seed)
    epochs = default_epochs(len(train))
    peak = default_learning_rate(model.backbone.hidden_dim)
    model.compile(
        optimizer=make_optimizer(config, peak, epochs * len(train)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    report = ClassificationReport(model.batches(dataset["validation"], batch_size=64), dataset.classes)
    best = EarlyStopping("val_macro_f1", patience=epochs, noise=report)
    model.fit(train, epochs=epochs, verbose=0, callbacks=[report, best])
    predicted = model.predict_logits(dataset["test"]).argmax(axis=1)
    return float(f1_score(dataset["test"].targets, predicted, average="macro"))


if __name__ == "__main__":
    main()
