"""What `compile` of a task model fills in, mends and refuses. The outputs of a classifier are logits."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from kerora.errors import ConfigError
from kerora.lora.inject import lora_layers
from kerora.models.learning_rate import default_learning_rate
from kerora.notices import notice

FROM_LOGITS = {
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy",
    "categorical_crossentropy": "CategoricalCrossentropy",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
    # Keras chooses by the form of the targets. Those of a classifier are class numbers.
    "crossentropy": "SparseCategoricalCrossentropy",
    "ce": "SparseCategoricalCrossentropy",
}
"""Losses of Keras that need to know that they get logits: the function, and the class that can be told."""
SPARSE = ("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy", "CrossEntropy")
"""Losses that read class numbers: of Keras, and the own one of a classifier."""
BINARY = ("binary_crossentropy", "binary_focal_crossentropy", "BinaryCrossentropy", "BinaryFocalCrossentropy")
THRESHOLDS = ("AUC", "Precision", "Recall", "PrecisionAtRecall", "RecallAtPrecision", "BinaryAccuracy")
"""Metrics of Keras that need probabilities of one class."""
ONE_HOT = (*THRESHOLDS, "F1Score", "FBetaScore", "CategoricalAccuracy", "TopKCategoricalAccuracy")
"""Metrics of Keras that need one-hot labels. With class numbers they fail, or compute something else."""


@dataclass(frozen=True)
class Rules:
    """The losses of Keras that fit a kind of model.

    Attributes:
        from_logits: losses and metrics that need to know that they get logits, by function.
        refused: losses for other models.
        why: why they do not fit, and what to use, for the message.
    """

    from_logits: Mapping[str, str]
    refused: tuple[str, ...]
    why: str


ONE_CLASS = Rules(
    FROM_LOGITS,
    BINARY,
    "is for a single output, but a classifier has one for each class. Use "
    "keras.losses.SparseCategoricalCrossentropy(from_logits=True), or leave loss out.",
)
SEVERAL_LABELS = Rules(
    {
        "binary_crossentropy": "BinaryCrossentropy",
        "binary_focal_crossentropy": "BinaryFocalCrossentropy",
        "crossentropy": "BinaryCrossentropy",
        "ce": "BinaryCrossentropy",
    },
    (*(name for name in FROM_LOGITS if name not in ("crossentropy", "ce")), *FROM_LOGITS.values()),
    "is for one class in each row, but a row of this model can have several labels. Use "
    "keras.losses.BinaryCrossentropy(from_logits=True), or leave loss out.",
)


def label_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return the share of the labels of each row that logits answer right at probability 0.5, (rows,)."""
    right = keras.ops.equal(keras.ops.greater(y_pred, 0), keras.ops.greater(y_true, 0.5))
    return keras.ops.mean(keras.ops.cast(right, "float32"), axis=-1)


