"""Callbacks with one common contract, without and with the callbacks of Keras."""

import csv
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

import kerora.callbacks
from kerora.callbacks import ClassificationReport, EarlyStopping, History, Progress
from kerora.errors import ConfigError
from kerora.evaluation.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER, is_lower_better
from kerora.evaluation.metrics import classification_metrics, standard_errors
from kerora.models.probabilities import softmax
from kerora.tasks.contract import HISTORY_COLUMNS
from kerora.tasks.registry import tasks

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype("int64") + (X[:, 2] > 1)


def model(rate: float = 0.2) -> keras.Model:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return network


def quiet() -> Console:
    return Console(file=open("/dev/null", "w"), force_terminal=False)


def callback(name: str, tmp_path: Path) -> Any:
    return {
        "EarlyStopping": lambda: EarlyStopping("loss"),
        "ClassificationReport": lambda: ClassificationReport((X, Y)),
        "History": lambda: History(tmp_path / "history.csv"),
        "Progress": lambda: Progress(console=quiet()),
    }[name]()


def fit(network: keras.Model, callbacks: list[Any], epochs: int = 3, **options: Any) -> Any:
    return network.fit(X, Y, epochs=epochs, verbose=0, callbacks=callbacks, batch_size=16, **options)


# Two need other targets: tests/tasks/test_regression.py and tests/models/test_multi_label.py train with them
ANY_MODEL = [name for name in kerora.callbacks.__all__ if name not in ("RegressionReport", "MultiLabelReport")]


@pytest.mark.parametrize("name", ANY_MODEL)
@pytest.mark.parametrize("company", ["alone", "with Keras' own", "with validation data"])
def test_contract(name: str, company: str, tmp_path: Path) -> None:
    """Every callback: is a Keras callback, leaves training as it is, and can be used twice."""
    item = callback(name, tmp_path)
    assert isinstance(item, keras.callbacks.Callback)
    others = [keras.callbacks.TerminateOnNaN(), keras.callbacks.ModelCheckpoint(str(tmp_path / "best.weights.h5"))]
    others[1].save_weights_only = True
    options = {"validation_data": (X, Y)} if company == "with validation data" else {}

    def losses(callbacks: list[Any]) -> list[float]:
        keras.utils.set_random_seed(0)
        return fit(model(), callbacks, **options).history["loss"]

    plain = losses([])
    for _ in range(2):
        assert losses([item, *(others if company == "with Keras' own" else [])]) == plain


def test_all_together_with_keras_early_stopping_on_our_metric(tmp_path: Path) -> None:
    keras_stopping = keras.callbacks.EarlyStopping("val_macro_f1", mode="max", patience=50)
    ours = [ClassificationReport((X, Y)), EarlyStopping("val_macro_f1", 50), History(), Progress(console=quiet())]
    history = fit(model(), [*ours, keras_stopping])
    assert keras_stopping.best == pytest.approx(max(history.history["val_macro_f1"]))
    assert ours[1].best_value == pytest.approx(keras_stopping.best)


def test_report_equals_scikit_learn_on_the_models_own_predictions() -> None:
    network, report = model(), ClassificationReport((X, Y), ["low", "mid", "high"])
    logs = fit(network, [report]).history
    predicted = network.predict(X, verbose=0).argmax(1)
    assert logs["val_macro_f1"][-1] == pytest.approx(f1_score(Y, predicted, average="macro"))
    assert logs["val_accuracy"][-1] == pytest.approx((predicted == Y).mean())
    assert logs["val_loss"][-1] == pytest.approx(network.evaluate(X, Y, verbose=0)[0], abs=1e-5)
    assert report.matrix is not None and report.matrix.sum() == len(Y)
    assert "high" in report.text and report.metrics["per_class"]["low"]["support"] == (Y == 0).sum()


