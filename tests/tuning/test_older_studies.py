"""A study that an earlier version began is continued, and its predictions are compared with new ones."""

import base64
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from kerora.config import resolve
from kerora.settings.tune import TuneConfig
from kerora.tuning.identity import IDENTITY
from kerora.tuning.storage import open_storage
from kerora.tuning.study import tune

pytestmark = pytest.mark.usefixtures("unrendered_figures")
SPACE = {"lora.rank": [2]}


def pack_as_before(arrays: Mapping[str, np.ndarray]) -> str:
    """The text of the first version."""
    content = arrays["predicted"].astype("<u2").tobytes() + arrays["true_probability"].astype("<f4").tobytes()
    return base64.b64encode(zlib.compress(content)).decode()


def test_a_study_of_the_first_version_goes_on(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve(settings, {"training.epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr("kerora.tuning.objective.pack", pack_as_before)
        tune(config, TuneConfig(study="one", trials=1, metric="loss"), space=SPACE)
    study = optuna.load_study(study_name="one", storage=open_storage(None, Path("studies/one")))
    known = study.user_attrs[IDENTITY]
    # a setting that this version did not have
    del known["settings"]["training.label_smoothing"]
    study.set_user_attr(IDENTITY, known)
    result = tune(config, TuneConfig(study="one", trials=2, metric="loss"), space=SPACE)
    first, second = result.records
    assert first.state == second.state == "complete" and first.predictions[0]["predicted"].dtype == np.uint16
    assert result.best is first or result.difference is not None
    assert "was not tested" not in result.verdict
