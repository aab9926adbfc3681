"""Trials that nobody trained."""

from datetime import datetime
from typing import Any

import optuna
from optuna.trial import TrialState

from kerora.tuning.records import Record


def record(number: int, score: float | None, state: str = "complete", **changes: Any) -> Record:
    trial = optuna.create_trial(state=TrialState.FAIL)
    facts: dict[str, Any] = {
        "number": number,
        "state": state,
        "is_default": number == 1,
        "settings": {},
        "score": score,
        "results": {},
        "epoch": 1,
        "started": datetime(2024, 1, 2, 3, 4, 5),
        "seconds": 1.5,
        "worker": "host:1",
        "error": "",
        "trial": trial,
    }
    return Record(**{**facts, **changes})
