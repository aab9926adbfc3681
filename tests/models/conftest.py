"""Tiny Hugging Face folders of every kind, made once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import tiny_huggingface

CLASSES = ["negative", "neutral", "positive"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (kind, layout) -> folder of a random classifier with three classes."""
    made: dict[tuple[str, str], Path] = {}

    def make(kind: str, layout: str = "new") -> Path:
        if (kind, layout) not in made:
            directory = tmp_path_factory.mktemp(f"{kind}_{layout}") / f"tiny_{kind}"
            made[kind, layout] = tiny_huggingface(kind, directory, CLASSES, layout=layout)
        return made[kind, layout]

    return make