@keras.saving.register_keras_serializable("kerora")
class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """The accuracy of a model with several labels per text; see `label_accuracy`."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(fn=label_accuracy, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}


def settled(model: Any, given: Mapping[str, Any], loss: Any) -> dict[str, Any]:
    """Return the arguments of `compile` with what was left out, and with losses that fit logits.

    Args:
        model: a task model. Which weights are trained decides the learning rate.
        given: the arguments by name.
        loss: the loss of a classifier, or None for models of which nothing is known here.

    Raises:
        ConfigError: an argument does not fit the model.
    """
    settled = dict(given)
    if settled.get("jit_compile") is True:
        raise ConfigError(
            "jit_compile=True is not supported: torch.compile needs minutes for a model with LoRA. Leave it out."
        )
    if settled.get("optimizer") is None:
        settled["optimizer"] = default_optimizer(model)
    if loss is None:
        return settled
    rules = SEVERAL_LABELS if isinstance(loss, keras.losses.BinaryCrossentropy) else ONE_CLASS
    if settled.get("loss") is None:
        settled["loss"] = loss
        settled.setdefault("metrics", ["accuracy"])
    else:
        settled["loss"] = keras.tree.map_structure(lambda given: _loss_from_logits(given, rules), settled["loss"])
    # Keras alone would keep the metrics of an earlier `compile`, which may not fit the new loss.
    settled["metrics"] = settled.get("metrics") or []
    for name in ("metrics", "weighted_metrics"):
        if settled.get(name):
            settled[name] = keras.tree.map_structure(lambda given: _metric_from_logits(given, rules), settled[name])
            if rules is ONE_CLASS and reads_numbers(settled["loss"]):
                keras.tree.map_structure(_check_labels_of_metric, settled[name])
    return settled


def reads_numbers(loss: Any) -> bool | None:
    """Tell whether a loss reads class numbers. False: one-hot labels. None: a loss of which nothing is known."""
    name = _name(loss)
    return True if name in SPARSE else False if name in FROM_LOGITS or name in FROM_LOGITS.values() else None


def _check_labels_of_metric(metric: Any) -> None:
    name = _name(metric)
    if name in ONE_HOT:
        raise ConfigError(
            f"The metric {name} needs one-hot labels, but the loss reads class numbers. Leave it out: "
            "kerora.callbacks.ClassificationReport adds precision, recall, F1 and ROC AUC to the logs."
        )


def default_optimizer(model: Any) -> keras.optimizers.Optimizer:
    """Return AdamW with gradient clipping and the default learning rate for the weights that are trained."""
    trained = {id(variable) for variable in model.trainable_variables}
    backbone = any(id(variable) in trained for variable in model.backbone.variables)
    method = "lora" if lora_layers(model) else "full" if backbone else "head"
    rate = default_learning_rate(model.backbone.hidden_dim, method)
    # The default epsilon of Keras, 1e-7, is not that of torch and transformers.
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, epsilon=1e-8, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _loss_from_logits(loss: Any, rules: Rules) -> Any:
    name = _name(loss, rules)
    if name in rules.refused:
        raise ConfigError(f"loss={name} {rules.why}")
    return _from_logits(loss, name, keras.losses, "loss", rules)


def _metric_from_logits(metric: Any, rules: Rules) -> Any:
    # Keras would compare the label with the highest logit
    if rules is SEVERAL_LABELS and metric in ("accuracy", "acc"):
        return LabelAccuracy(metric)
    name = _name(metric, rules)
    if name in THRESHOLDS:
        notice(
            f"The metric {name} reads probabilities of one class, but the model gives logits of all classes. "
            "kerora.callbacks.ClassificationReport adds precision, recall, F1 and ROC AUC to the logs."
        )
    return _from_logits(metric, name, keras.metrics, "metric", rules)


def _from_logits(given: Any, name: str, home: Any, what: str, rules: Rules) -> Any:
    """Return a loss or a metric that reads logits in place of one that reads probabilities."""
    known = rules.from_logits
    made = getattr(home, known.get(name, name), None) if isinstance(given, str) or name in known else None
    if made is not None and (name in known or name in known.values()):
        mended = made(from_logits=True, name=name)
    elif not isinstance(given, str) and name in known.values() and given.get_config().get("from_logits") is False:
        mended = type(given).from_config({**given.get_config(), "from_logits": True})
    else:
        return given
    notice(f"The model gives logits, not probabilities: the {what} {name} is computed with from_logits=True.")
    return mended


def _name(given: Any, rules: Rules = ONE_CLASS) -> str:
    """Return the name of a loss or metric of Keras as it is written in code: of its function or of its class."""
    if isinstance(given, str):
        named = given if given in rules.from_logits or given in rules.refused else None
        classes = {name.lower(): name for name in (*rules.from_logits.values(), *rules.refused, *ONE_HOT)}
        return named or classes.get(given.replace("_", "").lower(), given)
    if isinstance(given, keras.losses.Loss | keras.metrics.Metric):
        return type(given).__name__
    return str(getattr(given, "__name__", ""))


def check_callbacks(model: Any, callbacks: Any) -> None:
    """Check that callbacks of Keras work with a compiled model.

    Raises:
        ConfigError: a callback sets the learning rate of a schedule, or needs TensorFlow, which is not installed.
    """
    found = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
    setting = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    names = [type(callback).__name__ for callback in found if isinstance(callback, setting)]
    # The config of an optimizer holds a number, or a schedule as a dict.
    optimizer = getattr(model, "optimizer", None)
    if names and optimizer is not None and isinstance(optimizer.get_config().get("learning_rate"), Mapping):
        raise ConfigError(
            f"{names[0]} sets the learning rate, but the optimizer has a schedule that sets it too. Give the optimizer "
            "a number, or leave the callback out."
        )
    boards = any(isinstance(callback, keras.callbacks.TensorBoard) for callback in found)
    if boards and importlib.util.find_spec("tensorflow") is None:
        raise ConfigError(
            "keras.callbacks.TensorBoard writes through TensorFlow, which is not installed. Use "
            "keras.callbacks.CSVLogger, kerora.fit(..., log='tensorboard'), or install tensorflow."
        )
