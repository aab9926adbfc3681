"""What an export says of itself: the verification in words, the training facts, and a card that any tool can parse."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.rows import Rows
from kerora.exchange.model_card import model_card
from kerora.exchange.training_facts import grouped, training_facts
from kerora.exchange.verify import Verification, transformers_logits, version_of
from kerora.models.classifier import TextClassifier
from kerora.tasks.probe import Probe
from tests.conftest import CLASSES
from tests.evaluation.synthetic_runs import TWO, make_run
from tests.tiny import tiny_huggingface

FOUND = Verification("peft 0.18", 32, "tickets", 1.2e-6, 0.96875, 1e-4, compared="same label")
ODD = ["=cmd|'/C calc'!A0", "a: b # c", "---", "\u202eevil", "👩‍👩‍👧", "<script>", "'quoted\"", "[x](javascript:1)"]


def test_a_verification_in_words() -> None:
    start = "Verified with peft 0.18 on 32 rows of tickets: largest logit difference 1.2e-06, same label 97%"
    assert str(FOUND) == start
    told = {**FOUND.to_dict(), "compared": "same next token", "tokens": 1234, "text_agreement": 1.0, "note": "Odd"}
    assert str(Verification(**told, text_compared="from text")) == (
        "Verified with peft 0.18 on 32 rows of tickets (1,234 tokens): largest logit difference 1.2e-06, "
        "same next token 97%, from text 100%. Odd"
    )
    absent = Verification(None, 0, "", None, None, 1e-4, note="peft is not installed")
    assert str(absent) == "Not verified: peft is not installed"
    assert json.loads(json.dumps(absent.to_dict()))["tool"] is None and "compared" not in absent.to_dict()


def test_versions_of_packages() -> None:
    assert re.fullmatch(r"numpy \d+\.\d+.*", version_of("numpy") or "") and np.__version__ in str(version_of("numpy"))
    assert str(version_of("keras-hub")).startswith("keras-hub 0.")
    assert version_of("no_such_package_here") is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=20))
def test_grouped_names_stand_for_the_same_modules(drawn: list[tuple[str, int]]) -> None:
    modules = [f"layer.{number}.{name}.x" for name, number in drawn]
    found = set()
    for part in grouped(modules).split(", "):
        match = re.fullmatch(r"layer\.([\d,-]+)\.(\w)\.x", part)
        assert match, part
        for span in match[1].split(","):
            first, _, last = span.partition("-")
            found |= {f"layer.{number}.{match[2]}.x" for number in range(int(first), int(last or first) + 1)}
    assert found == set(modules)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["query", "value", "query"], "query, value"),
        (["h.0.a", "h.2.a", "h.1.a", "h.7.a", "pooler"], "h.0-2,7.a, pooler"),
        (["a.1.b.1.c", "a.2.b.1.c", "a.1.b.2.c"], "a.1-2.b.1.c, a.1.b.2.c"),
    ],
)
def test_grouped_names(names: list[str], text: str) -> None:
    assert grouped(names) == text


@pytest.fixture(scope="module")
def model(tiny_preset: Path) -> TextClassifier:
    return TextClassifier.from_preset(str(tiny_preset), TWO, max_length=16, seed=0)


@pytest.mark.parametrize(
    ("lora", "text"),
    [
        ({}, "LoRA rank 8, alpha 16, dropout 0.05 on query, value"),
        ({"method": "full"}, "Method: all weights trained"),
        ({"method": "head"}, "Method: only the head trained"),
        ({"use_rslora": True, "use_dora": True, "init": "pissa"}, "value; rsLoRA; DoRA; initialised by pissa"),
        ({"layers": "last:1", "bias": "all"}, "on query, value of the blocks last:1; biases trained: all"),
        (
            {"rank_pattern": ["query=4", "key=4"], "alpha_pattern": ["value=2"]},
            "; rank 4 of query, key; alpha 2 of value",
        ),
        ({"loraplus_lr_ratio": 16, "modules_to_save": ["x"]}, "; B's learning rate 16 times A's; trained in full: x"),
    ],
)
def test_facts_of_a_method(lora: dict[str, Any], text: str, model: TextClassifier, tmp_path: Path) -> None:
    lines = training_facts([make_run(tmp_path / "run", rows=20, lora=lora)], None, model).splitlines()
    assert text in lines[1]
    assert lines[0] == f"- Base: tiny_distil_bert, fingerprint `{model.preset.fingerprint[:16]}`, at most 16 tokens"
    assert lines[-1] == "- test: 20 rows, sha256 `abababababababab`" and "AdamW" in lines[2]


def test_facts_of_a_sum_and_of_an_imported_adapter(model: TextClassifier, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, rows=20) for name in "ab"]
    runs[1].update_manifest(imported_from="/their/adapter")
    lines = training_facts(runs, [0.5, -2.0], model).splitlines()
    assert lines[1] == "- Changes of the weights: 0.5 x a + -2 x b"
    own = [line for line in lines if line.startswith("- b: ")]
    assert own[0].startswith("- b: Imported from the adapter /their/adapter that PEFT trained: LoRA rank 8")
    assert not any("train:" in line for line in own) and any(line.startswith("- a: train: 20 rows") for line in lines)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("form", ["peft", "keras", "transformers", "onnx", "kerora"])
def test_a_card_can_be_parsed_whatever_the_data_is_called(
    form: str, name: str, model: TextClassifier, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", rows=20)
    run.update_manifest(data={**run.read_manifest()["data"], "name": name})
    card = model_card(form, [run], None, model, FOUND)
    _, front, body = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    metadata = yaml.safe_load(front)
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"] == {"name": name, "type": name} and metadata["base_model"] == "tiny_distil_bert"
    accuracy = json.loads(run.metrics.read_text())["after"]["test"]["accuracy"]
    assert {"type": "accuracy", "value": round(accuracy, 4), "name": "test accuracy"} in result["metrics"]
    assert f"| test | {accuracy:.4f} |" in body and str(FOUND) in body and str(tmp_path) not in card
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    compile(code, "card", "exec")


def test_a_card_of_several_runs_has_no_scores(model: TextClassifier, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, rows=20) for name in "ab"]
    card = model_card("keras", runs, [0.5, 0.5], model, FOUND)
    assert "model-index" not in card and "## Results" not in card and card.count("# a + b\n") == 1
    assert "- Changes of the weights: 0.5 x a + 0.5 x b" in card


def test_transformers_gives_the_logits_of_its_own_model_and_keeps_its_verbosity(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tiny_huggingface("distil_bert", tmp_path / "model", CLASSES)
    model = TextClassifier.from_preset(str(folder), max_length=16)
    texts = ["great movie love it", "late", "the order was broken and the refund is wrong"]
    probe = Probe(Rows(texts, ["1", "2", "3"]), "mine", model.encode(texts))
    transformers.logging.set_verbosity_info()
    found = transformers_logits(folder, "AutoModelForSequenceClassification", probe)
    assert transformers.logging.get_verbosity() == transformers.logging.INFO
    transformers.logging.set_verbosity_warning()
    ours = probe.logits(lambda inputs: model(inputs, training=False))
    assert found.shape == (3, 3) and np.abs(found - ours).max() < 1e-5
