"""`KeroraClassifier` keeps scikit-learn's contract, shares one base model, and leaves no files."""

import copy
import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import kerora
from kerora import KeroraClassifier
from kerora.errors import ConfigError, DataError, RunError
from kerora.models.presets import Preset
from kerora.runfolder import RunFolder, read_json
from kerora.runs.open import load
from tests.scripting.test_fit import LABELS, TEXTS
from tests.tiny import tiny_keras_preset

SMALL: dict[str, Any] = {
    **{"max_steps": 1, "rank": 2, "batch_size": 64, "max_length": 16, "precision": "float32"},
    **{"validation_fraction": 0, "mask_share": 0.0},
}


@pytest.fixture
def small(tiny_preset: Path) -> dict[str, Any]:
    return {**SMALL, "preset": str(tiny_preset)}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the backbones that are loaded from files."""
    found: list[str] = []
    real = Preset.load_backbone

    def counted(self: Preset, *args: Any) -> Any:
        found.append(self.name)
        return real(self, *args)

    monkeypatch.setattr(Preset, "load_backbone", counted)
    return found


def test_it_learns_what_kerora_fit_learns(small: dict[str, Any], tmp_path: Path) -> None:
    settings = {**small, "epochs": 2, "max_steps": None, "learning_rate": 0.01, "batch_size": 8}
    model = KeroraClassifier(**settings).fit(TEXTS, LABELS)
    del settings["validation_fraction"]
    run = kerora.fit(train=(TEXTS, LABELS), validation_split=0, runs_dir=tmp_path, **settings).run
    assert (Path(model.run_) / "adapter/adapter_model.safetensors").read_bytes() == run.adapter_weights.read_bytes()
    logits = load(run.path).predict_logits(TEXTS)
    assert np.array_equal(model.decision_function(TEXTS), logits[:, 1] - logits[:, 0])
    assert model.score(TEXTS, LABELS) == np.mean(model.predict(TEXTS) == LABELS)
    assert [row["epoch"] for row in model.history_] == [1, 2] and model.history_[1]["loss"] < model.history_[0]["loss"]
    assert model.n_iter_ == 2 and not hasattr(model, "n_features_in_")


@pytest.mark.parametrize(
    "labels", [[3, 3, 10], [True, True, False], ["b", "b", "a"], ["10", "10", "9"], np.array([1, 1, 2], np.int8)]
)
def test_labels_come_back_with_their_own_type(labels: Any, small: dict[str, Any]) -> None:
    values = np.array(labels)
    model = KeroraClassifier(**small).fit(TEXTS[:12], np.tile(values, 4))
    found = model.predict(TEXTS)
    assert found.dtype == values.dtype and set(found.tolist()) <= set(values.tolist())
    assert model.classes_.tolist() == sorted(set(values.tolist()))
    probabilities = model.predict_proba(TEXTS)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(model.classes_[probabilities.argmax(axis=1)], found)


def test_all_folds_share_one_base(small: dict[str, Any], loads: list[str], tmp_path: Path) -> None:
    small["preset"] = str(tiny_keras_preset("distil_bert", tmp_path / "another"))
    model = KeroraClassifier(**small)
    scores = cross_val_score(model, TEXTS, LABELS, cv=3)
    search = GridSearchCV(model, {"rank": [2, 4], "method": ["lora", "head"]}, cv=2).fit(TEXTS, LABELS)
    assert len(scores) == 3 and search.best_estimator_.n_iter_ == 1
    assert loads == ["another"]
    # two fitted models by turns: each computes with its own adapter
    first, second = (KeroraClassifier(**small).set_params(random_state=seed).fit(TEXTS, LABELS) for seed in (1, 2))
    found = [model.predict_proba(TEXTS) for model in (first, second, first, second)]
    assert np.array_equal(found[0], found[2]) and np.array_equal(found[1], found[3])
    assert not np.array_equal(found[0], found[1]) and loads == ["another"]


def test_a_base_that_is_trained_is_not_shared(small: dict[str, Any], loads: list[str]) -> None:
    model = KeroraClassifier(**small).fit(TEXTS, LABELS)
    before = model.predict_proba(TEXTS)
    count = len(loads)
    other = KeroraClassifier(**{**small, "method": "full"}).fit(TEXTS, LABELS)
    assert other.predict(TEXTS).shape == (64,) and len(loads) == count + 2
    assert np.array_equal(model.predict_proba(TEXTS), before)


def test_a_preset_that_was_replaced_is_loaded_again(small: dict[str, Any], tmp_path: Path) -> None:
    small["preset"] = str(tiny_keras_preset("distil_bert", tmp_path / "changing"))
    first = KeroraClassifier(**small).fit(TEXTS, LABELS)
    tiny_keras_preset("distil_bert", tmp_path / "changing", seed=5)
    second = KeroraClassifier(**small).fit(TEXTS, LABELS)
    assert not np.array_equal(first.history_[0]["loss"], second.history_[0]["loss"])


@pytest.mark.parametrize("copied", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_copies_hold_the_adapter_alone(copied: Callable[[Any], Any], small: dict[str, Any]) -> None:
    model = KeroraClassifier(**small).fit(TEXTS, LABELS)
    expected, folder = model.predict_proba(TEXTS), Path(model.run_)
    again = copied(model)
    size = len(pickle.dumps(model))
    assert size < 40_000 and TEXTS[0].encode() not in pickle.dumps(model)
    del model
    gc.collect()
    assert not folder.parent.exists()
    assert np.array_equal(again.predict_proba(TEXTS), expected)
    assert again.get_params() == KeroraClassifier(**small).get_params()
    assert copied(KeroraClassifier(rank=3)).rank == 3


def test_a_pickle_cannot_write_elsewhere(small: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leads out of the run folder"):
        KeroraClassifier(**small).__setstate__({"_files": {"../evil": b""}})


def test_a_pickle_names_no_process_and_no_command(small: dict[str, Any]) -> None:
    model = KeroraClassifier(**small).fit(TEXTS, LABELS)
    own, taken = read_json(Path(model.run_) / "run.json"), pickle.loads(pickle.dumps(model))
    copied = read_json(Path(taken.run_) / "run.json")
    assert own["process"] == {} and set(own) - set(copied) == {"argv", "working_directory", "process"}
    assert np.array_equal(taken.predict_proba(TEXTS), model.predict_proba(TEXTS))


def test_run_folders_that_are_kept(small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    KeroraClassifier(**small).fit(TEXTS, LABELS)
    assert not list(tmp_path.iterdir())
    model = KeroraClassifier(**small, runs_dir="kept")
    found = [Path(model.fit(TEXTS, LABELS).run_).name for _ in range(2)]
    assert sorted(path.name for path in Path("kept").iterdir()) == found
    named = KeroraClassifier(**small, run="kept/mine").fit(TEXTS, LABELS)
    assert named.run_ == "kept/mine" and load("kept/mine").predict_labels(TEXTS) == named.predict(TEXTS).tolist()
    with pytest.raises(RunError, match="The run kept/mine exists"):
        named.fit(TEXTS, LABELS)


def test_validation_rows_and_callbacks(small: dict[str, Any]) -> None:
    logs: list[Any] = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, found: logs.append(dict(found)))
    model = KeroraClassifier(**{**small, "validation_fraction": 0.25}, callbacks=[callback]).fit(TEXTS, LABELS)
    assert "val_macro_f1" in logs[0] and model.history_[0]["val_accuracy"] is not None
    model.fit(TEXTS, LABELS, eval_set=[(TEXTS[:4] + TEXTS[-4:], LABELS[:4] + LABELS[-4:])])
    metrics = read_json(RunFolder(model.run_).metrics)["after"]["validation"]
    assert sum(values["support"] for values in metrics["per_class"].values()) == 8
    with pytest.raises(ValueError, match=r"eval_set: the label 'ugly' \(str\) does not occur in y"):
        model.fit(TEXTS, LABELS, eval_set=(TEXTS[:2], ["good", "ugly"]))


def test_pairs_and_columns(small: dict[str, Any]) -> None:
    frame = {"one": TEXTS, "two": TEXTS[::-1]}
    pyarrow = pytest.importorskip("pyarrow")
    model = KeroraClassifier(**small).fit(pyarrow.table(frame), LABELS)
    assert model.n_features_in_ == 2 and model.feature_names_in_.tolist() == ["one", "two"]
    both = list(zip(TEXTS, TEXTS[::-1], strict=True))
    assert np.array_equal(model.predict_proba(both), model.predict_proba(pyarrow.table(frame)))
    with pytest.raises(ValueError, match="X has 1 features, but KeroraClassifier is expecting 2 features as input"):
        model.predict(TEXTS)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(pyarrow.table({"one": TEXTS, "three": TEXTS}))
    column = KeroraClassifier(**small).fit(np.array(TEXTS)[:, None], LABELS)
    assert np.array_equal(column.predict(pyarrow.table({"any": TEXTS})), column.predict([[text] for text in TEXTS]))


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ("one text", ["a"], "X must be a list of texts. Received one text: 'one text'"),
        ([], [], "X has 0 samples"),
        (["a", None], [0, 1], "Received: None .nothing. at position 1"),
        ((["a"], ["b"]), [0], "a tuple of two columns"),
        ([["a", "b", "c"]] * 2, [0, 1], "X has 3 columns"),
        ([["a"], ["b", "c"]], [0, 1], "rows of different lengths"),
        (TEXTS, None, "requires y to be passed"),
        (TEXTS, LABELS[:3], "inconsistent numbers of samples: .64, 3."),
        (TEXTS, [None, *LABELS[1:]], "y contains NaN or None: row 0"),
        (TEXTS, [float("nan"), *[1.0] * 63], "y contains NaN or None: row 0"),
        (TEXTS, [1, *LABELS[1:]], "y holds both text and other values"),
        (TEXTS, ["a", " a"] * 32, "two labels have the name 'a'"),
        (TEXTS, ["a"] * 64, "The number of classes has to be greater than one"),
        (TEXTS, [0.5, 1.5] * 32, "Unknown label type: continuous"),
        (TEXTS, [[0, 1]] * 64, "y: row 0 holds several values"),
    ],
)
def test_inputs_that_cannot_be_used(texts: Any, labels: Any, message: str, small: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        KeroraClassifier(**small).fit(texts, labels)


def test_parameters() -> None:
    model = KeroraClassifier(epochs=3, rank=4)
    assert repr(model) == "KeroraClassifier(epochs=3, rank=4)"
    assert clone(model.set_params(learning_rate=0.1)).get_params()["learning_rate"] == 0.1
    with pytest.raises(TypeError, match="KeroraClassifier has no parameter 'lora_r'. Here it is 'rank'"):
        KeroraClassifier(lora_r=3)
    with pytest.raises(ValueError, match="Invalid parameter 'rnk'"):
        model.set_params(rnk=3)
    with pytest.raises(ConfigError, match="'epochs' must be 1 or more"):
        model.set_params(epochs=0).fit(TEXTS, LABELS)
    with pytest.raises(ConfigError, match="class_weight must be None or 'balanced'"):
        KeroraClassifier(class_weight={0: 1}).fit(TEXTS, LABELS)
    with pytest.raises(TypeError, match="has no sample_weight. Use class_weight='balanced'"):
        model.fit(TEXTS, LABELS, sample_weight=np.ones(64))
    with pytest.raises(NotFittedError):
        model.predict(TEXTS)


def test_a_fit_leaves_the_random_numbers_of_the_caller_alone(small: dict[str, Any]) -> None:
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    KeroraClassifier(**small).fit(TEXTS, LABELS)
    assert np.array_equal(np.random.rand(2), expected)
    seeds = [KeroraClassifier(**small, random_state=state)._seed() for state in (5, None, np.random.RandomState(1))]
    assert seeds[0] == 5 and len(set(seeds)) == 3


class OfNumbers(KeroraClassifier):
    """Writes rows of numbers as words, so that scikit-learn's checks, which give numbers, apply to the rest."""

    def fit(self, X: Any, y: Any = None, **others: Any) -> "OfNumbers":
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        super().fit(self._words(X, reset=True), y, **others)
        return self

    def _words(self, X: Any, reset: bool = False) -> list[str]:
        rows = validate_data(self, X, reset=reset)
        return [" ".join("great" if x > 0 else "bad" if x <= -1 else "movie" for x in row) for row in rows]

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "classes_")
        return super()._logits(self._words(X))

    def _set_features(self, found: Any) -> None: ...

    def _check_features(self, found: Any) -> None: ...

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = True, False, False
        return tags


