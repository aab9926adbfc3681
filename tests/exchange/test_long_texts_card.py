"""The card of an export says how its run read long texts, and its code gives the same logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.exchange.export import export_run
from kerora.runs.open import load
from tests.exchange.conftest import Trained
from tests.models.test_long_texts import texts

pytest.importorskip("peft")
WINDOWS = {"model__long": "windows", "model__stride": 3, "model__max_length": 10}


def section_of(folder: Path) -> str:
    return (folder / "README.md").read_text().partition("## Long texts\n\n")[2].partition("\n\n## ")[0]


@pytest.mark.parametrize(("form", "pool"), [("transformers", "mean"), ("transformers", "max"), ("onnx", "max")])
def test_the_code_of_the_card_joins_the_windows(
    form: str, pool: str, trained: Trained, shallow: Callable[[str], str], tmp_path: Path
) -> None:
    run = trained("bert", model__preset=shallow("bert"), model__pool=pool, **WINDOWS)
    found = export_run(str(run.path), form, tmp_path / "out")
    assert "Other tools cut long texts, the run has --long windows" in found.note
    text = " ".join(texts(4, 2))
    code = section_of(tmp_path / "out").partition("```python\n")[2].partition("```")[0]
    scope: dict[str, Any] = {}
    exec(code.replace("a long text", text).replace("DIR", str(tmp_path / "out")), scope)
    logits = scope["logits"].detach() if form == "transformers" else scope["logits"]
    np.testing.assert_allclose(np.asarray(logits), load(run.path).predict_logits([text])[0], atol=1e-4)


def test_the_card_names_the_tokens_that_a_cut_keeps(
    trained: Trained, shallow: Callable[[str], str], tmp_path: Path
) -> None:
    run = trained("bert", model__preset=shallow("bert"), model__long="cut-middle", model__max_length=11)
    found = export_run(str(run.path), "peft", tmp_path / "cut")
    assert "the run has --long cut-middle" in found.note
    start = "Of a text that is longer than 11 tokens, the run read the first 5 and the last 4 tokens of text."
    assert section_of(tmp_path / "cut").startswith(start)
    export_run(str(run.path), "kerora", tmp_path / "own")
    assert section_of(tmp_path / "own") == ""
    assert load(tmp_path / "own").long_texts.long == "cut-middle"
