import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest

from kerora.config import DataConfig
from kerora.data import tfds_source
from kerora.data.classes import ClassLabels
from kerora.data.language import load_documents
from kerora.data.sources import load_dataset, load_rows
from kerora.data.tfds_source import is_tfds_name, read_tfrecord
from kerora.errors import DataError
from kerora.settings.language import LanguageConfig
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of prepared data sets, stored by TFDS itself (tests/fixtures/make_tfds.py)."""
    return shutil.copytree(ROOT / "tests" / "fixtures" / "tfds", tmp_path_factory.mktemp("tfds") / "sets")


def load(name, folder, **config):
    return load_dataset(DataConfig(source=name, data_dir=str(folder), **config), 1)


def test_reviews_keep_class_names_and_leave_unlabelled_rows_out(prepared):
    dataset = load("imdb_reviews", prepared)
    assert (dataset.name, dataset.classes) == ("imdb_reviews", ("neg", "pos"))
    assert {split: len(rows) for split, rows in dataset} == {"train": 18, "validation": 2, "test": 6}
    assert dataset.splits["test"].texts[1] == "text 1 ä"
    assert dataset.splits["test"].targets == [0, 1] * 3
    assert load("imdb_reviews/plain_text:1.0.0", prepared).splits == dataset.splits


def test_title_and_description_are_joined_and_classes_without_rows_stay(prepared):
    dataset = load("ag_news_subset", prepared)
    assert dataset.splits["test"].texts[0] == "title 0 ä description 0 ä"
    assert dataset.splits["test"].pairs is None
    assert dataset.classes == ("World", "Sports", "Business", "Sci/Tech")


def test_hidden_test_labels_leave_no_test_part(prepared):
    dataset = load("glue/sst2", prepared)
    assert {split: len(rows) for split, rows in dataset} == {"train": 20, "validation": 4}
    assert dataset.name == "glue/sst2"


def test_sentence_pairs_of_an_array_record_set(prepared):
    validation = load("glue/mrpc", prepared).splits["validation"]
    assert (validation.texts[2], validation.pairs[2], validation.ids[2]) == ("sentence1 2 ä", "sentence2 2 ä", "3")


def test_columns_can_be_chosen_and_missing_ones_are_listed(prepared):
    assert load("ag_news_subset", prepared, text="title").splits["test"].texts[0] == "title 0 ä"
    with pytest.raises(DataError, match=r"did not find the column 'body'. Its columns: .*title"):
        load("ag_news_subset", prepared, text="body")


def test_rows_for_a_run_match_by_class_name(prepared):
    rows = load_rows("imdb_reviews", DataConfig(data_dir=str(prepared)), ClassLabels(("pos", "neg")))
    assert rows.targets == [1, 0] * 3


def test_examples_agree_with_tensorflow_datasets(prepared):
    pytest.importorskip("tensorflow", reason="TFDS needs TensorFlow to read TFRecord files itself")
    import tensorflow_datasets as tfds

    expected = tfds.as_numpy(tfds.load("imdb_reviews", data_dir=prepared, split="train", download=False))
    builder = tfds.builder("imdb_reviews", data_dir=prepared)
    ours = list(tfds_source._examples(builder, "train"))
    assert [(row["text"], row["label"]) for row in ours] == [(row["text"], row["label"]) for row in expected]


def test_reading_does_not_load_tensorflow(prepared):
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from kerora.config import DataConfig; from kerora.data.sources import load_dataset\n"
        "for name in ('imdb_reviews', 'glue/mrpc'):\n"
        f"    load_dataset(DataConfig(source=name, data_dir={str(prepared)!r}), 1)\n"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_set_that_is_not_prepared_fails_fast_without_network(tmp_path, monkeypatch, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")  # closed when it is used
    with pytest.raises(DataError) as error:
        load("imdb_reviews", tmp_path)
    message = str(error.value)
    for part in (
        "'imdb_reviews' is not prepared in",
        str(tmp_path),
        "no connection to ai.stanford.edu through the proxy 127.0.0.1",
        "--data tickets",
    ):
        assert part in message
    assert "\n" not in message
    assert capfd.readouterr().err == ""


REVIEWS_SCRIPT = """
import numpy as np
import tensorflow_datasets as tfds


class TinyReviews(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=["neg", "pos"])
        features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, downloads):
        return {"train": self._generate_examples(40), "test": self._generate_examples(6)}

    def _generate_examples(self, count):
        IMPORT
        for number in range(count):
            yield number, {"text": f"text {number} ä", "label": number % 2}
