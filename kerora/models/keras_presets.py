"""Reads the preset folders of KerasHub and of KerasNLP, its former name: the backbone and the head of a classifier."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.compat import flatten_layers
from kerora.errors import PresetError
from kerora.fast.blank_weights import without_drawing
from kerora.models.architectures import ARCHITECTURES, Architecture, supported_titles
from kerora.models.json_files import read_json_object
from kerora.models.keras_classes import class_name, is_classifier, registered_class
from kerora.models.keras_weights import WEIGHTS, holds_quantized, merge_keras_lora, quantized_mode
from kerora.models.problem_types import NUMBERS, ONE_CLASS, SEVERAL_LABELS

keras_hub = import_keras_hub()

EXACT_FILE = "kerora.json"
"""File of an exported preset: activation and epsilon, because the config of KerasHub does not hold them."""
HEAD_FILE, LABELS_FILE = "head.keras", "labels.json"
"""Files of an exported preset: the head as a Keras model, if KerasHub has no such classifier, and the class names."""
CONFIG, METADATA, TASK, TASK_WEIGHTS = "config.json", "metadata.json", "task.json", "task.weights.h5"


def gelu_tanh(values: Any) -> Any:
    """GELU in its tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return keras.activations.gelu(values, approximate=True)


ACTIVATIONS = {"gelu": keras.activations.gelu, "gelu_tanh": gelu_tanh}


def set_activation_and_epsilon(backbone: Any, activation: Any, epsilon: float) -> None:
    """Set the activation of the feed-forward layers and the epsilon of the layer norms of a backbone."""
    for layer in flatten_layers(backbone):
        # KerasHub has fixed values for both and does not store them in its config.
        if isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = epsilon
        elif layer.name == "feedforward_intermediate_dense":
            layer.activation = activation


def keep_norms_epsilon(backbone: Any) -> None:
    """Set the epsilon of the norms of queries and keys in Qwen 3 to that of the model, as in transformers.

    KerasHub always uses 1e-5 there. Other models do not change.
    """
    for layer in flatten_layers(backbone):
        if type(layer).__name__ == "Qwen3LayerNorm":
            layer.epsilon = backbone.layer_norm_epsilon


