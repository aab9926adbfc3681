import pytest

from kerora.config import DataConfig
from kerora.data.folders import find_in_folder
from kerora.data.labelled import LabelledReader
from kerora.data.sources import read_source
from kerora.errors import DataError


def read_folder(folder, config):
    return read_source(str(folder), config, LabelledReader())


def is_whole(folder):
    return find_in_folder(folder, DataConfig(), LabelledReader()).whole


def write(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def class_folders(folder, *splits):
    for split in splits:
        for label in ("neg", "pos"):
            for number in range(3):
                path = folder / split / label / f"{number}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"\ufeff{split} {label}\n{number}\n", encoding="utf-8")


def test_class_folders_by_split(tmp_path):
    class_folders(tmp_path, "train", "test")
    (tmp_path / "train" / "unsup").mkdir()
    (tmp_path / "train" / "unsup" / "1.txt").write_text("unlabelled")
    (tmp_path / "train" / "labeledBow.feat").write_text("1 2")
    (tmp_path / "README").write_text("about")
    parts = read_folder(tmp_path, DataConfig())
    assert list(parts) == ["test", "train"]
    train = parts["train"]
    assert train.rows.targets == ["neg"] * 3 + ["pos"] * 3
    assert train.rows.texts[0] == "train neg\n0"
    assert train.rows.ids[3] == "pos/0.txt"
    assert not is_whole(tmp_path)


def test_class_folders_alone_are_the_training_part(tmp_path):
    class_folders(tmp_path, ".")
    (tmp_path / ".git").mkdir()
    parts = read_folder(tmp_path, DataConfig())
    assert list(parts) == ["train"]
    assert parts["train"].first_seen == {"neg": "neg/0.txt", "pos": "pos/0.txt"}
    assert is_whole(tmp_path)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "Dev"])
def test_files_named_by_split(tmp_path, name):
    write(
        tmp_path,
        train_DOT_csv="text,label\na,1\n",
        test_DOT_jsonl='{"text": "b", "label": 2}\n',
        other_DOT_csv="x\n1\n",
    )
    (tmp_path / f"{name}.tsv").write_text("text\tlabel\nc\t3\n")
    parts = read_folder(tmp_path, DataConfig())
    assert {split: (part.rows.texts, part.rows.targets) for split, part in parts.items()} == {
        "train": (["a"], ["1"]),
        "validation": (["c"], ["3"]),
        "test": (["b"], ["2"]),
    }


def test_shards_are_joined_in_order(tmp_path):
    (tmp_path / "train-00001-of-00002.csv").write_text("sentence1,sentence2,label\nc,d,2\n")
    (tmp_path / "train-00000-of-00002.csv").write_text("sentence1,sentence2,label\na,b,1\n")
    train = read_folder(tmp_path, DataConfig())["train"]
    assert (train.rows.texts, train.rows.pairs, train.rows.targets) == (["a", "c"], ["b", "d"], ["1", "2"])
    assert train.first_seen["2"] == "train-00001-of-00002.csv row 1 (line 2)"


def test_two_files_of_one_part_are_refused(tmp_path):
    write(tmp_path, train_DOT_csv="text,label\na,1\n", train_DOT_tsv="text\tlabel\na\t1\n")
    with pytest.raises(DataError, match=r"train\.csv and .*train\.tsv are the same part"):
        read_folder(tmp_path, DataConfig())


def test_nothing_usable(tmp_path):
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no data set. It needs train and test files"):
        read_folder(tmp_path, DataConfig())


def test_empty_and_foreign_text_files_are_named(tmp_path):
    class_folders(tmp_path, ".")
    (tmp_path / "pos" / "1.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"1 row cannot be used: pos/1\.txt is empty"):
        read_folder(tmp_path, DataConfig())
    assert read_folder(tmp_path, DataConfig(skip_bad_rows=True))["train"].skipped == 1
    (tmp_path / "pos" / "1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"pos/1\.txt, line 1, byte offset 3"):
        read_folder(tmp_path, DataConfig())