"""
LOADING = """
import importlib.machinery
import sys

find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
sys.path.insert(0, FOLDER)
import tiny_reviews
from kerora.config import DataConfig
from kerora.data import tfds_source
from kerora.data.sources import load_dataset

tfds_source.first_reachable = lambda urls, seconds: type("Servers", (), {"reached": urls[0], "tried": urls})()
try:
    dataset = load_dataset(DataConfig(source="tiny_reviews", data_dir=FOLDER), 1)
    print({split: len(rows) for split, rows in dataset}, dataset.classes, "tensorflow" in sys.modules)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("statement", "printed"),
    [
        ("pass", "{'train': 36, 'validation': 4, 'test': 6} ('neg', 'pos') False"),
        ("import tensorflow", "The script of this data set needs TensorFlow: pip install tensorflow"),
    ],
)
def test_a_set_is_prepared_without_tensorflow(tmp_path, statement, printed):
    (tmp_path / "tiny_reviews.py").write_text(REVIEWS_SCRIPT.replace("IMPORT", statement), encoding="utf-8")
    code = LOADING.replace("FOLDER", repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed in done.stdout.splitlines()[-1]
    assert bool(list(tmp_path.rglob("*.array_record*"))) == (statement == "pass")


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(self, **_):
        raise OSError("the server said\nno")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DataError, match="could not be prepared: OSError: the server said no"):
            load("imdb_reviews", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imdb_reviws", r"no file, folder or TFDS data set 'imdb_reviws'\. Did you mean 'imdb_reviews'"),
        ("glue/sst3", r"there is no config 'sst3'\. Did you mean 'sst2'\? Its configs: ax, cola"),
        ("glue/sst2:9.0.0", r"cannot be loaded at version 9\.0\.0, only: 2\.0\.0"),
    ],
)
def test_unknown_names_propose_near_ones(tmp_path, name, message):
    start = time.monotonic()
    with pytest.raises(DataError, match=message):
        load(name, tmp_path)
    assert time.monotonic() - start < 10


def test_a_cut_file_is_damaged(prepared, tmp_path):
    original = next((prepared / "imdb_reviews").rglob("*train.tfrecord*"))
    assert len(list(read_tfrecord(original))) == 20
    content = original.read_bytes()
    for end in (5, 30, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:end])
        with pytest.raises(DataError, match="cut is damaged at byte"):
            list(read_tfrecord(tmp_path / "cut"))
    (tmp_path / "cut").write_bytes(struct.pack("<Q", 2**60) + content[8:])
    with pytest.raises(DataError, match="cut is damaged at byte 12"):
        list(read_tfrecord(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("name", "pattern"), [("imdb_reviews", "*train.tfrecord*"), ("glue/mrpc", "*train.array_record*")]
)
def test_damaged_data_is_one_line(prepared, tmp_path, name, pattern):
    shutil.copytree(prepared, tmp_path / "copy")
    path = next((tmp_path / "copy" / name).rglob(pattern))
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff" * 300 + content[320:])
    with pytest.raises(DataError, match=r"is damaged .*prepare it again") as error:
        load(name, tmp_path / "copy")
    assert "\n" not in str(error.value)


def test_missing_examples_are_noticed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "copy")
    path = next((tmp_path / "copy" / "imdb_reviews").rglob("*train.tfrecord*"))
    size = len(next(read_tfrecord(path))) + 16
    path.write_bytes(path.read_bytes()[size:])
    with pytest.raises(DataError, match="split train is damaged: 19 of 20 examples"):
        load("imdb_reviews", tmp_path / "copy")


def test_names():
    assert all(map(is_tfds_name, ("imdb_reviews", "glue/sst2", "imdb_reviews:1.0.0", "a/b-c.d:1.2.3")))
    assert not any(map(is_tfds_name, ("./a", "a.csv", "a/b/c", "huggingface:imdb", "a b", "")))


def test_texts_for_a_language_model_need_no_label(prepared):
    dataset = load_documents(DataConfig(source="imdb_reviews", data_dir=str(prepared)), LanguageConfig())
    assert {split: len(rows) for split, rows in dataset} == {"train": 18, "validation": 2, "test": 6}
    assert dataset["test"].texts[0] == "text 0 ä"
    glue = load_documents(DataConfig(source="glue/sst2", data_dir=str(prepared)), LanguageConfig())
    assert len(glue["test"]) == 4, "without labels the hidden ones are texts like others"
