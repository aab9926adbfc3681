import json

import pytest

from kerora.cli.main import run

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
    assert "[red] [31mmarkup" in output
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
