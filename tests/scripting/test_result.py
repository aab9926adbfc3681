"""What a fit returns: short to print, escaped in notebooks, and of use."""

from pathlib import Path

import numpy as np
import pytest

import kerora
from kerora.errors import RunError
from tests.scripting.test_fit import TEXTS
from tests.tiny import tiny_huggingface

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def result(tiny_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> kerora.FitResult:
    labels = [NASTY] * 32 + ["bad"] * 32
    return kerora.fit(
        train=(TEXTS, labels),
        validation_split=0.25,
        preset=tiny_preset,
        epochs=2,
        rank=4,
        max_length=16,
        precision="float32",
        runs_dir=tmp_path_factory.mktemp("runs"),
    )


def test_it_prints_in_a_few_lines(result: kerora.FitResult) -> None:
    lines = repr(result).splitlines()
    assert len(lines) == 4 and lines[0] == f"FitResult: {result.run.path}"
    assert lines[1].startswith("validation: Accuracy 0.") and " -> " in lines[1]
    assert lines[2].startswith("Baseline: the model") and lines[3].startswith("Training took ")


def test_a_notebook_shows_tables_and_curves_with_escaped_texts(result: kerora.FitResult) -> None:
    page = result._repr_html_()
    assert NASTY not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 2 and 'class="confusion' in page and "Macro F1" in page
    assert "<html" not in page and "http" not in page
    # rules for the whole notebook would change its other cells
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    assert all(line.startswith(".kerora-run") for line in style.strip().splitlines())


def test_it_predicts_as_the_loaded_run(result: kerora.FitResult, tmp_path: Path) -> None:
    texts = ["great movie", "broken order", "late"]
    probabilities = result.predict_proba(texts)
    assert probabilities.shape == (3, 2) and np.allclose(probabilities.sum(axis=1), 1)
    assert result.predict(texts) == kerora.load(result.run.path).predict_labels(texts)
    assert [result.model.classes[row.argmax()] for row in probabilities] == result.predict(texts)
    assert result.predict([]) == [] and result.model is result.model
    with pytest.raises(RunError, match="was trained on single texts. Received: pairs"):
        result.predict(["a"], ["b"])
    assert result.report().page.is_file()
    assert result.export("keras", tmp_path / "export").agreement == 1.0


def test_a_language_model_is_shown_too(tmp_path: Path) -> None:
    preset = tiny_huggingface("gpt2", tmp_path / "gpt2", task="LMHeadModel", initializer_range=0.4)
    found = kerora.fit(
        train=[{"prompt": f"say {text}", "completion": text} for text in TEXTS],
        validation_split=0.25,
        task="causal-lm",
        preset=preset,
        max_steps=2,
        max_length=32,
        samples=0,
        runs_dir=tmp_path,
    )
    assert "Perplexity" in repr(found) and found._repr_html_().count("<svg") == 2
    with pytest.raises(RunError, match="kerora generate"):
        found.predict(["a"])


def test_without_evaluated_rows(tiny_preset: Path, tmp_path: Path) -> None:
    rows = (TEXTS, ["good"] * 32 + ["bad"] * 32)
    found = kerora.fit(train=rows, validation_split=0, preset=tiny_preset, max_steps=1, runs_dir=tmp_path)
    assert "No validation or test rows" in repr(found) and found._repr_html_().startswith("<pre>")
