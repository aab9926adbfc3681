import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import DataConfig
from kerora.data.rows import Dataset, Rows
from kerora.data.save import save_dataset
from kerora.data.sources import load_dataset
from kerora.errors import DataError, RunError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
UNSPLIT = {"validation_split": 0}


def dataset(pairs=None):
    train = Rows(["a\u2028b", "c", "d", "e"], ["1", "x", "3", "4"], [2, 0, 2, 0], pairs)
    test = Rows(["f"], ["9"], [1], pairs and pairs[:1])
    return Dataset("demo", ("z", "never in train", "a"), {"train": train, "test": test})


@pytest.mark.parametrize("pairs", [None, ["p", "q", "r", "s"]])
def test_a_saved_set_reads_back_the_same(tmp_path, pairs):
    save_dataset(dataset(pairs), tmp_path / "deep" / "demo")
    config = DataConfig(source=str(tmp_path / "deep" / "demo"), text="unused", label="unused", columns="a,b", **UNSPLIT)
    assert load_dataset(config, 0) == dataset(pairs)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["demo"]


def test_original_labels_survive_a_renaming(tmp_path):
    rows = {split: Rows(["x", "y", "z"], ["1", "2", "3"], [0, 1, 1]) for split in ("train", "test")}
    original = Dataset("set", ("low", "TRUE"), rows, values=("3", "7"))
    save_dataset(original, tmp_path / "set")
    assert load_dataset(DataConfig(source=str(tmp_path / "set"), **UNSPLIT), 0) == original


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(0, 1)), min_size=3, max_size=6))
def test_any_text_survives(tmp_path_factory, rows):
    texts, labels = [text for text, _ in rows] + ["x", "y"], [label for _, label in rows] + [0, 1]
    original = Dataset("any", ("no", "yes"), {"train": Rows(texts, [str(i) for i in range(len(texts))], labels)})
    folder = tmp_path_factory.mktemp("any") / "set"
    save_dataset(original, folder)
    assert load_dataset(DataConfig(source=str(folder), **UNSPLIT), 0) == original


def test_the_description_has_counts_and_sums(tmp_path):
    save_dataset(dataset(), tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content["classes"] == ["z", "never in train", "a"]
    assert content["splits"]["train"]["rows"] == 4
    assert content["splits"]["train"]["labels"] == {"z": 2, "never in train": 0, "a": 2}
    assert content["splits"]["train"]["sha256"] == dataset().splits["train"].fingerprint()


def test_an_existing_folder_needs_force(tmp_path):
    folder = tmp_path / "set"
    save_dataset(dataset(), folder)
    with pytest.raises(DataError, match=r"set is not empty.*--force"):
        save_dataset(dataset(), folder)
    smaller = Dataset("demo", ("a", "b"), {"train": Rows(["t", "u", "v"], ["1", "2", "3"], [0, 1, 1])})
    save_dataset(smaller, folder, force=True)
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "train.jsonl"]
    assert load_dataset(DataConfig(source=str(folder), **UNSPLIT), 0) == smaller


def test_force_does_not_replace_other_things(tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(DataError, match=r"--force replaces only a saved data set"):
        save_dataset(dataset(), tmp_path, force=True)
    with pytest.raises(DataError, match=r"is a file"):
        save_dataset(dataset(), tmp_path / "thesis.doc", force=True)


def test_a_failed_write_leaves_nothing(tmp_path):
    broken = dataset()
    broken.splits["test"].texts[0] = "\ud800"
    with pytest.raises(UnicodeEncodeError):
        save_dataset(broken, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Cannot create the data folder .*Choose another folder"):
        save_dataset(dataset(), tmp_path / "file" / "set")


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("force", [False, True])
def test_a_save_that_was_killed_while_it_moved_can_be_repeated(tmp_path, monkeypatch, after, force):
    """Whatever was moved, the folder is never read as a whole set, and the same command with --force repeats it."""
    target, moved = tmp_path / "demo", []
    if force:
        save_dataset(dataset(["p", "q", "r", "s"]), target)
    before = sorted(path.name for path in target.iterdir()) if force else None

    def replace(source, goal, whole=os.replace):
        if len(moved) == after and Path(source).parent.name != "demo":
            raise KeyboardInterrupt
        if ".tmp" not in Path(source).name:
            moved.append(goal)
        whole(source, goal)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("kerora.data.save.os.replace", replace)
        save_dataset(dataset(), target, force)
        raise KeyboardInterrupt
    config = DataConfig(source=str(target), **UNSPLIT)
    if moved and len(moved) < 4:
        with pytest.raises(DataError, match="unfinished `kerora data save`. Run the same command again with --force"):
            load_dataset(config, 0)
    elif before and not moved:
        assert sorted(path.name for path in target.iterdir()) == before
    save_dataset(dataset(), target, force=bool(force or moved))
    assert load_dataset(config, 0) == dataset()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train.jsonl", lambda text: text.replace('"c"', '"C"'), r"train\.jsonl differs from what was saved"),
        ("train.jsonl", lambda text: text.replace('"z"', '"q"'), r"label 'q' does not occur in its classes"),
        ("dataset.json", lambda text: text[:-20], r"dataset\.json is damaged"),
        ("dataset.json", lambda text: "[]", r"dataset\.json is damaged"),
        ("dataset.json", lambda text: text.replace('"version": 1', '"version": 99'), "no data set of version 1"),
        ("dataset.json", lambda text: text.replace('"classes"', '"klasses"'), "has no 'classes'"),
    ],
)
def test_changed_files_are_noticed(tmp_path, name, change, message):
    save_dataset(dataset(), tmp_path)
    path = tmp_path / name
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_dataset(DataConfig(source=str(tmp_path)), 0)


def test_a_missing_part_is_named(tmp_path):
    save_dataset(dataset(), tmp_path)
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"There is no file .*test\.jsonl"):
        load_dataset(DataConfig(source=str(tmp_path)), 0)
