import gzip
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kerora.config import DataConfig
from kerora.data.classes import ClassLabels
from kerora.data.sources import load_dataset, load_rows
from kerora.data.streams import stream_texts
from kerora.errors import DataError
from tests.conftest import SHARED_DATA

needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the folder of real text is not beside the checkout")
GOOD = "text,label\n" + "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(40))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_the_bundled_set_has_its_own_parts_whatever_the_columns():
    dataset = load_dataset(DataConfig(text="body", label="grade", columns="a,b"), 1)
    assert dataset.name == "tickets"
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert "billing" in dataset.classes
    assert all(set(rows.targets) == set(range(len(dataset.classes))) for _, rows in dataset)


def test_a_file_is_split_by_class_and_seed(tmp_path):
    config = DataConfig(source=write(tmp_path / "demo.csv", GOOD), test_split=0.2)
    dataset = load_dataset(config, 1)
    assert {split: len(rows) for split, rows in dataset} == {"train": 28, "validation": 4, "test": 8}
    assert (dataset.name, dataset.classes) == ("demo", ("a", "b"))
    assert load_dataset(config, 1) == dataset
    assert load_dataset(config, 2).fingerprints() != dataset.fingerprints()


def test_given_files_replace_parts_and_the_source_is_not_read_with_train(tmp_path):
    paths = {
        name: write(tmp_path / f"{name}.csv", GOOD.replace("text ", f"{name} ")) for name in ("train", "test", "other")
    }
    dataset = load_dataset(DataConfig(source="no/such/place.csv", train=paths["train"], test=paths["test"]), 1)
    assert {split: len(rows) for split, rows in dataset} == {"train": 36, "validation": 4, "test": 40}
    assert dataset.name == tmp_path.name
    dataset = load_dataset(DataConfig(source=paths["other"], validation=paths["test"]), 1)
    assert {split: rows.texts[0] for split, rows in dataset} == {"train": "other 0", "validation": "test 0"}
    with pytest.raises(DataError, match=r"no training rows, only validation.*--train"):
        load_dataset(DataConfig(validation=paths["test"]), 1)


def test_parts_may_be_folders(tmp_path):
    for split, label in itertools.product(("train", "test"), "ab"):
        folder = tmp_path / split / label
        folder.mkdir(parents=True)
        for number in range(4):
            (folder / f"{number}.txt").write_text(split)
    dataset = load_dataset(DataConfig(train=str(tmp_path / "train"), test=str(tmp_path), validation_split=0.25), 1)
    assert {split: set(rows.texts) for split, rows in dataset} == {
        "train": {"train"},
        "validation": {"train"},
        "test": {"test"},
    }


def test_a_subset_is_taken_of_each_part(tmp_path):
    source = write(tmp_path / "demo.csv", GOOD)
    dataset = load_dataset(DataConfig(source=source, test=source, subset=6), 1)
    assert {split: len(rows) for split, rows in dataset} == {"train": 6, "validation": 4, "test": 6}
    assert dataset.splits["test"].targets.count(0) == 3
    with pytest.raises(DataError, match="'subset' is 1, fewer rows than the 2 classes"):
        load_dataset(DataConfig(source=source, subset=1), 1)


def test_bad_rows_are_dropped_and_counted_by_part(tmp_path):
    source = write(tmp_path / "demo.csv", GOOD + ",a\nb,\n")
    assert load_dataset(DataConfig(source=source, skip_bad_rows=True), 1).skipped == {"train": 2}


