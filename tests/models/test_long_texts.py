"""Long texts: cut in the middle or in windows, compared with the tokenizers of transformers."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from kerora.data.batches import WINDOWS
from kerora.data.rows import Rows
from kerora.models import tokenizer as tokenizers_module
from kerora.models.classifier import TextClassifier
from kerora.models.long_texts import LongTexts, LongTokenizer
from kerora.models.presets import find_preset
from tests.tiny import WORDS
from tests.tiny_huggingface import KINDS

Folder = Callable[..., Path]


def texts(count: int, seed: int, most: int = 60) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(0, most))) for _ in range(count)]


def rows_of(table: Any) -> list[list[int]]:
    return [table.row(number).tolist() for number in range(len(table))]


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_single_texts_equal_transformers(kind: str, folder: Folder) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder(kind)))
    own = find_preset(str(folder(kind))).load_tokenizer()
    given = [*texts(12, 1), "", "word"]
    for stride in (0, 5, 12):
        table = LongTokenizer(own, LongTexts("windows", stride)).encode(given, max_length=16)
        found = theirs(
            given,
            truncation=True,
            max_length=16,
            stride=stride,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
        )
        assert rows_of(table) == found["input_ids"]
        assert table.windows is not None
        assert table.windows.tolist() == np.bincount(found["overflow_to_sample_mapping"]).tolist()
        if own.uses_segments:
            assert table.segments is not None
            assert table.segments.tolist() == list(itertools.chain(*found["token_type_ids"]))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_pairs_divide_the_longer_text(kind: str, folder: Folder) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder(kind)))
    own = find_preset(str(folder(kind))).load_tokenizer()
    short, long = texts(6, 2, 4), [f"{text} good film" for text in texts(6, 3)]
    for first, second, strategy in ((short, long, "only_second"), (long, short, "only_first")):
        table = LongTokenizer(own, LongTexts("windows", 3)).encode(first, second, max_length=24)
        ids, segments = [], []
        for one, two in zip(first, second, strict=True):
            found = theirs(
                one,
                two,
                truncation=strategy,
                max_length=24,
                stride=3,
                return_overflowing_tokens=True,
                return_token_type_ids=True,
            )
            ids += found["input_ids"]
            segments += itertools.chain(*found["token_type_ids"])
        assert rows_of(table) == ids
        assert table.segments is None or table.segments.tolist() == segments
    both = LongTokenizer(own, LongTexts("windows", 3)).encode(long, long, max_length=24)
    assert both.lengths.max() <= 24


@pytest.mark.parametrize("kind", KINDS)
def test_the_middle_is_cut(kind: str, folder: Folder) -> None:
    own = find_preset(str(folder(kind))).load_tokenizer()
    (ids,) = own.contents(["good film " * 30])
    special = len(own.frame(False)[0]) - 1
    room = 17 - special
    middle = LongTokenizer(own, LongTexts("cut-middle"))
    row = middle.encode(["good film " * 30, "good"], max_length=17)
    wanted = np.concatenate([ids[: room - room // 2], ids[len(ids) - room // 2 :]])
    assert row.windows is None and row.lengths[0] == 17
    assert [token for token in row.row(0).tolist() if not own.special[token]] == wanted.tolist()
    assert row.row(1).tolist() == own.encode(["good"], max_length=17).row(0).tolist()
    many = " ".join(["good"] * 40)
    # the length of each text of a pair is that of a cut at the end
    for first, second in ((many, "film"), ("good", many), (many, many)):
        assert len(middle.encode([first], [second], max_length=16).ids) == 16
        ours, cut = (one.encode([first], [second], max_length=16).row(0).tolist() for one in (middle, own))
        assert sorted(ours) == sorted(cut)


def test_a_text_of_megabytes_is_encoded_in_pieces(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("bert", "roberta", "xlm_roberta", "gpt2"):
        own = find_preset(str(folder(kind))).load_tokenizer()
        text = "  ".join(texts(40, 4)) + " "
        (whole,) = own.contents([text])
        monkeypatch.setattr(tokenizers_module, "PIECE_CHARACTERS", 150)
        monkeypatch.setattr(tokenizers_module, "CHECKED_CHARACTERS", 40)
        parts = [part.tolist() for part in own.contents(["a", text, "x" * 500, "b"])]
        cut = [own.encode([text, "a"], pair, max_length=30) for pair in (None, ["b", text], [text, text])]
        monkeypatch.undo()
        for found, pair in zip(cut, (None, ["b", text], [text, text]), strict=True):
            assert rows_of(found) == rows_of(own.encode([text, "a"], pair, max_length=30)), kind
        assert parts[1] == whole.tolist(), kind
        assert parts[0] + parts[3] == [int(own.plain_ids(["a"])[0][0]), *map(int, own.plain_ids(["b"])[0])]


def model_of(folder: Path, long_texts: LongTexts, classes: int = 3) -> TextClassifier:
    model = TextClassifier.from_preset(str(folder), classes, max_length=16, seed=0)
    for layer in model.head_layers:
        layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    model.long_texts = long_texts
    return model


@pytest.mark.parametrize(
    ("kind", "pool"), [("distil_bert", "mean"), ("bert", "max"), ("roberta", "max"), ("gpt2", "mean")]
)
def test_logits_of_windows_are_joined(kind: str, pool: str, folder: Folder) -> None:
    model = model_of(folder(kind), LongTexts("windows", 4, pool))
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder(kind)))
    given = texts(9, 5)
    plain = model_of(folder(kind), LongTexts())
    wanted = []
    for text in given:
        found = theirs(
            text, truncation=True, max_length=16, stride=4, return_overflowing_tokens=True, return_token_type_ids=True
        )
        logits = []
        for ids, kinds in zip(found["input_ids"], found["token_type_ids"], strict=True):
            inputs = {"token_ids": np.array([ids], np.int32), "padding_mask": np.ones((1, len(ids)), np.int32)}
            if "segment_ids" in plain.input:
                inputs["segment_ids"] = np.array([kinds], np.int32)
            logits.append(plain.predict_on_batch(inputs)[0])
        wanted.append(getattr(np.array(logits, np.float64), pool)(axis=0))
    np.testing.assert_allclose(model.predict_logits(given), wanted, atol=2e-5)
    np.testing.assert_allclose(model.predict_logits(given, batch_size=1), wanted, atol=2e-5)
    np.testing.assert_allclose(model.predict(given, verbose=0), wanted, atol=2e-5)
    np.testing.assert_allclose(np.array(model(model.encode(given)).detach().cpu()), wanted, atol=2e-5)
    batches = model.batches(Rows.numbered(given), cache=False)
    np.testing.assert_allclose(model.predict(batches, verbose=0), wanted, atol=2e-5)


@pytest.mark.parametrize("long", ["windows", "cut-middle"])
def test_short_texts_are_read_as_without_it(long: str, tiny_preset: Path) -> None:
    plain, model = model_of(tiny_preset, LongTexts()), model_of(tiny_preset, LongTexts(long))
    given = texts(20, 6, 12)
    assert WINDOWS not in model.encode(given)
    assert np.array_equal(model.predict_logits(given), plain.predict_logits(given))
    pairs = Rows.numbered(given, pairs=["good"] * 20)
    assert np.array_equal(model.predict_logits(pairs), plain.predict_logits(pairs))
