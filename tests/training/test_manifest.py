"""run.json: what it says, what a resume compares with it, and whether another process trains the run."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerora.config import resolve
from kerora.data.rows import Dataset, Rows
from kerora.errors import RunError
from kerora.lora.inject import LoraSummary
from kerora.runfolder import RunFolder
from kerora.settings.pretrain import CorpusConfig, DistillationConfig, EncoderConfig, PretrainConfig
from kerora.training.manifest import PACKAGES, check_unchanged, describe, describe_pretraining, now
from kerora.version import __version__


def dataset(*texts: str, validation: tuple[str, ...] = ("late",)) -> Dataset[Rows[int]]:
    def rows(texts: tuple[str, ...]) -> Rows[int]:
        return Rows(list(texts), [str(n) for n in range(len(texts))], [n % 2 for n in range(len(texts))])

    return Dataset("tickets", ("no", "yes"), {"train": rows(texts), "validation": rows(validation)}, {"train": 3})


def model(fingerprint: str = "f" * 64) -> Any:
    preset = SimpleNamespace(name="mini", kind="bert", directory=Path("presets/../mini"), fingerprint=fingerprint)
    return SimpleNamespace(preset=preset)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    summary = LoraSummary(20, 3, 100, ("query",))
    run.update_manifest(
        **describe(resolve(), dataset("a", "b", "c"), model(), summary, ["fit", "--quiet", "pg://me:secret@host"])
    )
    return run


def test_the_manifest_of_a_run(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run.read_manifest()
    assert found["data"]["splits"]["train"]["labels"] == {"no": 2, "yes": 1}
    assert (found["data"]["name"], found["data"]["skipped"]) == ("tickets", {"train": 3})
    assert found["preset"] == {
        "name": "mini", "kind": "bert", "directory": str(Path.cwd() / "mini"), "fingerprint": "f" * 64,
    }  # fmt: skip
    assert found["parameters"] == {"trainable": 23, "lora": 20, "head": 3, "total": 100}
    assert found["versions"].keys() == {"python", *PACKAGES} and found["versions"]["numpy"] == np.__version__
    assert (found["kerora"], found["argv"], found["seed"]) == (__version__, ["fit", "--quiet", "pg://***@host"], 42)
    assert found["working_directory"] == str(Path.cwd())


def test_a_run_without_rows_of_its_own_has_no_facts_of_data() -> None:
    assert describe(resolve(), None, model(), LoraSummary(0, 0, 1, ()), [])["data"] == {}


def test_the_same_rows_and_base_may_go_on(run: RunFolder) -> None:
    before = run.manifest.read_bytes()
    check_unchanged(run, dataset("a", "b", "c"), model())
    assert run.manifest.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "splits"),
    [
        (dataset("a", "b", "d"), "train"),
        (dataset("b", "a", "c"), "train"),
        (dataset("a", "b"), "train"),
        (dataset("a", "b", "c", validation=("late", "early")), "validation"),
        (dataset("A", "b", "c", validation=("",)), "train, validation"),
        (Dataset("tickets", ("no", "yes"), {"train": dataset("a", "b", "c")["train"]}), "validation"),
    ],
)
def test_other_rows_are_told_by_split(run: RunFolder, changed: Any, splits: str) -> None:
    with pytest.raises(RunError) as caught:
        check_unchanged(run, changed, model())
    expected = f"The data of {run.path} changed since it started ({splits}). Restore it or start a new run."
    assert str(caught.value) == expected


def test_another_base_model_is_told(run: RunFolder) -> None:
    with pytest.raises(RunError) as caught:
        check_unchanged(run, dataset("a", "b", "c"), model("0" * 64))
    assert str(caught.value) == (
        f"The base model of {run.path} changed since it started. Restore it or start a new run."
    )


def test_the_time_is_in_utc_to_the_second() -> None:
    text = now()
    found = datetime.fromisoformat(text)
    assert (
        found.utcoffset() == timedelta(0) and found.microsecond == 0 and len(text) == len("2024-01-01T00:00:00+00:00")
    )
    assert abs(datetime.now(UTC) - found) < timedelta(seconds=5)


def test_a_pretraining_s_manifest_names_files_and_presets_without_their_paths() -> None:
    config = PretrainConfig(
        output="/secret/place/out",
        data=CorpusConfig(text=("/secret/books/a.txt", "b.jsonl")),
        model=EncoderConfig(init="/secret/init"),
        distillation=DistillationConfig(teacher="/secret/teacher"),
    )
    init = SimpleNamespace(name="small", kind="bert", fingerprint="1" * 64)
    tokenizer: Any = SimpleNamespace(fingerprint="2" * 64)
    found = describe_pretraining(config, {"documents": 3}, tokenizer, init, None)  # type: ignore[arg-type]
    assert "secret" not in json.dumps(found) and "output" not in found["settings"]
    assert found["settings"]["data"]["text"] == ["a.txt", "b.jsonl"]
    assert found["settings"]["model"]["init"] == "small" and found["settings"]["distillation"]["teacher"] is None
    assert found["init"] == {"name": "small", "kind": "bert", "fingerprint": "1" * 64} and found["teacher"] is None
    assert (found["data"], found["tokenizer"]) == ({"documents": 3}, "2" * 64)