BAD = [
    ("empty.csv", "", {}, r"empty\.csv is empty"),
    ("header.csv", "text,label\n", {}, "no usable row"),
    ("column.csv", GOOD.replace("text,", "words,"), {}, r"did not find a text column .*Its columns: words, label"),
    ("named.csv", GOOD, {"label": "klass"}, "did not find the column 'klass'. Its columns: text, label"),
    ("same.csv", GOOD, {"label": "text", "text": "text"}, "cannot be both"),
    ("one.csv", GOOD.replace(",b", ",a"), {}, "all rows have the label 'a'"),
    ("few.csv", "text,label\na,b\nc,d\n", {}, "2 rows are too few for 2 classes"),
    ("single.csv", GOOD + "lonely,c\n", {}, "class 'c' has 1 row"),
    ("texts.csv", GOOD + " ,a\n", {}, r"1 row cannot be used: row 41 \(line 42\) has an empty text"),
    ("labels.csv", GOOD + "x,\n", {}, r"row 41 \(line 42\) has no label in 'label'"),
    ("ragged.csv", GOOD + "x,a,b\n", {}, r"row 41 \(line 42\) has the wrong number of fields: 3, not 2"),
    (
        "latin.csv",
        GOOD.encode() + b"caf\xe9,a\n",
        {},
        r"row 41 \(line 42\), byte offset \d+: byte 0xE9.*--encoding cp1252",
    ),
    ("nul.csv", GOOD.encode() + b"a\0,b\n", {}, "NUL byte"),
    ("line.jsonl", '{"text": "a", "label": 1}\n{"text": \n', {}, r"row 2 \(line 2\) is not valid JSON"),
    (
        "number.jsonl",
        '{"text": 1.5, "label": 1}\n',
        {},
        r"row 1 \(line 1\) has non-string text in 'text': 1.5 \(float\)",
    ),
    ("zip.csv.gz", gzip.compress(GOOD.encode())[:-9], {}, "damaged compressed file"),
    ("table.parquet", b"PAR1 but not really", {}, "not a readable Parquet file"),
    ("names.csv", GOOD, {"class_names": "x,y"}, "class_names names integer labels"),
]


@pytest.mark.parametrize(("name", "content", "config", "message"), BAD, ids=[case[0] for case in BAD])
def test_bad_files_are_one_line_that_says_where(tmp_path, name, content, config, message):
    source = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as error:
        load_dataset(DataConfig(source=source, **config), 1)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_only_in_validation_names_row_and_value(tmp_path):
    train, validation = write(tmp_path / "t.csv", GOOD), write(tmp_path / "v.csv", "text,label\nx,a\ny,c\n")
    with pytest.raises(DataError, match=r"v\.csv, row 2 \(line 3\): label 'c' does not occur in the training rows"):
        load_dataset(DataConfig(train=train, validation=validation), 1)


def test_pairs_and_single_texts_do_not_mix(tmp_path):
    pairs = write(tmp_path / "p.csv", "sentence1,sentence2,label\nx,y,a\nx,y,b\n")
    with pytest.raises(DataError, match=r"p\.csv holds sentence pairs, but .*t\.csv holds single texts"):
        load_dataset(DataConfig(train=write(tmp_path / "t.csv", GOOD), test=pairs), 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("demo.cvs", "There is no file demo.cvs. Did you mean 'demo.csv'"),
        ("./demmo.csv", "Did you mean 'demo.csv'"),
        ("ticket", "There is no file, folder or TFDS data set 'ticket'. Did you mean 'tickets'"),
        ("demo", "no file, folder or TFDS data set 'demo'. Did you mean 'demo.csv'"),
        ("empty", "The folder empty holds no data set"),
    ],
)
def test_an_unknown_source_proposes_near_names(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "demo.csv", GOOD)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        load_dataset(DataConfig(source=spec), 1)


def test_rows_for_a_run_are_in_its_label_set(tmp_path):
    rows = load_rows(write(tmp_path / "f.csv", "text,label\nx,b\ny,a\n"), DataConfig(), ClassLabels(("b", "c", "a")))
    assert (rows.texts, rows.targets) == (["x", "y"], [0, 2])
    with pytest.raises(DataError, match=r"row 1 \(line 2\): label 'd' does not occur in the run, which has a, b"):
        load_rows(write(tmp_path / "g.csv", "text,label\nx,d\n"), DataConfig(), ClassLabels(("a", "b")))


