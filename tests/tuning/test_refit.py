"""After the search: the best settings on training and validation rows, the test rows once, and a submission."""

import csv
from pathlib import Path
from typing import Any

import pytest

from kerora.config import resolve
from kerora.data.labelled import LabelledReader
from kerora.data.sources import has_test_rows, load_dataset
from kerora.errors import ConfigError, DataError
from kerora.runfolder import read_json
from kerora.runs.open import read_config
from kerora.settings.tune import TuneConfig
from kerora.tuning.study import tune
from tests.tuning.conftest import SPACE

pytestmark = pytest.mark.usefixtures("unrendered_figures")


def test_the_best_is_trained_on_all_rows_but_those_of_the_test(settings: dict[str, Any]) -> None:
    config = resolve(settings, {"data.test_split": 0.25})
    options = TuneConfig(study="one", trials=2, pruner="none", refit=True)
    result = tune(config, options, space=SPACE)
    assert result.refit is not None and result.refit.path == Path(f"studies/one/refit-trial-{result.best.number}")
    whole = load_dataset(config.data, config.training.seed)
    manifest = result.refit.read_manifest()
    splits = manifest["data"]["splits"]
    assert splits["train"]["rows"] == len(whole["train"]) + len(whole["validation"]) and set(splits) == {
        "train",
        "test",
    }
    assert splits["test"]["sha256"] == whole["test"].fingerprint()
    used = read_config(result.refit)
    assert used.lora == result.best.config.lora and used.training.epochs == result.best.results["kept_epoch"]
    assert used.training.early_stopping is False
    with open("studies/one/submission.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == whole["test"].ids and set(rows[0]) == {"id", "label"}
    truth = [whole.classes[number] for number in whole["test"].targets or []]
    right = sum(row["label"] == label for row, label in zip(rows, truth, strict=True)) / len(truth)
    assert right == pytest.approx(read_json(result.refit.metrics)["after"]["test"]["accuracy"])
    before = result.refit.manifest.read_bytes()
    again = tune(config, options, space=SPACE)
    assert again.refit is not None and again.refit.manifest.read_bytes() == before


def test_what_a_refit_needs_is_checked_before_the_search(settings: dict[str, Any]) -> None:
    options = TuneConfig(study="one", trials=1, refit=True)
    with pytest.raises(ConfigError, match="--refit needs test rows. Give --test"):
        tune(resolve(settings), options, space=SPACE)
    with pytest.raises(DataError, match="missing.jsonl"):
        tune(resolve(settings, {"data.test": "missing.jsonl"}), options, space=SPACE)
    assert not Path("studies").exists()
    assert has_test_rows(resolve({}).data, LabelledReader())
    assert not has_test_rows(resolve(settings).data, LabelledReader())
