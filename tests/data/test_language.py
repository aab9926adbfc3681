"""Texts for language models: what each source gives, what is refused, and how parts are held out."""

import json
from pathlib import Path
from typing import Any

import pytest

from kerora.config import DataConfig
from kerora.data.documents import Documents, Part, turn
from kerora.data.language import load_documents, load_split
from kerora.data.rows import Dataset
from kerora.errors import DataError
from kerora.settings.language import LanguageConfig

BOOK = "".join(f"Line {number} of the book.\n\n" for number in range(100))


def load(path: Path | str, language: LanguageConfig | None = None, **values: Any) -> Dataset:
    return load_documents(DataConfig(source=str(path), **values), language or LanguageConfig())


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parts_of(dataset: Dataset, split: str = "train") -> list[tuple[Part, ...]]:
    documents = dataset[split]
    assert isinstance(documents, Documents)
    return documents.parts


def test_a_text_file_is_one_text_and_its_end_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(BOOK, encoding="utf-8")
    dataset = load(path, validation_split=0.1, test_split=0.2)
    assert dataset.name == "book"
    assert list(dataset.splits) == ["train", "validation", "test"]
    train, validation, test = (dataset[split].texts[0] for split in dataset.splits)
    assert train + test + validation == BOOK or train + validation + test == BOOK, "no character is lost"
    assert 0.67 < len(train) / len(BOOK) < 0.73
    assert parts_of(dataset) == [(Part(train, True, False),)], "the text goes on behind the training part"
    assert parts_of(dataset, "validation")[0][0].counted


def test_files_of_a_folder_are_texts(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number}", encoding="utf-8")
    dataset = load(tmp_path, validation_split=0.1)
    assert (len(dataset["train"]), len(dataset["validation"])) == (18, 2)
    assert dataset["train"].ids[0] in ("00.txt", "01.txt", "02.txt")
    again = load(tmp_path, validation_split=0.1)
    assert again.fingerprints() == dataset.fingerprints()


def test_split_files(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(BOOK, encoding="utf-8")
    (tmp_path / "dev.txt").write_text("held out", encoding="utf-8")
    dataset = load(tmp_path)
    assert dataset["train"].texts == [BOOK]
    assert dataset["validation"].texts == ["held out"]


def test_rows_of_texts_keep_their_line_ends(tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "text": f"one\ntwo {number}\n", "label": "x"} for number in range(30)]
    dataset = load(write(tmp_path / "rows.jsonl", *rows), validation_split=0.1, subset=5)
    assert (len(dataset["train"]), len(dataset["validation"])) == (5, 3)
    assert dataset["train"].texts[0].startswith("one\ntwo ")
    assert dataset["train"].ids[0].startswith("r")


@pytest.mark.parametrize(
    ("names", "language"),
    [
        (("prompt", "completion"), LanguageConfig()),
        (("Question", "Answer"), LanguageConfig()),
        (("instruction", "output"), LanguageConfig()),
        (("q", "a"), LanguageConfig(prompt="q", completion="a")),
        (("prompt", "a"), LanguageConfig(completion="a")),
    ],
)
def test_prompts_and_completions(names: tuple[str, str], language: LanguageConfig, tmp_path: Path) -> None:
    rows = [dict(zip(names, (f"what {n}?", f"that {n}"), strict=True)) for n in range(3)]
    dataset = load(write(tmp_path / "qa.jsonl", *rows), language, validation_split=0)
    assert parts_of(dataset)[1] == (Part("what 1?\n", False, False), Part("that 1", True, True))
    assert dataset["train"].texts[1] == "what 1?\nthat 1"


def test_blanks_between_prompt_and_completion_are_kept(tmp_path: Path) -> None:
    rows = [{"prompt": "a: ", "completion": "b"}, {"prompt": "a:", "completion": " b"}]
    dataset = load(write(tmp_path / "qa.jsonl", *rows), validation_split=0)
    assert [parts[0].text for parts in parts_of(dataset)] == ["a: ", "a:"]


def test_conversations(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"},
                      {"role": "assistant", "content": "hello"}]},
        {"messages": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"messages": ["hi", "hello", "how are you?", "fine"]},
    ]  # fmt: skip
    documents = parts_of(load(write(tmp_path / "chat.jsonl", *rows), validation_split=0))
    assert [[part.counted for part in parts] for parts in documents] == [
        [False, False, True],
        [False, True],
        [False, True, False, True],
    ]
    assert all(part.ends for parts in documents for part in parts)


def test_conversations_as_json_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text('id,turns\n1,"[""hi"", ""hello""]"\n', encoding="utf-8")
    assert parts_of(load(path, validation_split=0)) == [(turn("hi", False), turn("hello", True))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": " "}, r"row 2 \(line 2\) has nothing in 'completion'"),
        ({"prompt": "a"}, "has no text in 'completion'"),
        ({"prompt": 3, "completion": "b"}, "has non-string text in 'prompt': 3"),
    ],
)
def test_bad_prompts(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "qa.jsonl", {"prompt": "a", "completion": "b"}, row)
    with pytest.raises(DataError, match=message):
        load(path, validation_split=0)
    dataset = load(path, validation_split=0, skip_bad_rows=True)
    assert dataset.skipped == {"train": 1}
    assert len(dataset["train"]) == 1


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "has no list of turns in 'turns'"),
        ("hello", "has no list of turns in 'turns'"),
        (["hi", " "], "has an empty text in 'turns', turn 2"),
        (["hi"], "has no turn in 'turns' that the model can learn"),
        ([{"role": "user", "content": "hi"}], "no turn of the assistant"),
        ([{"role": "user"}, "hello"], "has no text in 'turns', turn 1"),
    ],
)
def test_bad_conversations(turns: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "chat.jsonl", {"turns": ["a", "b"]}, {"turns": turns}), validation_split=0)


def test_other_faults(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("short", encoding="utf-8")
    (tmp_path / "none").mkdir()
    rows = write(tmp_path / "rows.jsonl", {"text": "a"})
    pairs = write(tmp_path / "pairs.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(DataError, match=r"empty.txt holds no text"):
        load(tmp_path / "empty.txt")
    with pytest.raises(DataError, match="holds no texts. It needs train and test files, or .txt files"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="1 texts are too few to hold out a validation part"):
        load(rows)
    with pytest.raises(DataError, match="did not find the column 'nothing'"):
        load(rows, LanguageConfig(prompt="nothing"))
    with pytest.raises(DataError, match="There is no file"):
        load(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="The validation part holds completion, but the training part holds text"):
        load(rows, validation=str(pairs))
    with pytest.raises(DataError, match="has no test part, only train and validation"):
        (tmp_path / "none" / "train.txt").write_text("a")
        (tmp_path / "none" / "dev.txt").write_text("b")
        load_split(str(tmp_path / "none"), DataConfig(), LanguageConfig())


def test_tickets_are_texts_too() -> None:
    dataset = load("tickets")
    assert {split: len(rows) for split, rows in dataset} == {"train": 977, "validation": 209, "test": 210}
