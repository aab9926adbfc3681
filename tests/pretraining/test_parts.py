"""What a pre-training is made of: settled settings, who sees which document, cache names, refusals."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.errors import ConfigError, DataError, PresetError
from kerora.pretraining.parts import Parts, assemble, describe_parts
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import resolve
from kerora.training.progress import Silent
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface

DOCUMENTS = 30


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that each begin with a word of their own."""
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "text.jsonl"
    with path.open("w") as stream:
        for number in range(DOCUMENTS):
            line = f"{number} " + " ".join(generator.choice(WORDS, 20))
            stream.write(json.dumps({"text": line}) + "\n")
    return path


def config(text: Path, **changes: Any) -> PretrainConfig:
    settings = {
        "output": "out",
        "data.text": [str(text)],
        "data.holdout": 0.2,
        "model.layers": 1,
        "model.width": 16,
        "model.heads": 2,
        "model.intermediate": 16,
        "model.vocabulary_size": 300,
        "model.max_length": 16,
        "model.precision": "float32",
    }
    return resolve(settings, {key.replace("__", "."): value for key, value in changes.items()}, root=PretrainConfig)


def parts(text: Path, **changes: Any) -> Parts:
    return assemble(config(text, **changes), None, Silent())


def continued(text: Path, preset: Path, **changes: Any) -> Parts:
    return parts(text, model__init=str(preset), **changes)


def numbers(rows: Any) -> set[str]:
    """The documents' own words that stand in rows."""
    return {word for row in rows for word in row.text.split() if word.isdigit()}


def test_each_document_is_trained_on_or_held_out(text: Path, tiny_preset: Path) -> None:
    found = continued(text, tiny_preset)
    assert found.held_out.sum() == 6 and len(found.held_out) == found.survey.documents == DOCUMENTS
    chosen = {str(number) for number in np.flatnonzero(found.held_out)}
    assert numbers(found.rows(True)) == chosen
    assert numbers(found.rows(False)) == {str(n) for n in range(DOCUMENTS)} - chosen
    for part in (True, False):
        table = found.table(part)
        assert [table.row(n).tolist() for n in range(len(table))] == [row.ids.tolist() for row in found.rows(part)]


def test_a_new_vocabulary_is_trained_without_the_held_out_documents(tmp_path: Path) -> None:
    """Each document is one word over and over, so often that it becomes a piece of its own."""
    words = ["".join("abcdefghij"[int(digit)] for digit in f"{number:02d}") * 3 for number in range(DOCUMENTS)]
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": f"{word} " * 40}) + "\n" for word in words))
    found = parts(path, model__vocabulary_size=170)
    seen = [word for word, held in zip(words, found.held_out, strict=True) if not held]
    known = set(words) & set(found.tokenizer.pieces)
    assert known <= set(seen) and len(known) > len(seen) / 2


@pytest.mark.parametrize(("width", "rate"), [(16, 3e-4), (256, 3e-4), (512, 1.5e-4)])
def test_the_rate_of_a_new_encoder_falls_with_its_width(text: Path, width: int, rate: float) -> None:
    assert parts(text, model__width=width).config.training.learning_rate == pytest.approx(rate)


def test_a_continued_encoder_takes_a_smaller_rate_and_a_set_one_stays(text: Path, tiny_preset: Path) -> None:
    assert continued(text, tiny_preset).config.training.learning_rate == 1e-4
    assert continued(text, tiny_preset, training__learning_rate=0.5).config.training.learning_rate == 0.5


def test_a_continued_encoder_has_the_weights_and_the_dropout_that_are_asked_for(text: Path, tiny_preset: Path) -> None:
    found = continued(text, tiny_preset, model__dropout=0.25)
    assert found.init is not None and found.backbone.dropout == 0.25
    for mine, theirs in zip(found.backbone.weights, found.init.load_backbone().weights, strict=True):
        assert np.array_equal(mine.numpy(), theirs.numpy())
    assert found.tokenizer.fingerprint == found.init.load_tokenizer().fingerprint and not found.is_causal


def test_the_first_weights_are_a_function_of_the_seed(text: Path) -> None:
    def first(seed: int) -> np.ndarray:
        embeddings: np.ndarray = parts(text, training__seed=seed).backbone.token_embedding.embeddings.numpy()
        return embeddings

    assert np.array_equal(first(1), first(1)) and not np.array_equal(first(1), first(2))