def test_report_takes_probabilities_and_datasets() -> None:
    class Data(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return X[index * 20 : index * 20 + 20], Y[index * 20 : index * 20 + 20]

    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    network.compile("adam", "sparse_categorical_crossentropy")
    reports = [ClassificationReport((X, Y), from_logits=False), ClassificationReport(Data(), from_logits=False)]
    fit(network, reports, epochs=1)
    assert reports[0].metrics["loss"] == pytest.approx(reports[1].metrics["loss"], abs=1e-6)
    assert reports[0].metrics["loss"] == pytest.approx(network.evaluate(X, Y, verbose=0), abs=1e-5)


def test_report_refuses_a_single_output() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    network.compile("adam", "mse")
    with pytest.raises(ConfigError, match=r"one output per class.*\(60, 1\)"):
        fit(network, [ClassificationReport((X, Y))], epochs=1)


class Scripted(keras.callbacks.Callback):
    """Puts a given series into the logs and marks the weights with the epoch."""

    def __init__(self, values: list[float], name: str = "score") -> None:
        super().__init__()
        self.values = values
        self.name = name

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs[self.name] = self.values[epoch]
        for variable in self.model.trainable_variables:
            variable.assign(np.full(variable.shape, float(epoch)))


@pytest.mark.parametrize(
    ("values", "mode", "patience", "epochs_run", "best"),
    [
        ([0.1, 0.5, 0.4, 0.3, 0.9], "max", 2, 4, 1),
        ([0.1, 0.5, 0.4, 0.6, 0.2], "max", 2, 5, 3),
        ([0.9, 0.5, 0.6, 0.7, 0.1], "min", 2, 4, 1),
        ([0.5, 0.5, 0.5, 0.5, 0.5], "max", 1, 2, 0),
        ([0.5, 0.4, 0.3, 0.2, 0.1], "max", 0, 2, 0),
        ([0.1, 0.2, 0.3, 0.4, 0.5], "max", 2, 5, 4),
    ],
)
def test_early_stopping(values: list[float], mode: str, patience: int, epochs_run: int, best: int) -> None:
    network, stopping = model(), EarlyStopping("score", patience, mode=mode)
    history = fit(network, [Scripted(values), stopping], epochs=5)
    assert len(history.history["loss"]) == epochs_run
    assert stopping.best_epoch == best and stopping.best_value == values[best]
    assert all((variable.numpy() == best).all() for variable in network.trainable_variables)


def test_of_equal_values_the_lower_loss_is_kept() -> None:
    """A model that always answers the same has equal values: the first epoch is not the best one."""
    network, stopping = model(), EarlyStopping("score", 2, mode="max")
    losses = [1.6, 1.4, 1.5, 1.2, 1.3]
    fit(network, [Scripted(losses, "val_loss"), Scripted([0.18] * 5), stopping], epochs=5)
    assert stopping.best_epoch == 3
    assert stopping.describe(5) == "Kept epoch 4: score 0.1800. Training ended with epoch 5, the last one"
    again = EarlyStopping("score", 2, mode="max")
    again.restore(json.loads(json.dumps(stopping.state())), stopping.best_weights)
    fit(network, [Scripted([1.25], "val_loss"), Scripted([0.18]), again], epochs=1)
    assert again.best_epoch == 3, "the loss of the kept epoch outlives a resume"


class Errors:
    """Standard errors that a test chooses."""

    def __init__(self, **errors: float) -> None:
        self.errors = errors

    def standard_error(self, name: str) -> float:
        return self.errors.get(name, 0.0)


@pytest.mark.parametrize(
    ("values", "losses", "patience", "epochs_run", "kept"),
    [
        # 0.78 is within an error of 0.80, so the newest of them counts; 0.70 is not
        ([0.60, 0.80, 0.78, 0.70, 0.76], [1.0] * 5, 4, 5, 4),
        ([0.60, 0.80, 0.78, 0.70, 0.70], [1.0] * 5, 2, 5, 2),
        ([0.60, 0.80, 0.70, 0.71, 0.80], [1.0] * 5, 2, 4, 1),
        # the value still rises, but the loss shows that the model overfits
        ([0.60, 0.70, 0.72, 0.80, 0.81], [1.0, 0.5, 0.65, 0.8, 0.9], 2, 5, 2),
        # a first epoch that is best in value, with a loss that falls later: the next within the noise takes its place
        ([0.80, 0.79, 0.79, 0.79, 0.79], [1.0, 0.9, 0.5, 0.5, 0.9], 4, 5, 3),
    ],
)
def test_early_stopping_within_the_noise(
    values: list[float], losses: list[float], patience: int, epochs_run: int, kept: int
) -> None:
    network = model()
    noise = Errors(score=0.025, val_loss=0.1)
    stopping = EarlyStopping("score", patience, mode="max", noise=noise)
    history = fit(network, [Scripted(losses, "val_loss"), Scripted(values), stopping], epochs=5)
    assert len(history.history["loss"]) == epochs_run
    assert stopping.best_epoch == kept and stopping.best_value == values[kept]
    assert all((variable.numpy() == kept).all() for variable in network.trainable_variables)
    assert f"Kept epoch {kept + 1}: score {values[kept]:.4f}" in stopping.describe()
    assert ("training stopped" in stopping.describe()) == (epochs_run < 5 or epochs_run - 1 - kept >= patience)


def test_early_stopping_goes_on_within_the_noise() -> None:
    """The best value and its error outlive a resume: a later epoch is compared with them, not with the kept one."""
    noise = Errors(score=0.025)
    before, after = (EarlyStopping("score", 4, mode="max", noise=noise) for _ in range(2))
    fit(model(), [Scripted([0.80, 0.76]), before], epochs=2)
    after.restore(json.loads(json.dumps(before.state())), before.best_weights)
    fit(model(), [Scripted([0.74]), after], epochs=1)
    assert after.best_epoch == before.best_epoch == 1


def test_report_knows_the_noise_of_its_metrics() -> None:
    """Against the spread of the metrics over other rows of the same kind."""
    generator = np.random.default_rng(3)
    network = model()
    network.fit(X, Y, epochs=3, verbose=0)
    rows = generator.normal(size=(200 * 120, 4)).astype("float32")
    labels = (rows[:, 0] + 0.3 * rows[:, 1] > 0).astype("int64") + (rows[:, 2] > 1)
    probabilities = softmax(network.predict(rows, verbose=0, batch_size=4096).astype("float64"))
    names = ("loss", "accuracy", "macro_f1")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for start in range(0, len(rows), 120):
        part = slice(start, start + 120)
        measured = classification_metrics(labels[part], probabilities[part], ("a", "b", "c"))
        for name in names:
            found[name].append((measured[name], standard_errors(labels[part], probabilities[part], measured)[name]))
    for name, width in (("loss", 0.15), ("accuracy", 0.15), ("macro_f1", 0.5)):
        values, errors = np.array(found[name]).T
        assert errors.mean() == pytest.approx(values.std(), rel=width), name
    report = ClassificationReport((X, Y))
    fit(network, [report], epochs=1)
    assert 0 < report.standard_error("val_accuracy") < 0.1 and report.standard_error("val_unknown") == 0


def test_early_stopping_names_what_the_logs_hold() -> None:
    with pytest.raises(ConfigError, match="'val_macro_f1', which the logs do not hold. They hold: accuracy, loss"):
        fit(model(), [EarlyStopping("val_macro_f1")])


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        *((name, 0) for name in ("val_bits_per_byte", "val_perplexity", "val_ece", "loss", "out_loss", "val_mae_2")),
        *((name, 1) for name in ("val_macro_f1", "accuracy", "test_roc_auc", "val_auc_1", "val_sparse_acc")),
    ],
)
def test_early_stopping_knows_the_direction_of_metrics(monitor: str, best: int) -> None:
    stopping = EarlyStopping(monitor)
    fit(model(), [Scripted([0.5, 0.6, 0.5], monitor), stopping], epochs=3)
    assert stopping.best_epoch == best


