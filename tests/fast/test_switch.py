"""Both sides of KERORA_PLAIN: nothing of kerora.fast computes under it, and the results are the same."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

import kerora.fast
from kerora.config import PretrainConfig, resolve
from kerora.data.documents import Documents, plain_text
from kerora.fast.switch import VARIABLE, is_plain, side
from kerora.lora.inject import enable_lora
from kerora.lora.layers import _dropout
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.generation import TextGenerator
from kerora.pretraining.pretrain import pretrain
from kerora.runs.open import load
from kerora.settings.language import Sampling
from kerora.tasks.language.measure import evaluate_documents
from kerora.training.fit import fit
from tests.tiny import TINY_PRETRAINING, WORDS
from tests.tiny_decoders import tiny_decoder

FOLDER = str(Path(kerora.fast.__file__).parent)
# what asks the switch, and then does nothing; `never_compiled` stays from an import of Keras on the fast side
DOORS = {
    "never_compiled",
    *("is_plain", "side", "keep_heap", "use_huge_pages", "release_freed", "without_garbage_rounds", "without_drawing"),
    *("draw", "choose_attention", "use_whole_blocks", "pooled_only", "use_causal_kernel", "decoder_weights"),
}
Result = TypeVar("Result")


def watched(compute: Callable[[], Result]) -> tuple[Result, set[str]]:
    """Return what a function returns, and the functions of kerora.fast that ran meanwhile."""
    ran: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(FOLDER):
            ran.add(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return compute(), ran
    finally:
        sys.setprofile(before)


def on_both_sides(monkeypatch: pytest.MonkeyPatch, compute: Callable[[str], Any], *fast: str) -> list[Any]:
    """Return the result of a function on each side. `fast` names the parts that must run only on the fast side."""
    results = []
    for name in ("fast", "plain"):
        monkeypatch.setenv(VARIABLE, str(int(name == "plain")))
        result, ran = watched(lambda name=name: compute(name))  # type: ignore[misc]
        results.append(result)
        assert set(fast) <= ran if name == "fast" else ran <= DOORS, ran
    return results


def rows(path: Path, count: int = 48) -> Path:
    generator = np.random.default_rng(0)
    words = {"good": ["great", "love", "best"], "bad": ["awful", "worst", "hate"]}
    with path.open("w") as stream:
        for number in range(count):
            label = ("good", "bad")[number % 2]
            text = " ".join(["the", *generator.choice(words[label], generator.integers(1, 12)), "movie"])
            stream.write(json.dumps({"text": text, "label": label}) + "\n")
    return path


def settings(tmp_path: Path, source: Path, preset: Path, **values: Any) -> dict[str, Any]:
    return {
        "runs_dir": str(tmp_path),
        "data.source": str(source),
        "data.test_split": 0.25,
        "model.preset": str(preset),
        "model.max_length": 16,
        "model.precision": "float32",
        "lora.dropout": 0.0,
        "lora.targets": "all-linear",
        "training.batch_size": 8,
        "training.learning_rate": 0.01,
        "training.epochs": 2,
        **{name.replace("__", "."): value for name, value in values.items()},
    }


@pytest.mark.parametrize(("value", "plain"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_the_switch(value: str | None, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert is_plain() == plain
    assert side().startswith("Keras' own layers" if plain else "kerora.fast") and f"{VARIABLE}=" in side()


@pytest.mark.parametrize("cached", [False, True])
def test_a_classifiers_run(cached: bool, tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is trained, evaluated and loaded. ``--cache-frozen`` only saves time, and works without the cache."""
    more = {"training__cache_frozen": True, "lora__layers": "last:1"} if cached else {}
    given = settings(
        tmp_path, rows(tmp_path / "rows.jsonl"), tiny_preset, data__validation_split=0.25, training__mask_share=0.0,
        **more,
    )  # fmt: skip

    def run(name: str) -> tuple[Any, np.ndarray]:
        result = fit(resolve(given, {"run": name}))
        return result, load(result.run.path).predict_logits(["the best movie", "hate"])

    marks = ("frozen_products", "frozen_feed_forward", "_zeros", *(["states"] if cached else []))
    (fast, logits), (plain, expected) = on_both_sides(monkeypatch, run, *marks)
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    for one, other in zip(fast.history, plain.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], abs=1e-4)
    for split, metrics in plain.metrics["after"].items():
        assert fast.metrics["after"][split]["accuracy"] == metrics["accuracy"]
        assert fast.metrics["after"][split]["loss"] == pytest.approx(metrics["loss"], abs=1e-4)