class KerasFolder:
    """A preset folder that `save_to_preset` of KerasHub or KerasNLP wrote.

    Args:
        directory: folder with config.json and weights.
        lora: file that `save_lora_weights` of Keras wrote, to merge into the backbone. Default: None.

    Raises:
        PresetError: config.json is damaged, its class is not supported, or the weights are quantized.
    """

    def __init__(self, directory: Path, lora: Path | None = None) -> None:
        self.directory, self.lora = directory, lora
        self.config = read_json_object(directory / CONFIG)
        self.architecture = _find_architecture(directory, self.config)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names of a saved classifier, or ``"0"``, ``"1"``, ... if it has none; None if there is no classifier.

        Raises:
            PresetError: a file is damaged.
        """
        return self.names_of(ONE_CLASS)

    def names_of(self, problem: str) -> tuple[str, ...] | None:
        """Return the names of the outputs of a saved head; None if there is no head for this problem.

        KerasHub does not say what the outputs mean. If no file of Kerora says it, each head can predict numbers, and a
        head with two or more outputs can be one for classes.

        Args:
            problem: what the outputs mean, as transformers names it.

        Raises:
            PresetError: a file is damaged.
        """
        names, known = self._output_names(), self._problem_type()
        if names is None or len(names) < (1 if problem == NUMBERS else 2):
            return None
        return names if known == problem or (known is None and problem != SEVERAL_LABELS) else None

    @property
    def problem_type(self) -> str:
        """What the outputs of a head mean. One output is a number."""
        names = self._output_names()
        return self._problem_type() or (NUMBERS if names is not None and len(names) == 1 else ONE_CLASS)

    def _problem_type(self) -> str | None:
        """Return what labels.json says about the outputs, or None."""
        path = self.directory / LABELS_FILE
        found = read_json_object(path).get("problem_type") if path.is_file() else None
        return found if isinstance(found, str) else None

    def _output_names(self) -> tuple[str, ...] | None:
        names = self._labels()
        # Kerora writes this file if KerasHub has no classifier of the kind.
        if (self.directory / HEAD_FILE).is_file():
            return names
        if not (self.directory / TASK).is_file() or not (self.directory / TASK_WEIGHTS).is_file():
            return None
        task = read_json_object(self.directory / TASK)
        count = task.get("config", {}).get("num_classes", 0)
        if not is_classifier(task) or not isinstance(count, int) or count < 1:
            return None
        return names if names is not None and len(names) == count else tuple(str(number) for number in range(count))

    def _labels(self) -> tuple[str, ...] | None:
        """Return the class names that Kerora added to the preset, or None. KerasHub stores no names."""
        if not (self.directory / LABELS_FILE).is_file():
            return None
        names = read_json_object(self.directory / LABELS_FILE).get("classes")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PresetError(f"{self.directory / LABELS_FILE} is damaged. Export the model again.")
        return tuple(names)

    def load_backbone(self, dtype: str, dropout: float) -> Any:
        """Load the backbone with KerasHub.

        Raises:
            PresetError: the weights are missing or do not fit the config.
        """
        try:
            # KerasHub imports TensorFlow for every preset that it loads. A UserWarning comes from `_nothing_left_out`.
            with without_tensorflow(), without_drawing(), _nothing_left_out():
                backbone = keras_hub.models.Backbone.from_preset(str(self.directory), dtype=dtype, dropout=dropout)
        except (OSError, ValueError, KeyError, TypeError, UserWarning) as error:
            raise self._unreadable(error) from error
        if self.lora is not None:
            merge_keras_lora(backbone, self.lora)
        # After the weights, because a loaded backbone has the activation of KerasHub.
        self._restore_exact(backbone)
        keep_norms_epsilon(backbone)
        return backbone

    def load_head(self) -> dict[str, np.ndarray]:
        """Return the head of the saved classifier: ``logits/kernel`` and so on, float32.

        Raises:
            PresetError: the files of the classifier are damaged.
        """
        try:
            with without_tensorflow(), _nothing_left_out():
                if (self.directory / HEAD_FILE).is_file():
                    task = keras.saving.load_model(self.directory / HEAD_FILE)
                else:
                    # Without num_classes, KerasHub keeps the stored head. The number itself would give a random one.
                    task = keras_hub.models.TextClassifier.from_preset(str(self.directory), preprocessor=None)
        except (OSError, ValueError, KeyError, TypeError, UserWarning) as error:
            raise self._unreadable(error) from error
        layers = {layer.name: layer for layer in task.layers if layer.name in ("pooled_dense", "logits")}
        return {
            f"{name}/{part}": np.array(getattr(layer, part))
            for name, layer in layers.items()
            for part in ("kernel", "bias")
            if getattr(layer, part) is not None
        }

    def _restore_exact(self, backbone: Any) -> None:
        if (self.directory / EXACT_FILE).is_file():
            exact = read_json_object(self.directory / EXACT_FILE)
            if exact.get("activation") not in ACTIVATIONS or not isinstance(exact.get("epsilon"), float):
                raise PresetError(f"{self.directory / EXACT_FILE} is damaged. Export the model again.")
            set_activation_and_epsilon(backbone, ACTIVATIONS[exact["activation"]], exact["epsilon"])

    def missing_pooler(self) -> bool:
        """Return False, because KerasHub saves every layer of the backbone."""
        return False

    def _unreadable(self, error: Exception) -> PresetError:
        if holds_quantized(self.directory / WEIGHTS):  # Before KerasNLP 0.15 the config did not show it.
            return _quantized(self.directory / WEIGHTS, "integers")
        reason = " ".join(str(error).split())[:200]
        subject = f"The Keras preset in {self.directory}{self._writer()}"
        return PresetError(f"{subject} cannot be loaded: {reason}. Save or download it again.")

    def _writer(self) -> str:
        """Return the version of Keras that wrote the folder, as a part of a message, or "" if it is unknown."""
        path = self.directory / METADATA
        version = None
        with suppress(PresetError):  # The model does not need this file.
            version = read_json_object(path).get("keras_version")
        return f", written by Keras {version}," if isinstance(version, str) else ""


@contextmanager
def _nothing_left_out() -> Iterator[None]:
    """Turn the warning of Keras that layers keep random weights into an error. Files of some versions cause it."""
    with warnings.catch_warnings():
        # Keras only warns, and the layers would keep random values.
        warnings.filterwarnings("error", message="Skipping nested container")
        yield


def _find_architecture(directory: Path, config: dict[str, Any]) -> Architecture:
    found, path = registered_class(config), directory / CONFIG
    for architecture in ARCHITECTURES.values():
        if found is not None and found is getattr(keras_hub.models, architecture.backbone):
            _refuse_quantized(path, config)
            return architecture
    # Before 0.10, config.json held the task itself.
    if found is not None and issubclass(found, keras_hub.models.Task):
        raise PresetError(
            f"{path} holds a whole {config.get('class_name')} in the format of KerasNLP before 0.10. Later versions "
            "cannot load it. Load it with that version and save its backbone and tokenizer."
        )
    raise PresetError(
        f"{path}: the backbone {class_name(config)!r} (registered as {config.get('registered_name')!r}) is not "
        f"supported. Supported are {supported_titles()}."
    )


def _refuse_quantized(path: Path, config: dict[str, Any]) -> None:
    mode = quantized_mode(config)
    if mode is not None:
        raise _quantized(path, mode)


def _quantized(path: Path, mode: str) -> PresetError:
    return PresetError(
        f"{path}: the weights are quantized ({mode}), but LoRA needs weights that are not quantized. "
        "Give the preset from before quantize(); --quantize quantizes it again."
    )