NOT_FOR_TEXTS = {
    "check_classifiers_train": "asks for an accuracy of 0.83 on numbers, after one update of a tiny random model",
    "check_class_weight_classifiers": "gives weights as a dict; None and 'balanced' are supported",
}


@pytest.mark.slow
@parametrize_with_checks([OfNumbers(**SMALL)], expected_failed_checks=lambda estimator: NOT_FOR_TEXTS)  # type: ignore[untyped-decorator]
def test_scikit_learns_own_checks(estimator: Any, check: Any, tiny_preset: Path) -> None:
    check(estimator.set_params(preset=str(tiny_preset)))


def test_faults_of_the_rows_have_remedies_that_an_estimator_has(small: dict[str, Any]) -> None:
    model = KeroraClassifier(**small)
    with pytest.raises(
        DataError, match=r"^X: 1 row cannot be used: row 65 has an empty text in 'text'\. Correct them\.$"
    ):
        model.fit([*TEXTS, ""], [*LABELS, "bad"])
    with pytest.raises(ValueError, match=r"^y: row 0 holds several values: \['a', 'b'\] \(list\)\. Give one label"):
        model.fit(TEXTS, [["a", "b"], ["a"]] * 32)


def test_messages_name_the_parameters_of_the_estimator(small: dict[str, Any]) -> None:
    model = KeroraClassifier(**{**small, "validation_fraction": 0.1})
    remedy = "Add rows, give eval_set=, or set validation_fraction=0"
    with pytest.raises(DataError, match=rf"^X: class 'ugly' has 1 row, .*{remedy}\.$"):
        model.fit([*TEXTS, "one"], [*LABELS, "ugly"])