def test_a_language_models_run(folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on documents that share rows, evaluated, loaded, and continued."""
    texts = [" ".join(WORDS[(start + step) % 40] for step in range(6)) for start in range(48)]
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    given = settings(
        tmp_path, source, folder("gpt2"), task="causal-lm", language__pack="docs", lora__targets="c_attn,c_proj"
    )

    def run(name: str) -> tuple[Any, Any, Any]:
        result = fit(resolve(given, {"run": name}))
        model = load(result.run.path)
        documents = Documents([], [])
        for text in texts[:6]:
            documents.append(plain_text(text), "text")
        measured = evaluate_documents(model, documents, 4)
        prompts = [[5, 6, 7], [40, 41, 42, 43, 44]]
        return result, measured, TextGenerator(model).generate(prompts, Sampling(max_tokens=8))

    marks = ("frozen_products", "causal_attention", "next_token_loss", "token_losses", "advance")
    (fast, measured, continued), (plain, wanted, expected) = on_both_sides(monkeypatch, run, *marks)
    assert [row["loss"] for row in fast.history] == pytest.approx([row["loss"] for row in plain.history], abs=1e-4)
    assert measured["loss"] == pytest.approx(wanted["loss"], abs=1e-3)
    assert [row.ids for row in continued] == [row.ids for row in expected]
    for split, metrics in plain.metrics["after"].items():
        assert fast.metrics["after"][split]["loss"] == pytest.approx(metrics["loss"], abs=1e-3)


def test_a_pre_training(tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a teacher, whose frozen blocks are computed as a whole."""
    text = tmp_path / "text.jsonl"
    rows(text, 96)
    given = {
        "data.text": [str(text)],
        "data.holdout": 0.1,
        "distillation.teacher": str(tiny_preset),
        **TINY_PRETRAINING,
    }

    def run(name: str) -> list[float]:
        result = pretrain(resolve(given, {"output": str(tmp_path / name)}, root=PretrainConfig))
        return [row["val_loss"] for row in result.history]

    fast, plain = on_both_sides(monkeypatch, run, "choose_attention")
    assert fast == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama3"])
def test_no_class_of_the_wing_is_in_a_plain_model(
    kind: str, folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tiny_decoder(kind, tmp_path / kind) if kind == "llama3" else folder(kind)
    taught = []
    for value in ("0", "1"):
        monkeypatch.setenv(VARIABLE, value)
        model: Any = TextClassifier if kind == "bert" else CausalLM
        model = model.from_preset(str(preset), *([2] if kind == "bert" else []))
        enable_lora(model, targets="all-linear")
        bases = {base for layer in model._flatten_layers() for base in type(layer).__mro__}
        methods = [value for base in bases for value in vars(base).values() if callable(value)]
        taught.append([value for value in methods if str(getattr(value, "__module__", "")).startswith("kerora.fast")])
    assert taught[0] and not taught[1]


def test_dropout_of_either_side_drops_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for value in ("0", "1"):
        monkeypatch.setenv(VARIABLE, value)
        kept, divisor = _dropout(torch.ones(300, 400), 0.1)
        assert float((kept / divisor).mean()) == pytest.approx(1.0, abs=0.01)
        shares.append(float((kept == 0).float().mean()))
    assert shares == pytest.approx([0.1, 0.1], abs=0.01)
