"""The settings of a pre-training: edges, names that no two settings share, and the round trip through YAML."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.errors import ConfigError
from kerora.settings import resolve as module
from kerora.settings.fit import TrainingConfig
from kerora.settings.pretrain import PretrainConfig, PretrainingConfig
from kerora.settings.resolve import dump_yaml, load_yaml, parse_assignment, resolve, to_dict


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.short_rows", 1.0, "'short_rows' must be at least 0 and less than 1. Received: 1.0"),
        ("data.holdout", 1, "'holdout' must be at least 0 and less than 1. Received: 1.0"),
        ("data.text", 3.5, "'text' must be a list of names"),
        ("model.architecture", "roberta", "'architecture' must be one of distil_bert, bert. Received: 'roberta'"),
        ("model.layers", 0, "'layers' must be 1 or more. Received: 0"),
        ("model.vocabulary_size", 99, "'vocabulary_size' must be 100 or more. Received: 99"),
        ("model.max_length", 7, "'max_length' must be 8 or more. Received: 7"),
        ("model.precision", "float16", "'precision' must be one of auto, float32, bfloat16. Received: 'float16'"),
        ("model.storage", "bfloat16", "'storage' must be one of float32, float16"),
        ("distillation.mlm_weight", -0.1, "'mlm_weight' must be 0 or more. Received: -0.1"),
        ("distillation.teacher_words", 1.5, "'teacher_words' must be a whole number. Received: 1.5 (float)"),
        ("training.mask_share", 0.9, "'mask_share' must be at least 0.01 and less than 0.9. Received: 0.9"),
        ("training.mask_share", 0.0, "'mask_share' must be at least 0.01"),
        ("training.mask_share", None, "'mask_share' must be a finite number. Received: None (nothing)"),
        ("objective", "nsp", "'objective' must be one of mlm, clm. Received: 'nsp'"),
    ],
)
def test_what_is_out_of_range_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({key: value}, root=PretrainConfig)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_settings_of_a_fit_are_not_those_of_a_pre_training() -> None:
    for key in ("lora.rank", "training.early_stopping", "data.source", "run"):
        with pytest.raises(ConfigError) as caught:
            resolve({key: 1}, root=PretrainConfig)
        assert str(caught.value).startswith(f"Unknown setting '{key}'.")
        assert str(caught.value).endswith("`kerora init --pretrain` writes a file with every setting.")
    with pytest.raises(ConfigError, match="Did you mean 'model.vocabulary_size'"):
        parse_assignment("model.vocabulary_sise=300", root=PretrainConfig)


def test_every_setting_has_help_and_an_option_of_its_own() -> None:
    items = list(module.settings(PretrainConfig))
    options = [item.option for item in items]
    assert len(set(options)) == len(options) > 30 and {"--text", "--init", "--teacher", "--holdout"} <= set(options)
    assert all(item.help.endswith(".") and len(item.help) > 15 for item in items)


def test_the_optimisation_is_that_of_a_fit_with_other_defaults() -> None:
    mine, other = PretrainingConfig(), TrainingConfig()
    shared = set(vars(mine)) & set(vars(other))
    assert {"max_steps", "accumulate", "schedule", "clip_norm", "save_steps"} <= shared
    differ = {name for name in shared if getattr(mine, name) != getattr(other, name)}
    assert differ == {"epochs", "batch_size", "warmup", "mask_share"}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    output=st.none() | st.text("abc/. :#'\"é漢", min_size=1),
    share=st.floats(0.01, 0.9, exclude_max=True),
    weights=st.tuples(*[st.floats(0, 1e300)] * 3),
    words=st.integers(0, 10**12),
    files=st.lists(st.text("abc/. -*[]{}", min_size=1), max_size=3),
    objective=st.sampled_from(["mlm", "clm"]),
)
def test_what_is_dumped_is_loaded_again(
    tmp_path_factory: pytest.TempPathFactory,
    output: str | None,
    share: float,
    weights: tuple[float, float, float],
    words: int,
    files: list[str],
    objective: str,
) -> None:
    names = ("mlm_weight", "sentence_weight", "token_weight")
    layers: list[dict[str, Any]] = [
        {"output": output, "objective": objective, "data": {"text": files}},
        {"training.mask_share": share, "distillation.teacher_words": words},
        {"distillation": dict(zip(names, weights, strict=True))},
    ]
    config = resolve(*layers, root=PretrainConfig)
    path = tmp_path_factory.getbasetemp() / "pretrain.yaml"
    for comments in (False, True):
        path.write_text(dump_yaml(config, comments), encoding="utf-8", newline="")
        assert resolve(load_yaml(path, PretrainConfig), root=PretrainConfig) == config
    assert resolve(to_dict(config), root=PretrainConfig) == config


def test_a_file_of_a_fit_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "fit.yaml"
    path.write_text("lora:\n  rank: 4\n")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, PretrainConfig)
    assert str(caught.value).startswith(f"{path}: Unknown setting 'lora'")
