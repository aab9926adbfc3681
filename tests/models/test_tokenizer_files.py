"""Vocabularies of Keras presets give the tokens that Hugging Face gives for the same vocabulary."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.errors import ConfigError, PresetError
from kerora.models.architectures import ARCHITECTURES
from kerora.models.classifier import TextClassifier
from kerora.models.presets import find_preset
from kerora.models.tokenizer_files import huggingface_tokenizer, keras_tokenizer
from tests.models.test_tokenizer import NASTY
from tests.tiny_huggingface import KINDS

keras_hub = import_keras_hub()
Folder = Callable[..., Path]

WORDPIECE = {"distil_bert": "DistilBertTokenizer", "bert": "BertTokenizer", "electra": "ElectraTokenizer"}
SENTENCEPIECE = {"xlm_roberta": "sentencepiece.bpe.model", "deberta_v3": "spm.model", "albert": "spiece.model"}


def keras_hub_tokenizer(kind: str, files: Path) -> Any:
    """Build KerasHub's own tokenizer on the vocabulary of a Hugging Face folder."""
    build = getattr(keras_hub.models, ARCHITECTURES[kind].tokenizer)
    with without_tensorflow():
        if kind in WORDPIECE:
            vocabulary = (files / "vocab.txt").read_text(encoding="utf-8").split()
            return build(vocabulary=vocabulary, lowercase=kind != "electra", strip_accents=False)
        if kind in ("roberta", "gpt2"):
            return build(vocabulary=str(files / "vocab.json"), merges=str(files / "merges.txt"))
        return build(proto=str(files / SENTENCEPIECE[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_keras_vocabularies(kind: str, folder: Folder, tmp_path: Path) -> None:
    files = folder(kind, "old")
    theirs = keras_hub_tokenizer(kind, files)
    with without_tensorflow():
        theirs.save_to_preset(str(tmp_path))
    tokenizer = keras_tokenizer(tmp_path, ARCHITECTURES[kind])
    wanted = transformers.AutoTokenizer.from_pretrained(files)(NASTY, NASTY[::-1])["input_ids"]
    tokens = tokenizer.encode(NASTY, NASTY[::-1], max_length=100_000)
    assert [tokens.row(row).tolist() for row in range(len(NASTY))] == wanted
    assert tokenizer.pad_id == theirs.pad_token_id
    assert tokenizer.vocabulary_size == theirs.vocabulary_size()
    assert tokenizer.uses_segments == (kind in ("bert", "albert", "electra"))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_that_keras_hub_gives(kind: str, folder: Folder, tmp_path: Path) -> None:
    theirs = keras_hub_tokenizer(kind, folder(kind, "old"))
    with without_tensorflow():
        theirs.save_to_preset(str(tmp_path))
        wanted = list(theirs("the story was very good"))
    tokenizer = keras_tokenizer(tmp_path, ARCHITECTURES[kind])
    ids = tokenizer.encode(["the story was very good"], max_length=64).ids.tolist()
    if kind == "gpt2":  # no token stands around a text
        assert (ids, tokenizer.end_id) == (wanted, theirs.end_token_id)
        return
    first, *inner, last = ids
    start = getattr(theirs, "start_token_id", None)
    end = getattr(theirs, "end_token_id", None)
    assert (first, last) == (
        theirs.cls_token_id if start is None else start,
        theirs.sep_token_id if end is None else end,
    )
    assert inner == wanted


def test_an_unreadable_vocabulary(folder: Folder, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder("bert") / name).read_bytes())
    with pytest.raises(PresetError, match=r"holds no vocabulary for BERT\. It needs one of tokenizer\.json"):
        huggingface_tokenizer(tmp_path, ARCHITECTURES["bert"])
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(PresetError, match=r"tokenizer\.json cannot be read"):
        huggingface_tokenizer(tmp_path, ARCHITECTURES["bert"])


def test_a_vocabulary_of_another_kind(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\nhello\n")
    with pytest.raises(PresetError, match=r"lacks the special token '\[CLS\]'"):
        huggingface_tokenizer(tmp_path, ARCHITECTURES["bert"])


def test_a_keras_preset_without_its_vocabulary(tiny_preset: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((tiny_preset / "tokenizer.json").read_bytes())
    with pytest.raises(PresetError, match="tokenizer cannot be read"):
        keras_tokenizer(tmp_path, ARCHITECTURES["distil_bert"])
    (tmp_path / "tokenizer.json").write_text("no json")
    with pytest.raises(PresetError, match=r"tokenizer\.json cannot be read"):
        keras_tokenizer(tmp_path, ARCHITECTURES["distil_bert"])


def test_uncased_keras_presets_drop_accents(tiny_preset: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_preset / "tokenizer.json").read_text())
    config["config"]["strip_accents"] = False
    assets = tmp_path / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    (assets / "vocabulary.txt").write_bytes((tiny_preset / "assets" / "tokenizer" / "vocabulary.txt").read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps(config))
    tokenizer = keras_tokenizer(tmp_path, ARCHITECTURES["distil_bert"])
    accented, plain = tokenizer.encode(["Gòód mövie", "good movie"], max_length=16), None
    plain = accented.row(1).tolist()
    assert accented.row(0).tolist() == plain
    assert find_preset(str(tiny_preset)).load_tokenizer().fingerprint == tokenizer.fingerprint


LEGACY: dict[str, dict[str, Any]] = {
    "added_tokens.json": {"added_tokens.json": {"<user>": 1, "[URL]": 0}},
    "special_tokens_map.json": {"special_tokens_map.json": {"additional_special_tokens": ["[URL]", "<user>"]}},
    "both": {
        "added_tokens.json": {"[URL]": 0, "<user>": 1},
        "special_tokens_map.json": {"extra_special_tokens": ["[URL]", "<user>"], "unk_token": {"content": "[UNK]"}},
    },
}


@pytest.mark.parametrize("writer", LEGACY)
@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_tokens_that_older_versions_keep_apart(kind: str, writer: str, folder: Folder, tmp_path: Path) -> None:
    files = Path(shutil.copytree(folder(kind, "old"), tmp_path / "model"))
    size = find_preset(str(files)).load_tokenizer().vocabulary_size
    for name, content in LEGACY[writer].items():
        if name == "added_tokens.json":
            content = {token: size + number for token, number in content.items()}
        elif kind != "bert":
            content = {key: value for key, value in content.items() if key != "unk_token"}
        (files / name).write_text(json.dumps(content))
    texts = ["good [URL] film <user>", "[url] bad <USER>x"]
    theirs = transformers.AutoTokenizer.from_pretrained(files)(texts, add_special_tokens=False).input_ids
    ours = find_preset(str(files)).load_tokenizer()
    assert ours.plain_ids(texts) == theirs
    assert {size, size + 1} <= set(theirs[0])


def test_special_tokens_by_name(folder: Folder, tmp_path: Path) -> None:
    files = Path(shutil.copytree(folder("bert", "old"), tmp_path / "model"))
    options = json.loads((files / "tokenizer_config.json").read_text())
    options["extra_special_tokens"] = {"image_token": "<image>"}  # as transformers 4.47 to 4.57 write it
    (files / "tokenizer_config.json").write_text(json.dumps(options))
    tokenizer = find_preset(str(files)).load_tokenizer()
    assert tokenizer.pieces[-1] == "<image>" and tokenizer.plain_ids(["a <image>"])[0][-1] == len(tokenizer.pieces) - 1


@pytest.mark.parametrize("place", ["tokenizer_config.json", "tokenizer.json"])
def test_the_side_of_truncation_is_that_of_transformers(
    folder: Callable[..., Path], tmp_path: Path, place: str
) -> None:
    shutil.copytree(folder("bert"), tmp_path / "bert")
    path = tmp_path / "bert" / place
    content = json.loads(path.read_text())
    cut = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    content |= {"truncation_side": "left"} if "config" in place else {"truncation": cut}
    path.write_text(json.dumps(content))
    text = "first " + "the film was great and the plot was bad and long " * 3
    model = TextClassifier.from_preset(tmp_path / "bert", 2, max_length=16)
    assert model.truncate == "left" and model.tokenizer.fingerprint.endswith("-left")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "bert"))
    ids = theirs(text, truncation=True, max_length=16)["input_ids"]
    assert model.encode(text)["token_ids"][0].tolist() == ids
    model.truncate = "right"
    assert model.encode(text)["token_ids"][0].tolist() != ids
    model.truncate = None
    assert model.encode(text)["token_ids"][0].tolist() == ids
    with pytest.raises(ConfigError, match="truncate must be left or right. Received: 'both'"):
        model.truncate = "both"
