"""`kerora embed`: equal to the mean of the states in transformers, in the order of the rows, with the adapter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
import transformers

import kerora
from kerora.data.vectors import vector_file
from kerora.errors import RunError
from kerora.models.embedding import Embedder
from kerora.models.presets import find_preset
from kerora.models.whole_text import unlabelled
from tests.cli.conftest import Kerora
from tests.cli.conftest import kerora as kerora_command  # noqa: F401
from tests.tiny import tiny_huggingface

TEXTS = ["great movie, thanks", "a", "the worst plot and late " * 3, "order refund"]
LONG = "good bad great worst movie plot " * 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_huggingface("bert", tmp_path_factory.mktemp("embed") / "bert")


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        found.append(states[0].mean(dim=0).numpy())
    return np.stack(found)


def test_vectors_are_the_mean_of_the_states_of_transformers(folder: Path) -> None:
    found = kerora.embed(str(folder), TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(folder, TEXTS), atol=2e-5)


def test_a_batch_does_not_change_a_vector(folder: Path) -> None:
    whole = kerora.embed(str(folder), TEXTS)
    single = np.concatenate([kerora.embed(str(folder), [text]) for text in TEXTS])
    np.testing.assert_allclose(whole, single, atol=1e-5)


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_tokens(folder: Path) -> None:
    embedder = Embedder.of_preset(find_preset(folder), 16, "float32")
    found = embedder.embed(unlabelled([TEXTS[0], LONG, TEXTS[1]]))
    np.testing.assert_allclose(found[[0, 2]], embedder.embed(unlabelled([TEXTS[0], TEXTS[1]])), atol=1e-6)
    # the windows, cut by hand: 14 tokens of text beside two special tokens, an overlap of 3
    words = LONG.split()
    parts = []
    for start in range(0, len(words), 11):
        parts.append(" ".join(words[start : start + 14]))
        if start + 14 >= len(words):
            break
    weights = np.array([len(part.split()) + 2 for part in parts])
    expected = np.average(embedder.embed(unlabelled(parts)), axis=0, weights=weights)
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_other_kinds(kind: str, tmp_path: Path) -> None:
    path = tiny_huggingface(kind, tmp_path / kind)
    found = kerora.embed(path, TEXTS)
    assert found.shape[0] == 4 and np.isfinite(found).all()
    np.testing.assert_allclose(found[1:2], kerora.embed(path, [TEXTS[1]]), atol=1e-5)


def test_the_adapter_of_a_run_is_applied(tmp_path: Path, tiny_preset: Path) -> None:
    rows = {"text": ["good film", "bad film"] * 10, "label": ["pos", "neg"] * 10}
    fitted = kerora.fit(
        data=rows,
        preset=str(tiny_preset),
        run=str(tmp_path / "run"),
        max_length=24,
        epochs=2,
        learning_rate=0.02,
        validation_split=0.2,
    )
    base, run = kerora.embed(str(tiny_preset), TEXTS), kerora.embed(fitted.run.path, TEXTS)
    assert np.abs(base - run).max() > 1e-4
    model = kerora.load(fitted.run.path)
    np.testing.assert_allclose(run, Embedder.of_model(model).embed(unlabelled(TEXTS)), atol=1e-6)
    with pytest.raises(RunError, match="exists"):
        (tmp_path / "a.npy").write_bytes(b"")
        kerora.embed(fitted.run.path, TEXTS, tmp_path / "a.npy")


def test_files_hold_the_rows_in_their_order(tmp_path: Path, tiny_preset: Path) -> None:
    source = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [{"id": f"n{n}", "text": text} for n, text in enumerate(TEXTS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = kerora.embed(str(tiny_preset), source)
    assert kerora.embed(str(tiny_preset), source, tmp_path / "out.npy") == 4
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert kerora.embed(str(tiny_preset), source, tmp_path / "out.parquet") == 4
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["id"] == ["n0", "n1", "n2", "n3"]
    np.testing.assert_array_equal(np.array(table["embedding"], np.float32), expected)


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_vectors_are_written_in_parts_and_nothing_is_left_after_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    parts = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    with pytest.raises(ValueError), vector_file(path, 4) as write:
        write(list("abcde"), parts[0])
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    with vector_file(path, 4) as write:
        for part in parts:
            write(list("abcde"), part)
    if ending == "npy":
        np.testing.assert_array_equal(np.load(path), parts.reshape(15, 4))
    else:
        assert pyarrow.parquet.read_table(path).num_rows == 15


def test_the_command(kerora_command: Kerora, tmp_path: Path, tiny_preset: Path) -> None:  # noqa: F811
    (tmp_path / "a.txt").write_text("\n".join(text.strip() for text in TEXTS))
    answer = kerora_command("embed", tiny_preset, tmp_path / "a.txt", "-o", tmp_path / "a.npy")
    assert (answer.code, answer.out, answer.err) == (0, "", f"4 rows: {tmp_path / 'a.npy'}\n")
    assert np.load(tmp_path / "a.npy").shape == (4, 32)
    exists = kerora_command("embed", tiny_preset, tmp_path / "a.txt", "-o", tmp_path / "a.npy")
    assert "--force" in exists.error
    assert ".npy or .parquet" in kerora_command("embed", tiny_preset, tmp_path / "a.txt", "-o", "a.csv").error
    unknown = kerora_command("embed", "no-such", tmp_path / "a.txt", "-o", tmp_path / "b.npy")
    assert "Unknown preset" in unknown.error
    based = kerora_command("embed", tiny_preset, tmp_path / "a.txt", "-o", tmp_path / "b.npy", "--preset", "x")
    assert "is no run" in based.error and not (tmp_path / "b.npy").exists()
