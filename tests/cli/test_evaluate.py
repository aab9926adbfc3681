"""`kerora evaluate`: the run's own rows, other rows, and everything that does not fit."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from kerora.runfolder import RunFolder
from tests.cli.conftest import Kerora, contents
from tests.tiny import tiny_keras_preset
from tests.training.test_fit import write_rows


def test_own_rows_give_the_numbers_of_the_run(kerora: Kerora, own: Path) -> None:
    before = contents(own / "run")
    answer = kerora("evaluate", "run")
    assert answer.code == 0 and answer.err == ""
    assert "validation, " in answer.out and "test, 16 rows" in answer.out
    assert answer.out.splitlines()[-1] == "Written: run"
    assert contents(own / "run") == before


def test_json_is_all_that_is_printed(kerora: Kerora, own: Path) -> None:
    answer = json.loads(kerora("evaluate", "run", "--json").out)
    recorded = json.loads((own / "run" / "metrics.json").read_text())
    assert answer == {"metrics": recorded["after"], "baseline": recorded["baseline"], "folder": "run"}


def test_a_file_gets_a_folder_of_its_own(kerora: Kerora, own: Path) -> None:
    write_rows(own / "new.jsonl", rows=30, seed=4)
    before = contents(own / "run")
    assert kerora("evaluate", "run", "--data", "new.jsonl", "--test", "new.jsonl").error == (
        "Error: --data and --test both name rows to evaluate. Give one of them."
    )
    answer = kerora("evaluate", "run", "--test", "new.jsonl")
    folder = own / "run" / "evaluations" / "new.jsonl"
    assert answer.code == 0 and answer.out.splitlines()[-1] == "Written: run/evaluations/new.jsonl"
    assert set(json.loads((folder / "metrics.json").read_text())["after"]) == {"test"}
    with (folder / "predictions.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 30
    assert before.items() <= contents(own / "run").items()
    assert "Choose another --output or add --force" in kerora("evaluate", "run", "--test", "new.jsonl").error
    assert kerora("evaluate", "run", "--test", "new.jsonl", "--force").code == 0
    assert kerora("evaluate", "run", "--data", "new.jsonl", "--output", "there").code == 0
    assert json.loads((own / "there" / "metrics.json").read_text())["after"]["test"]


def test_other_rows_never_take_the_place_of_the_runs_own(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(own / "run")
    assert (
        "run already holds an evaluation" in kerora("evaluate", "run", "--data", "rows.jsonl", "--output", "run").error
    )
    assert kerora("evaluate", "run", "--subset", "4").out.splitlines()[-1] == "Written: run/evaluations/own-rows"
    (own / "data").mkdir()
    for label in ("good", "bad"):
        (own / "data" / "test" / label).mkdir(parents=True)
        (own / "data" / "test" / label / "1.txt").write_text(f"{label} words")
        (own / "data" / "train" / label).mkdir(parents=True)
        (own / "data" / "train" / label / "1.txt").write_text(f"{label} words")
    monkeypatch.chdir(own / "data" / "test")
    answer = kerora("evaluate", "../../run", "--data", "..")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "Written: ../../run/evaluations/data"
    assert before.items() <= contents(own / "run").items()


def test_refusals_change_nothing(kerora: Kerora, own: Path) -> None:
    (own / "label.csv").write_text("text,label\na,good\nb,great\n")
    (own / "empty.csv").write_text("")
    before = contents(own)
    for words, message in {
        "run --test label.csv": "label.csv, row 2 (line 3): label 'great' does not occur in the run, which has bad, g",
        "run --test empty.csv": "empty.csv is empty",
        "run --test nofile.csv": "There is no file nofile.csv",
        "run --test rows.jsonl --label labels": "did not find the column 'labels'. Its columns: text, label",
        "run --preset nowhere": "Unknown preset 'nowhere'",
        "nowhere": "There is no run folder at nowhere",
        "preset": "preset is not a run folder: it holds no run.json",
        "rows.jsonl": "There is no run folder at rows.jsonl",
        "run --test rows.jsonl --output rows.jsonl/x": "Cannot write rows.jsonl/x/predictions.csv",
    }.items():
        error = kerora("evaluate", *words.split()).error
        assert message in error, error
        assert contents(own) == before, words


def test_changed_rows_are_noticed(kerora: Kerora, own: Path) -> None:
    write_rows(own / "rows.jsonl", rows=80, seed=3)
    before = contents(own)
    assert "rows of rows.jsonl changed since run was trained" in kerora("evaluate", "run").error
    assert contents(own) == before
    (own / "rows.jsonl").unlink()
    assert "There is no file rows.jsonl" in kerora("evaluate", "run").error


def test_a_moved_run_in_another_folder(
    kerora: Kerora, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("run", tmp_path / "copy" / "moved")
    monkeypatch.chdir(tmp_path / "copy")
    recorded = json.loads(Path("moved/metrics.json").read_text())["after"]
    # the data and the preset of the first run's folder are still where they were
    assert json.loads(kerora("evaluate", "moved", "--json").out)["metrics"] == recorded
    shutil.rmtree(tmp_path / "copy" / "moved" / "checkpoints")
    manifest = RunFolder("moved").read_manifest()
    manifest["working_directory"] = manifest["preset"]["directory"] = "/nowhere"
    RunFolder("moved").update_manifest(**manifest)
    shutil.copy(own / "rows.jsonl", ".")
    assert "preset 'preset'" in kerora("evaluate", "moved").error
    shutil.copytree(own / "preset", "elsewhere")
    assert json.loads(kerora("evaluate", "moved", "--preset", "elsewhere", "--json").out)["metrics"] == recorded


def test_another_base_model_is_refused(kerora: Kerora, own: Path) -> None:
    shutil.rmtree("preset")
    tiny_keras_preset("distil_bert", own / "preset", seed=5)
    for command in (["evaluate", "run"], ["predict", "run", "rows.jsonl"]):
        assert "was trained on a base model with fingerprint" in kerora(*command).error
    RunFolder("run").update_manifest(preset={})
    assert "Give the right one with --preset" in kerora("evaluate", "run").error


@pytest.mark.parametrize("command", [["evaluate", "run"], ["predict", "run", "rows.jsonl"]])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter/labels.json", b"{", "labels.json is damaged"),
        ("adapter/labels.json", b'{"classes": ["bad"]}', "'classes' must be a list of two or more names"),
        ("adapter/labels.json", b'{"classes": ["good", "bad"]}', "labels.json does not name the classes that"),
        ("adapter/labels.json", None, "Cannot read run/adapter/labels.json: No such file"),
        ("adapter/adapter_model.safetensors", None, "run holds no adapter (state: finished)"),
        ("adapter/adapter_model.safetensors", b"cut", "adapter_model.safetensors is damaged"),
        ("adapter/adapter_config.json", b"[]", "adapter_config.json is damaged"),
        ("adapter/adapter_config.json", b"{}", "adapter_config.json is not an adapter that Kerora can use"),
        ("config.yaml", None, "config.yaml: No such file or directory. Restore the file or train again"),
        ("config.yaml", b"lora: [", "config.yaml is not valid YAML"),
        ("config.yaml", b"lora: {rank: 0}", "config.yaml: Setting 'rank' must be 1 or more"),
        ("config.yaml", b"lora: {rnk: 1}", "config.yaml: Unknown setting 'lora.rnk'"),
        ("run.json", b"", "run.json is damaged"),
        ("run.json", b"3", "run.json is damaged: expected an object"),
        ("run.json", None, "run is not a run folder"),
    ],
)
def test_damaged_runs(
    kerora: Kerora, own: Path, command: list[str], name: str, content: bytes | None, message: str
) -> None:
    path = own / "run" / name
    path.unlink() if content is None else path.write_bytes(content)
    before = contents(own)
    assert message in kerora(*command).error
    assert contents(own) == before
