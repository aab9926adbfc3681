"""The shipped configs load, and say what the notebooks that they replace say."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kerora.cli.init import command as init_command
from kerora.config import FitConfig, PretrainConfig, load_yaml, resolve, settings
from kerora.data.sources import load_dataset
from kerora.models.learning_rate import default_learning_rate
from kerora.tasks.registry import task_named
from kerora.tasks.whole_text.training import MASK_SHARE
from kerora.training.defaults import default_epochs, settle_for_data
from kerora.tuning.space import load_space
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
MINI_WIDTH = 384
KEY_VALUES: dict[str, dict[str, Any]] = {
    "ag-news-roberta": {
        "data.source": "ag_news_subset",
        "data.validation_split": 0.1,
        "model.preset": "roberta_base_en",
        "lora.rank": 8,
        "lora.alpha": 16.0,
        "lora.dropout": 0.15,
        "lora.targets": ("query", "value"),
        "lora.bias": "none",
        "training.epochs": 3,
        "training.batch_size": 32,
        "training.accumulate": 2,
        "training.learning_rate": 2e-5,
        "training.schedule": "cosine",
        "training.warmup": 500.0,
        "training.weight_decay": 0.01,
        "training.seed": 42,
    },
    "dialogpt-imdb": {
        "task": "causal-lm",
        "data.source": "imdb_reviews",
        "model.preset": "hf://microsoft/DialoGPT-medium",
        "model.precision": "bfloat16",
        "lora.rank": 16,
        "lora.alpha": 32.0,
        "lora.dropout": 0.05,
        "lora.targets": ("c_attn", "c_proj"),
        "training.max_steps": 1000,
        "training.batch_size": 4,
        "training.accumulate": 4,
        "training.learning_rate": 2e-4,
        "training.warmup_steps": 100,
        "training.logging_steps": 25,
        "training.save_steps": 500,
    },
    "goemotions": {"task": "multi-label", "data.label": ("labels",), "model.preset": "minilm", "training.epochs": 4},
    "imdb-distilbert": {
        "data.source": "imdb_reviews",
        "model.preset": "distil_bert_base_en_uncased",
        "training.early_stopping": True,
        "training.patience": 2,
        "training.monitor": "val_macro_f1",
    },
    "imdb-subset": {"data.source": "imdb_reviews", "data.subset": 10_000, "data.validation_split": 0.4},
    "stsb": {"task": "regression", "data.source": "glue/stsb", "training.loss": "mse", "training.monitor": "val_loss"},
    "imdb-windows": {"data.subset": 2000, "model.long": "windows", "model.stride": 32, "model.pool": "mean"},
    "tickets": {"data.source": "tickets", "run": "tickets"},
}
SPACES = ("ag-news-notebook", "imbalance", "lora", "lora-labels", "lora-language", "lora-numbers")
PRETRAIN_KEY_VALUES: dict[str, dict[str, Any]] = {
    "kerora-mini-en": {
        "output": "kerora_mini_en",
        "model.init": "pruned",
        "model.storage": "float16",
        "distillation.mlm_weight": 0.0,
        "training.max_steps": 4600,
    },
}


def value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def test_every_shipped_config_is_known_here() -> None:
    assert sorted(path.name for path in CONFIGS.iterdir()) == sorted(
        f"{name}.yaml" for name in (*KEY_VALUES, *PRETRAIN_KEY_VALUES, *(f"space-{name}" for name in SPACES))
    )


@pytest.mark.parametrize("name", SPACES)
def test_spaces_can_be_named_and_are_those_of_the_configs(name: str) -> None:
    path = CONFIGS / f"space-{name}.yaml"
    assert path.read_bytes() == (ROOT / "kerora" / "tuning" / "spaces" / f"{name}.yaml").read_bytes()
    assert load_space(name).as_dict() == load_space(path).as_dict()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and any(f"--space configs/space-{name}.yaml" in line for line in lines)


def test_the_space_of_the_notebook_holds_its_values() -> None:
    assert load_space("ag-news-notebook").as_dict() == {
        "lora.rank": {"choices": [4, 8, 16]},
        "lora.alpha": {"choices": [8.0, 16.0, 32.0]},
        "lora.dropout": {"low": 0.05, "high": 0.2},
        "training.learning_rate": {"choices": [1e-5, 2e-5, 3e-5]},
        "training.epochs": {"choices": [2, 3]},
    }


@pytest.mark.parametrize("name", KEY_VALUES)
def test_config_holds_its_key_values(name: str) -> None:
    config = resolve(load_yaml(CONFIGS / f"{name}.yaml"))
    assert {path: value(config, path) for path in KEY_VALUES[name]} == KEY_VALUES[name]
    assert config.run == name


@pytest.mark.parametrize("name", PRETRAIN_KEY_VALUES)
def test_config_of_a_pre_training_holds_its_key_values(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    config = resolve(load_yaml(path, PretrainConfig), root=PretrainConfig)
    assert {key: value(config, key) for key in PRETRAIN_KEY_VALUES[name]} == PRETRAIN_KEY_VALUES[name]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and any(f"kerora pretrain --config configs/{name}.yaml" in line for line in lines)


@pytest.mark.parametrize("name", KEY_VALUES)
def test_config_says_what_it_is_for_and_how_to_run_it(name: str) -> None:
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert f"#   kerora fit --config configs/{name}.yaml" in lines
    assert name in ("goemotions", "imdb-windows", "stsb", "tickets") or any(
        line.startswith("# Replaces the notebook") for line in lines
    )


def test_the_tickets_config_is_the_default_job() -> None:
    config = resolve(load_yaml(CONFIGS / "tickets.yaml"), {"run": None})
    dataset = load_dataset(config.data, seed=42)
    training = settle_for_data(FitConfig(), task_named("classification"), dataset).training
    settled = {
        "learning_rate": default_learning_rate(MINI_WIDTH),
        "epochs": default_epochs(math.ceil(len(dataset["train"]) / training.batch_size)),
        "mask_share": MASK_SHARE,
    }
    assert config == replace(FitConfig(), training=replace(training, **settled))


def test_init_writes_every_setting_and_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "kerora.yaml"
    result = CliRunner().invoke(init_command, [str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    loaded = load_yaml(path)
    assert resolve(loaded) == FitConfig()
    assert set(loaded) == {item.path for item in settings()}
    text = path.read_text(encoding="utf-8")
    assert all(f"# {item.help}" in text for item in settings())


def test_option_names_are_unique() -> None:
    for root in (FitConfig, PretrainConfig):
        options = [item.option for item in settings(root)]
        assert len(options) == len(set(options))
        assert all(option.startswith("--") and "_" not in option for option in options)