def test_rows_for_a_run_come_from_the_part_asked_for(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", f"text,label\n{name},a\n")
    assert load_rows(str(tmp_path), DataConfig(), ClassLabels(("a", "b"))).texts == ["test"]
    assert load_rows(str(tmp_path), DataConfig(), ClassLabels(("a", "b")), "train").texts == ["train"]
    with pytest.raises(DataError, match="has no validation part, only train and test"):
        load_rows(str(tmp_path), DataConfig(), ClassLabels(("a", "b")), "validation")
    assert len(load_rows("tickets", DataConfig(), ClassLabels(load_dataset(DataConfig(), 1).classes))) > 100


def test_texts_are_streamed_from_every_kind_of_input(tmp_path):
    def records(source, **config):
        return [(row.id, row.text, row.pair) for row in stream_texts(source, DataConfig(**config))]

    assert records(tmp_path / write(tmp_path / "a.txt", "\ufeffx\r\n\n y \n")) == [("1", "x", None), ("3", "y", None)]
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"x\n"))
    assert records(tmp_path / "b.txt.gz") == [("1", "x", None)]
    assert records(Path(write(tmp_path / "c.csv", "id,text\n7,x\n"))) == [("7", "x", None)]
    assert records(Path(write(tmp_path / "d.csv", "premise,hypothesis\nx,y\n"))) == [("1", "x", "y")]
    assert records(io.BytesIO(b'\n {"text": "x"}\n')) == [("1", "x", None)]
    assert records(io.BytesIO(b"one text\nanother, with comma\n")) == [
        ("1", "one text", None),
        ("2", "another, with comma", None),
    ]
    assert records(io.BytesIO(b"k;text\n1;x\n"), delimiter=";") == [("1", "x", None)]
    assert records(io.TextIOWrapper(io.BytesIO(b"x\n"))) == [("1", "x", None)]


def test_streaming_reads_no_more_than_it_must():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            line = b'{"text": "x"}\n'
            buffer[: len(line)] = line
            return len(line)

    assert [record.row_number for record in itertools.islice(stream_texts(Endless(), DataConfig()), 3)] == [1, 2, 3]


def test_unusable_streams():
    with pytest.raises(DataError, match="the input is empty"):
        list(stream_texts(io.BytesIO(b"\n"), DataConfig()))
    with pytest.raises(DataError, match="There is no file"):
        list(stream_texts(Path("no.txt"), DataConfig()))
    with pytest.raises(DataError, match=r"the input: 1 row .* row 2 \(line 2\) is not valid JSON"):
        list(stream_texts(io.BytesIO(b'{"text": "x"}\n{"t\n'), DataConfig()))


def test_local_data_loads_no_framework(tmp_path):
    source = write(tmp_path / "demo.csv", GOOD)
    code = (
        "import sys; from kerora.config import DataConfig; from kerora.data.sources import load_dataset;"
        f"load_dataset(DataConfig(), 1); load_dataset(DataConfig(source={source!r}), 1);"
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'keras', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@needs_shared
def test_real_files():
    config = DataConfig(
        train=str(SHARED_DATA / "ag_news_train.csv"),
        test=str(SHARED_DATA / "ag_news_test.csv"),
        columns="class,title,description",
        class_names="World,Sports,Business,Sci/Tech",
    )
    dataset = load_dataset(config, 42)
    assert {split: len(rows) for split, rows in dataset} == {"train": 3240, "validation": 360, "test": 1000}
    assert dataset.classes[dataset.splits["test"].targets[0]] == "Sports"
    sst2 = load_dataset(
        DataConfig(train=str(SHARED_DATA / "sst2_train.tsv"), test=str(SHARED_DATA / "sst2_test.tsv")), 42
    )
    assert {split: len(rows) for split, rows in sst2} == {"train": 3600, "validation": 400, "test": 800}
    imdb = load_dataset(DataConfig(source=str(SHARED_DATA / "imdb_validation.jsonl.gz"), subset=100), 42)
    assert imdb.fingerprints()["train"]["labels"] == {"neg": 50, "pos": 50}


def test_parts_that_are_left_out_are_not_opened_and_change_nothing_else(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "label": number % 2} for number in range(40)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = {
        "file": DataConfig(train=str(tmp_path / "train.jsonl"), test=str(tmp_path / "test.jsonl")),
        "folder": DataConfig(source=str(tmp_path)),
        "cut": DataConfig(train=str(tmp_path / "train.jsonl"), test_split=0.3),
        "bundled": DataConfig(),
    }
    expected = {name: load_dataset(config, 3) for name, config in whole.items()}
    (tmp_path / "test.jsonl").write_text("nothing that could be read")
    for name, config in whole.items():
        found = load_dataset(config, 3, without=("test",))
        assert set(found.splits) == {"train", "validation"} and "test" in expected[name].splits
        for split in ("train", "validation"):
            assert found[split].fingerprint() == expected[name][split].fingerprint(), (name, split)
