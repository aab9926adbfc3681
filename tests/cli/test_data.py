import json

import pytest

from kerora.cli.main import run
from kerora.config import DataConfig, resolve
from kerora.data.language import load_documents
from kerora.models.presets import find_preset
from tests.tiny_huggingface import tiny_huggingface

ROWS = "text,label\n" + "".join(f"text number {number},{'ab'[number % 2]}\n" for number in range(20))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "demo.csv"
    path.write_text(ROWS + "text number 0,b\n[red]\x1b[31mmarkup,a\n")
    return str(path)


def test_show_prints_tables(source, capsys):
    assert run(["data", "show", source, "--test", source, "--validation-split", "0", "--rows", "3"]) == 0
    output = capsys.readouterr().out
    for part in (
        "demo: 2 classes",
        "Length in words",
        "also in train",
        "22 (100.0%)",
        "test row 1 = train row 1",
        "--preset",
    ):
        assert part in output, part
    assert "text number 2" in output
    assert "text number 3" not in output


def test_markup_and_escapes_in_texts_stay_text(source, capsys):
    assert run(["data", "show", source, "--rows", "22", "--validation-split", "0"]) == 0
    output = capsys.readouterr().out
    assert "[red][31mmarkup" in output
    assert "\x1b[31mmarkup" not in output


