"""`kerora.tune` takes rows and settings as `kerora.fit` does, and the study keeps what it needs."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml

import kerora
from kerora.config import FitConfig, resolve
from kerora.errors import ConfigError, DataError
from tests.scripting.test_fit import FRAME, LABELS, TEXTS, settings  # noqa: F401

SPACE = {"rank": [2, 4]}


def test_rows_in_memory_and_settings_by_name(settings: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    test = {"message": TEXTS[1::3], "queue": LABELS[1::3]}
    call: dict[str, Any] = {**settings, "space": SPACE, "sampler": "random", "study": "one", "test": test}
    found = kerora.tune(pyarrow.table(FRAME), **call, trials=1, test_split=0)
    folder = tmp_path / "studies" / "one"
    assert [record.is_default for record in found.records] == [True]
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["test.jsonl", "train.jsonl"]
    assert yaml.safe_load((folder / "best.yaml").read_text())["data"]["train"] == "$CONFIG_DIR/data/train.jsonl"
    assert str(found).startswith("TuneResult: studies/one, 1 trials\nbest: trial 1, score 0.")

    # the same rows in another form continue it, also after it moved
    moved = shutil.move(folder, tmp_path / "elsewhere" / "one")
    again = kerora.tune(train=(TEXTS, LABELS), **{**call, "study": str(moved)}, trials=2, refit=True)
    assert len(again.records) == 2 and again.records[0].results == found.records[0].results
    assert sorted(path.name for path in (moved / "data").iterdir()) == ["test.jsonl", "train.jsonl"]
    assert again.refit is not None and (moved / "submission.csv").is_file()
    best = kerora.fit(moved / "best.yaml", run="best")
    assert best.metrics["after"]["validation"]["macro_f1"] == pytest.approx(again.best.score)


def test_settings_as_objects(settings: dict[str, Any], tmp_path: Path) -> None:  # noqa: F811
    config = resolve({"model.preset": str(settings["preset"]), "training.epochs": 1, "training.max_steps": 1})
    table = tmp_path / "rows.jsonl"
    kerora.data.memory.write_part(FRAME, tmp_path, "rows", config.data)
    given = {"message": TEXTS, "queue": LABELS}
    for rows in ({"train": given}, {"train": str(table)}):
        found = kerora.tune(config, {"trials": 3}, **rows, text="message", label="queue", space=SPACE, trials=1)
        assert len(found.records) == 1 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"n_trials": 3}, "kerora.tune has no setting 'n_trials'. Here it is 'trials'"),
        ({"run": "x"}, "kerora.tune has no setting 'run'. A study has study="),
        ({"trials": 0}, "'trials' must be 1 or more"),
        ({"metric": "val_f1"}, "has no metric 'val_f1'"),
        ({"space": {"rank": [4], "seed": [1]}}, "cannot be searched: .*; use repeats= for several seeds"),
        ({"epochs": 1, "training": {"epochs": 2}}, "'training.epochs' is given twice"),
        ({"train": {"a": TEXTS, "b": LABELS}}, r"train \(dict\): did not find the column 'queue'"),
        ({"method": "full"}, "method='full' trains its weights. Leave method= out"),
        ({"refit": True}, "refit=True needs test rows. Give test=, or a test_split= greater than 0"),
    ],
)
def test_faults_write_nothing(settings: dict[str, Any], call: dict[str, Any], message: str) -> None:  # noqa: F811
    with pytest.raises((ConfigError, DataError), match=message):
        kerora.tune(**{"train": FRAME, **settings, "text": ["message"], **call})
    assert not Path("studies").exists()


def test_a_config_is_enough_for_the_names(settings: dict[str, Any]) -> None:  # noqa: F811
    with pytest.raises(DataError, match="There are no training rows"):
        kerora.tune(FitConfig(), validation=FRAME, text="message", label="queue")