def test_early_stopping_refuses_a_metric_without_a_direction() -> None:
    with pytest.raises(
        ConfigError, match=r"whether a lower or a higher value of 'val_score' is better\. Give mode='mi"
    ):
        EarlyStopping("val_score")
    assert EarlyStopping("val_score", mode="max").sign == -1


def test_every_metric_of_a_task_has_a_direction() -> None:
    for task in tasks():
        lower = {name for name in task.training.MONITORS if is_lower_better(name)}
        assert {is_lower_better(name) for name in task.training.MONITORS} <= {True, False}
        assert {name.removeprefix("val_") for name in lower} <= {
            *("loss", "ece", "perplexity", "bits_per_byte", "mae", "rmse", "hamming_loss", "ranking_loss")
        }
    assert not LOWER_IS_BETTER & HIGHER_IS_BETTER


def test_early_stopping_copies_trainable_weights_only() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3)])
    network.layers[0].trainable = False
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stopping = EarlyStopping("loss")
    fit(network, [stopping])
    assert stopping.best_weights is not None and [w.shape for w in stopping.best_weights] == [(8, 3), (3,)]


def test_history_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.csv"
    history = fit(model(), [ClassificationReport((X, Y)), History(path)])
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[2]["val_macro_f1"]) == pytest.approx(history.history["val_macro_f1"][2], abs=1e-5)
    assert float(rows[0]["seconds"]) > 0 and float(rows[0]["validation_seconds"]) > 0
    assert float(rows[0]["peak_memory_mb"]) > 50 and float(rows[0]["learning_rate"]) == pytest.approx(0.2)


def test_progress_shows_epochs_on_a_pipe_and_a_bar_on_a_terminal(tmp_path: Path) -> None:
    for terminal in (False, True):
        with open(tmp_path / "out", "w") as stream:
            console = Console(file=stream, force_terminal=terminal, width=100)
            fit(model(), [ClassificationReport((X, Y)), Progress(console=console)])
        text = (tmp_path / "out").read_text()
        # a terminal has the names of the values once, above a row for each epoch
        assert ("epoch 3/3  loss " in text) != terminal and "val_macro_f1" in text
        assert ("  3/3  " in text) == terminal and (text.count("val_macro_f1") == 1) == terminal
        assert ("ETA" in text) == terminal