def test_tables_are_named_by_what_their_rows_depend_on(text: Path, tiny_preset: Path) -> None:
    base = continued(text, tiny_preset)

    def key(**changes: Any) -> str:
        changed = dataclasses.replace(base, config=config(text, model__init=str(tiny_preset), **changes))
        return changed.table_key(False)

    assert key() == base.table_key(False)
    same = {"training__epochs": 9, "training__batch_size": 3, "model__dropout": 0.1, "training__mask_share": 0.5}
    assert key(**same) == key()
    others: list[dict[str, Any]] = [
        {"training__seed": 7}, {"model__max_length": 24}, {"data__short_rows": 0.5}, {"data__holdout": 0.3},
    ]  # fmt: skip
    keys = {key(), base.table_key(True), *(key(**changes) for changes in others)}
    assert len(keys) == 6
    assert parts(text).table_key(False) not in keys  # another vocabulary


def test_another_text_of_the_same_name_has_another_table(text: Path, tiny_preset: Path, tmp_path: Path) -> None:
    lines = text.read_text().splitlines()
    other = tmp_path / text.name
    other.write_text("\n".join([*lines[:-1], lines[-1].replace("29 ", "92 ")]) + "\n")
    keys = [continued(path, tiny_preset).table_key(True) for path in (text, other)]
    assert keys[0] != keys[1]


def test_teacher_s_words_come_behind_the_text_and_not_into_the_held_out_part(text: Path, tiny_preset: Path) -> None:
    plain = continued(text, tiny_preset)
    taught = continued(text, tiny_preset, distillation__teacher=str(tiny_preset), distillation__teacher_words=2)
    rows, more = ([row.text for row in found.rows(False)] for found in (plain, taught))
    assert more[: len(rows)] == rows and len(more) > len(rows)
    assert [row.text for row in taught.rows(True)] == [row.text for row in plain.rows(True)]
    assert taught.table_key(True) == plain.table_key(True) and taught.table_key(False) != plain.table_key(False)


def test_the_manifest_counts_the_documents(text: Path, tiny_preset: Path) -> None:
    found = continued(text, tiny_preset)
    facts = describe_parts(found)
    content = [json.loads(line)["text"] for line in text.read_text().splitlines()]
    assert facts["data"]["characters"] == sum(map(len, content))
    assert (facts["data"]["documents"], facts["data"]["held_out_documents"]) == (DOCUMENTS, 6)
    assert facts["data"]["files"][0]["bytes"] == text.stat().st_size
    assert facts["init"]["name"] == tiny_preset.name and facts["teacher"] is None


def test_a_length_beyond_the_continued_encoder_is_refused(text: Path, tiny_preset: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        continued(text, tiny_preset, model__max_length=65)
    assert str(caught.value) == f"--max-length is 65, but {tiny_preset.name} accepts at most 64 tokens. Lower it."


def test_a_held_out_part_without_a_known_word_is_refused(tmp_path: Path, tiny_preset: Path) -> None:
    path = tmp_path / "unknown.jsonl"
    path.write_text("".join(json.dumps({"text": "漢" * 5}, ensure_ascii=False) + "\n" for _ in range(4)))
    with pytest.raises(DataError) as caught:
        continued(path, tiny_preset)
    assert str(caught.value) == "The text has no word that is in the vocabulary. Give more text."


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_huggingface("gpt2", tmp_path_factory.mktemp("gpt2") / "tiny_gpt2", task="LMHeadModel")


def test_decoders_neither_teach_nor_learn_masked_words(text: Path, gpt2: Path, tiny_preset: Path) -> None:
    with pytest.raises(PresetError) as caught:
        continued(text, tiny_preset, distillation__teacher=str(gpt2))
    assert str(caught.value) == (
        f"--teacher cannot be GPT-2 ({gpt2}), because its tokens see only earlier tokens. Give an encoder."
    )
    with pytest.raises(PresetError, match=r"^--init cannot continue GPT-2 \(.*\)\. It accepts DistilBERT, .*BERT"):
        continued(text, gpt2)
    with pytest.raises(PresetError, match=r"^--init cannot continue DistilBERT \(.*\)\. It accepts GPT-2"):
        continued(text, tiny_preset, objective="clm")
    with pytest.raises(ConfigError, match=r"^--objective clm does not support a teacher. Leave --teacher out.$"):
        continued(text, gpt2, objective="clm", distillation__teacher=str(tiny_preset))


def test_a_language_model_s_texts_end_and_all_of_them_are_there(text: Path, gpt2: Path) -> None:
    found = continued(text, gpt2, objective="clm")
    assert found.is_causal
    table = found.table(False)
    content = [json.loads(line)["text"] for line in text.read_text().splitlines()]
    kept = [line for line, held in zip(content, found.held_out, strict=True) if not held]
    assert [found.tokenizer.decode(table.row(n).tolist()).strip() for n in range(len(table))] == kept
    assert {int(table.row(n)[-1]) for n in range(len(table))} == {found.tokenizer.end_id}