def test_show_as_json(source, capsys):
    assert run(["data", "show", source, "--json", "--max-length", "8", "--rows", "2", "--seed", "7"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["classes"] == ["a", "b"]
    assert content["splits"]["train"]["rows"] + content["splits"]["validation"]["rows"] == 22
    assert (content["unit"], content["max_length"]) == ("words", 8)
    assert set(content["first_rows"][0]) == {"id", "label", "text"}


def test_show_counts_tokens_of_a_preset(source, tiny_preset, capsys):
    assert run(["data", "show", source, "--json", "--preset", str(tiny_preset)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["unit"] == "tokens"
    assert content["splits"]["train"]["lengths"]["max"] > 3


def test_show_takes_the_bundled_set_and_settings_files(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("data:\n  subset: 12\n")
    assert run(["data", "show", "--json", "--config", str(config)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["name"] == "tickets"
    assert content["splits"]["train"]["rows"] == 12


def test_saved_rows_are_shown_again(source, tmp_path, capsys):
    folder = str(tmp_path / "saved")
    assert run(["data", "save", source, folder, "--subset", "10", "--validation-split", "0.2"]) == 0
    assert "train 10, validation 4 rows, 2 classes" in capsys.readouterr().out
    assert run(["data", "show", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["rows"] == 10
    assert run(["data", "save", source, folder]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["data", "save", source, folder, "--force"]) == 0


def test_dropped_rows_are_reported(source, capsys):
    with open(source, "a") as stream:
        stream.write(",a\n")
    assert run(["data", "show", source]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "row 23 (line 24)" in error
    assert run(["data", "show", source, "--skip-bad-rows"]) == 0
    assert "train: 1 bad rows were dropped" in capsys.readouterr().out


CHAT = [[{"role": "user", "content": f"hello {n}"}, {"role": "assistant", "content": "good [day]"}] for n in range(20)]
FORMS = {
    "text": [{"id": f"t{number}", "text": f"once upon a time {number}\n"} for number in range(20)],
    "completion": [{"prompt": f"question {number}", "completion": "an answer"} for number in range(20)],
    "turns": [{"messages": turns} for turns in CHAT],
}


def write_texts(tmp_path, form):
    path = tmp_path / f"{form}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in FORMS[form]))
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_show_texts_of_language_models(form, tmp_path, capsys):
    source = write_texts(tmp_path, form)
    assert run(["data", "show", source, "--task", "causal-lm", "--rows", "2"]) == 0
    output = capsys.readouterr().out
    titles = {"text": "text: texts", "completion": "prompts with completions", "turns": "conversations"}
    for part in (titles[form], "in the loss", "Length in words", "also in train"):
        assert part in output, part
    assert ("» marks the parts in the loss" in output) == (form != "text")
    assert "with other labels" not in output
    assert run(["data", "show", source, "--task", "causal-lm", "--json", "--validation-split", "0"]) == 0
    content = json.loads(capsys.readouterr().out)
    counts = content["texts"]["train"]
    expected = {"text": (20, 100, 100), "completion": (40, 80, 40), "turns": (40, 80, 40)}[form]
    assert (counts["texts"], counts["form"]) == (20, form)
    assert (counts["parts"], counts["size"], counts["counted"]) == expected
    assert len(content["first_rows"]) == 5 and content["splits"]["train"]["lengths"]["max"] == expected[1] / 20


def test_lengths_of_texts_in_tokens(tmp_path, capsys):
    preset = tiny_huggingface("gpt2", tmp_path / "gpt2", task="LMHeadModel")
    source = write_texts(tmp_path, "turns")
    arguments = ["--task", "causal-lm", "--preset", str(preset), "--json", "--validation-split", "0"]
    assert run(["data", "show", source, *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    tokenizer = find_preset(str(preset)).load_tokenizer()
    pieces = [[turn["content"] for turn in turns] for turns in CHAT]
    # each turn ends with the end-of-text token
    lengths = [sum(len(ids) + 1 for ids in tokenizer.plain_ids(texts)) for texts in pieces]
    assert content["unit"] == "tokens" and content["texts"]["train"]["size"] == sum(lengths)
    assert content["splits"]["train"]["lengths"]["max"] == max(lengths)


@pytest.mark.parametrize("form", [*FORMS, "book"])
def test_saved_texts_are_read_back_equal(form, tmp_path, capsys):
    if form == "book":
        path = tmp_path / "book.txt"
        path.write_text("".join(f"line {number} of a book\n" for number in range(60)))
    source = str(tmp_path / "book.txt") if form == "book" else write_texts(tmp_path, form)
    folder = tmp_path / "saved"
    assert run(["data", "save", source, str(folder), "--task", "causal-lm", "--test-split", "0.2"]) == 0
    assert "texts." in capsys.readouterr().out
    config = resolve({"data.source": source, "data.test_split": 0.2, "task": "causal-lm"})
    wanted = load_documents(config.data, config.language, 42)
    again = load_documents(DataConfig(source=str(folder)), config.language, 42)
    assert again.name == wanted.name and again.fingerprints() == wanted.fingerprints()
    for split, rows in wanted:
        assert (rows.parts, rows.ids, rows.form, rows.files) == (
            again[split].parts,
            again[split].ids,
            again[split].form,
            again[split].files,
        )
    assert run(["data", "show", str(folder)]) == 2
    assert "holds texts for a language model, without labels. Add --task causal-lm." in capsys.readouterr().err
    line = (folder / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text(
        line.replace({"text": "once", "completion": "question", "turns": "hello", "book": "line"}[form], "other", 1)
    )
    assert run(["data", "show", str(folder), "--task", "causal-lm"]) == 2
    assert "differs from what was saved" in capsys.readouterr().err


def test_bad_rows_are_counted_by_reason_and_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = ROWS.replace("text number 3,b", '"text" number 3,b').replace("text number 5,b", "text,number,5")
    (tmp_path / "demo.csv").write_bytes(content.replace("number 7", "n° 7").encode("cp1252"))
    arguments = ["data", "show", "demo.csv", "--rows", "0"]
    assert run(arguments) == 2
    assert "Read it with --encoding cp1252" in capsys.readouterr().err
    for task in ("classification", "causal-lm"):
        options = ["--encoding", "cp1252", "--skip-bad-rows", "--bad-rows", "bad.csv", "--task", task]
        assert run([*arguments, *options]) == 0
        words = " ".join(capsys.readouterr().out.split())
        assert "2 bad rows were dropped (is not valid CSV: 1, has the wrong number of fields: 1)" in words
        assert [line.split(",")[1] for line in (tmp_path / "bad.csv").read_text().splitlines()] == [
            *("place", "row 4 (line 5)", "row 6 (line 7)")
        ]
