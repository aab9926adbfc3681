"""Arguments as people bring them from Keras and scikit-learn."""

from typing import Any

import keras
import pandas
import pytest

import kerora
from kerora.errors import ConfigError, DataError, KeroraError
from kerora.scripting.arguments import callbacks_of, progress_of
from kerora.scripting.request import read_request
from kerora.training.progress import Progress
from tests.scripting.test_fit import FRAME, LABELS, TEXTS, settings  # noqa: F401


def test_callbacks_alone_and_with_metrics_that_keras_does_not_know(
    settings: dict[str, Any],  # noqa: F811
) -> None:
    best = keras.callbacks.ModelCheckpoint(
        "best.weights.h5", monitor="val_macro_f1", save_best_only=True, save_weights_only=True
    )
    result = kerora.fit(train=FRAME, callbacks=best, progress=False, **settings)
    assert best.mode == "max" and best.best == pytest.approx(result.history[0]["val_macro_f1"])
    stopping = keras.callbacks.EarlyStopping("val_ece", mode="max")
    assert callbacks_of((stopping, [best])) == [stopping, best] and stopping.mode == "max"
    assert callbacks_of(None) == []
    with pytest.raises(ConfigError, match=r"Write EarlyStopping\(\.\.\.\)"):
        callbacks_of([keras.callbacks.EarlyStopping])


def test_progress() -> None:
    progress = Progress()
    assert isinstance(progress_of(True), Progress) and progress_of(False) is progress_of(None) is None
    assert progress_of(progress) is progress
    with pytest.raises(ConfigError, match="progress must be True, False or"):
        progress_of("bar")


@pytest.mark.parametrize("call", [kerora.fit, kerora.tune, kerora.load_dataset])
def test_texts_and_labels_by_position(call: Any) -> None:
    with pytest.raises(ConfigError, match=rf"Texts and labels are kerora\.{call.__name__}\(train=\(texts, labels\)\)"):
        call(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": [1.0] * 64}, r"has no setting 'sample_weight'\. Repeat rows that count more"),
        ({"class_weight": "balanced"}, "Here it is 'class_weights'"),
        ({"class_weights": {"good": 1}}, r"'class_weights' must be one of none, balanced\. Received: \{'good': 1\}"),
        ({"verbose": 0}, r"has no setting 'verbose'\. Show the progress with progress=True"),
        ({"loss": "mse"}, "has no setting 'loss'. It is the cross entropy"),
    ],
)
def test_arguments_that_are_no_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(KeroraError, match=message):
        kerora.fit(train=(TEXTS, LABELS), **given)


def test_parts_by_position_are_rows() -> None:
    parts = {"train": (TEXTS, LABELS), "test": [{"text": TEXTS[0], "label": LABELS[0]}]}
    assert set(read_request(parts, {}, {}).parts) == {"train", "test"}
    named = read_request({"train": "a.csv", "test": "b.csv", "epochs": 2}, {}, {})
    assert not named.parts and (named.config.data.train, named.config.training.epochs) == ("a.csv", 2)


def test_frames_with_odd_names() -> None:
    numbered = pandas.DataFrame({0: TEXTS, 1: LABELS})
    assert kerora.load_dataset(train=numbered, text=0, label=1).classes == ("bad", "good")
    with pytest.raises(DataError, match=r"columns of several levels, such as \('a', 'text'\)\. Give each column one"):
        kerora.load_dataset(train=pandas.DataFrame({("a", "text"): TEXTS, ("a", "label"): LABELS}))
