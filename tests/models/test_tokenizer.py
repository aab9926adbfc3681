"""Tokens equal Hugging Face's fast tokenizers on the same folder, on strings that break tokenizers."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.batches import padded_inputs
from kerora.models.presets import find_preset
from kerora.models.tokenizer import TextTokenizer, _chunks
from tests.tiny_huggingface import KINDS

NASTY = [
    "",
    " ",
    "\t\n\r\x0b",
    "Café naïve Ångström ÉCOLE ﬁne ①②③ ½ ﾊﾛｰ Ｆｕｌｌ ㎏ Ⅷ ﷺ",
    "e\u0301 a\u0308 combining x\u0300\u0301\u0302",
    "😀 👩‍👩‍👧 🇩🇪 ✈️",
    "東京日本 漢字かな交じり文 한국어",
    "<br /><br />very good.<br/>",
    "a\x00b\x01c\x7fd\u200be\u200f",
    "\ufeffbom \u00a0nbsp\u2003em\u3000ideo \u2028line",
    "literal [SEP] and [CLS] [PAD] [MASK] [UNK] in text",
    "<s> a </s> <pad> <mask> <unk>",
    "x <mask>  y",
    "a<mask>b [MASK]good good[SEP]movie [sep] <S>",
    "x" * 10_000,
    "word " * 3_000,
    "مرحبا بالعالم שלום עולם",
    "İstanbul ıI ß ẞ ſ Σίσυφος ΑΣ",
    "``quoted'' it's \"(ok)\" - ok.!?...",
    "  two  spaces   three   ",
    "don't can't we'll I'm 3.14 1,000 50% £5 €5",
    "tab\tand\nnewline\r\nmix",
    "\u0344\u0958\u096c\u0134 \ud7ff\ue000\U0010ffff",
    "http://x.y/z?a=1&b=2 a_b-c/d\\e@f#g",
]
Folder = Callable[..., Path]


def assert_same_tokens(directory: Path, texts: list[str], pairs: list[str] | None, max_length: int) -> None:
    tokenizer = find_preset(str(directory)).load_tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    wanted = theirs(texts, pairs, truncation=True, max_length=max_length, return_token_type_ids=True)
    tokens = tokenizer.encode(texts, pairs, max_length=max_length)
    for row, text in enumerate(texts):
        assert tokens.row(row).tolist() == wanted["input_ids"][row], (row, text[:60])
        if tokens.segments is not None:
            segments = tokens.segments[tokens.offsets[row] : tokens.offsets[row + 1]]
            assert segments.tolist() == wanted["token_type_ids"][row], (row, text[:60])
    assert tokenizer.pad_id == (theirs.eos_token_id if theirs.pad_token_id is None else theirs.pad_token_id)
    assert tokenizer.vocabulary_size == len(theirs)


@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("kind", KINDS)
def test_nasty_texts(kind: str, layout: str, folder: Folder) -> None:
    assert_same_tokens(folder(kind, layout), NASTY, None, max_length=100_000)
    assert_same_tokens(folder(kind, layout), NASTY, None, max_length=16)


@pytest.mark.parametrize("kind", KINDS)
def test_nasty_pairs_are_cut_at_the_longer_text(kind: str, folder: Folder) -> None:
    assert_same_tokens(folder(kind), NASTY, NASTY[::-1], max_length=24)


@pytest.mark.parametrize("kind", ["bert", "electra", "roberta", "xlm_roberta", "deberta_v3", "albert"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text(kind: str, folder: Folder, text: str) -> None:
    directory = folder(kind, "old")
    mine, theirs = _both(directory)
    assert mine.encode([text], max_length=512).ids.tolist() == theirs(text)["input_ids"]


_LOADED: dict[Path, tuple[TextTokenizer, object]] = {}


def _both(directory: Path) -> tuple[TextTokenizer, object]:
    if directory not in _LOADED:
        theirs = transformers.AutoTokenizer.from_pretrained(directory)
        _LOADED[directory] = find_preset(str(directory)).load_tokenizer(), theirs
    return _LOADED[directory]


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_special_tokens_of_older_transformers(kind: str, folder: Folder, tmp_path: Path) -> None:
    """Older versions wrote special_tokens_map.json, with a mask that swallows the blank before it."""
    directory = Path(shutil.copytree(folder(kind, "old"), tmp_path / kind))
    mask = "<mask>" if kind == "roberta" else "[MASK]"
    entry = {"content": mask, "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    config = json.loads((directory / "tokenizer_config.json").read_text())
    config["mask_token"] = {**entry, "__type": "AddedToken"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "special_tokens_map.json").write_text(json.dumps({"mask_token": entry}))
    assert_same_tokens(directory, NASTY, None, max_length=512)


@pytest.mark.parametrize(
    "options", [{"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}]
)
def test_wordpiece_options(options: dict[str, bool], folder: Folder, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(folder("bert", "old"), tmp_path / "bert"))
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, **options}))
    assert_same_tokens(directory, NASTY, None, max_length=512)


@pytest.fixture
def tokenizer(folder: Folder) -> TextTokenizer:
    return find_preset(str(folder("bert"))).load_tokenizer()


def test_lengths_are_not_cut(tokenizer: TextTokenizer) -> None:
    tokenizer.encode(["good"], max_length=8)
    assert tokenizer.lengths(["good film", "", "good " * 600]) == [4, 2, 602]
    assert tokenizer.lengths(["good", "bad"], ["film", "a story"]) == [5, 6]


def test_rows_lie_end_to_end(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode(["good film", ""], ["bad", "bad"], max_length=64)
    assert len(tokens) == 2
    assert (tokens.ids.dtype, tokens.offsets.dtype, tokens.segments.dtype) == (np.int32, np.int64, np.uint8)
    assert tokens.offsets.tolist() == [0, 6, 10]
    assert tokens.segments.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1]


def test_no_rows(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode([], max_length=16)
    assert len(tokens) == 0 and len(tokens.ids) == 0 and len(tokens.segments) == 0
    assert tokenizer.lengths([]) == []


def test_more_rows_than_a_chunk(tokenizer: TextTokenizer) -> None:
    texts = [f"number {row}" for row in range(5000)]
    tokens = tokenizer.encode(texts, max_length=16)
    for row in (0, 2047, 2048, 4999):
        assert tokens.row(row).tolist() == tokenizer.encode([texts[row]], max_length=16).ids.tolist()


def test_lone_surrogates_are_no_reason_to_stop(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode(["good \ud83d film", "good film"], max_length=16)
    assert tokens.row(0)[1] == tokens.row(1)[1]
    assert tokenizer.lengths(["\udc00"], ["\ud800 x"])


def test_fingerprint_follows_the_definition(folder: Folder) -> None:
    one, same = (find_preset(str(folder("bert"))).load_tokenizer() for _ in range(2))
    same.encode(["good"], max_length=8)
    assert one.fingerprint == same.fingerprint
    assert len({find_preset(str(folder(kind))).load_tokenizer().fingerprint for kind in KINDS}) == len(KINDS)


def test_padding_is_rounded_up_to_eight(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode(["good", "good film and a story about the war"], max_length=64)
    inputs = padded_inputs(tokens, np.arange(2), tokenizer.pad_id)
    assert {name: array.shape for name, array in inputs.items()} == dict.fromkeys(inputs, (2, 16))
    assert all(array.dtype == np.int32 for array in inputs.values())
    assert inputs["padding_mask"].sum(axis=1).tolist() == [3, 10]
    assert inputs["token_ids"][inputs["padding_mask"] == 0].tolist() == [tokenizer.pad_id] * 19


def test_padding_never_exceeds_the_longest_allowed_row(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode(["good " * 50], max_length=13)
    assert padded_inputs(tokens, np.arange(1), 0)["token_ids"].shape == (1, 13)


def test_huge_texts_are_encoded_a_few_at_a_time() -> None:
    texts = ["a" * 900_000] * 5 + ["b"] * 3000
    sizes = [len(chunk) for chunk in _chunks(texts)]
    assert sizes == [3, 2048, 954] and sum(sizes) == len(texts)


def test_a_forked_child_can_tokenize(folder: Folder) -> None:
    """The library's threads do not survive a fork; the child must neither hang nor warn."""
    code = f"""
import os
from pathlib import Path
from kerora.models.architectures import ARCHITECTURES
from kerora.models.tokenizer_files import huggingface_tokenizer
tokenizer = huggingface_tokenizer(Path({str(folder("bert"))!r}), ARCHITECTURES["bert"])
texts = ["good film"] * 500
tokenizer.lengths(texts)
child = os.fork()
if child == 0:
    os._exit(0 if tokenizer.lengths(texts) == [4] * 500 else 3)
print(os.waitpid(child, 0)[1], tokenizer.lengths(texts) == [4] * 500)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "True"], done.stderr
    assert done.stderr == ""
