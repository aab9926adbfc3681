"""What the bundled preset's pre-training is worth on the bundled tickets.

    python benchmarks/mini_en.py

Test macro F1 of five ways to a classifier, for each seed: TF-IDF and logistic regression with scikit-learn's defaults,
and with pairs of words and sublinear counts, which suit these short texts; the preset's frozen features with a fresh
head; LoRA on the same architecture with random weights; LoRA on the preset. The last two are `kerora fit` with its
defaults; the frozen features get the same head, updates, schedule, hidden tokens and choice of the best epoch.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from kerora.callbacks import ClassificationReport, EarlyStopping
from kerora.config import FitConfig, resolve
from kerora.data.rows import Dataset
from kerora.models.presets import find_preset
from kerora.models.write_preset import write_preset
from kerora.training.defaults import default_epochs, default_learning_rate, settle_mask_share
from kerora.training.loop import make_optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=FitConfig().model.preset)
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    options = parser.parse_args()
    ways = ("TF-IDF", "TF-IDF, pairs", "frozen", "LoRA, random weights", "LoRA, pre-trained")
    print("seed    " + "  ".join(ways) + "  fit s")
    lines = []
    for seed in options.seeds:
        dataset = kerora.load_dataset(options.data, seed=seed)
        scores = [*_tfidf(dataset), _frozen(options.preset, dataset, seed), _random(options, seed)]
        lines.append((*scores, *_lora(options.preset, options.data, seed)))
        _show(str(seed), ways, lines[-1])
    _show("median", ways, tuple(median(column) for column in zip(*lines, strict=True)))


def _show(name: str, ways: tuple[str, ...], values: tuple[float, ...]) -> None:
    cells = [f"{value:{len(way)}.3f}" for way, value in zip(ways, values[:-1], strict=True)]
    print(f"{name:6}  {'  '.join(cells)}  {values[-1]:5.1f}", flush=True)


def _tfidf(dataset: Dataset) -> list[float]:
    scores = []
    for vectorizer in (TfidfVectorizer(), TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)):
        model = make_pipeline(vectorizer, LogisticRegression(max_iter=1000))
        model.fit(dataset["train"].texts, dataset["train"].labels)
        predicted = model.predict(dataset["test"].texts)
        scores.append(float(f1_score(dataset["test"].labels, predicted, average="macro")))
    return scores


def _lora(preset: str, data: str, seed: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model.preset": preset, "data.source": data, "training.seed": seed, "runs_dir": folder}
        result = kerora.fit(resolve(settings))
    return result.metrics["after"]["test"]["macro_f1"], result.seconds


def _random(options: argparse.Namespace, seed: int) -> float:
    """Fit the same architecture and tokenizer with fresh weights."""
    kerora.set_random_seed(seed)
    preset = find_preset(options.preset)
    backbone = preset.load_backbone()
    fresh = type(backbone).from_config(backbone.get_config())
    with tempfile.TemporaryDirectory() as folder:
        write_preset(fresh, preset.load_tokenizer(), preset.architecture, Path(folder) / "random")
        return _lora(str(Path(folder) / "random"), options.data, seed)[0]


def _frozen(preset: str, dataset: Dataset, seed: int) -> float:
    kerora.set_random_seed(seed)
    config = FitConfig().training
    model = kerora.TextClassifier.from_preset(preset, dataset.classes, seed=seed)
    model.backbone.trainable = False
    model.mask_share = settle_mask_share(config, len(dataset["train"]), model)
    train = model.batches(dataset["train"], batch_size=config.batch_size, shuffle=True, seed=seed)
    epochs = default_epochs(len(train))
    peak = default_learning_rate(model.backbone.hidden_dim)
    model.compile(
        optimizer=make_optimizer(config, peak, epochs * len(train)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    report = ClassificationReport(model.batches(dataset["validation"], batch_size=64), dataset.classes)
    best = EarlyStopping("val_macro_f1", patience=epochs)
    model.fit(train, epochs=epochs, verbose=0, callbacks=[report, best])
    predicted = model.predict_logits(dataset["test"]).argmax(axis=1)
    return float(f1_score(dataset["test"].labels, predicted, average="macro"))


if __name__ == "__main__":
    main()
