"""Builds KerasHub backbones and classification heads from Hugging Face model folders.

The result equals the model of transformers within rounding. The converters of KerasHub use a fixed activation and fixed
layer norm epsilons. This module keeps the exact GELU and the epsilons of the config.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.compat import flatten_layers, set_norms_epsilon
from kerora.errors import PresetError, nearest
from kerora.fast.blank_weights import draw, without_drawing
from kerora.models.architectures import ARCHITECTURES, Architecture, supported_titles
from kerora.models.decoder_config import check_decoder, set_query_scale
from kerora.models.hf_names import LayerPair
from kerora.models.json_files import read_json_object
from kerora.models.keras_presets import gelu_tanh, set_activation_and_epsilon
from kerora.models.problem_types import NUMBERS, ONE_CLASS
from kerora.models.rope import rope_options
from kerora.models.tensor_files import TensorFiles

keras_hub = import_keras_hub()

GELU = {"gelu": False, "gelu_python": False, "gelu_new": True, "gelu_fast": True, "gelu_pytorch_tanh": True}
"""Supported values of ``hidden_act`` -> whether they are the tanh approximation."""


class HuggingFaceFolder:
    """A model folder that `save_pretrained` of transformers wrote.

    Args:
        directory: folder with config.json and weights.

    Raises:
        PresetError: config.json is damaged, or the kind of the model or one of its settings is not supported.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = read_json_object(directory / "config.json")
        self.architecture = _find_architecture(directory, self.config)
        self._check_config()

    def setting(self, key: str, default: Any) -> Any:
        """Return a value of config.json, or its default in transformers."""
        return self.config.get(key, default)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names of a single-label classification head, in order; None if there is no such head."""
        return self.names_of(ONE_CLASS)

    def names_of(self, problem: str) -> tuple[str, ...] | None:
        """Return the names of the outputs of a head, in order; None if there is no head for this problem.

        Args:
            problem: what the outputs mean, as transformers names it; see `problem_type`.
        """
        names = self._output_names()
        # a single class would be the answer for every text
        least = 1 if problem == NUMBERS else 2
        return names if len(names) >= least and self.problem_type == problem else None

    @property
    def problem_type(self) -> str:
        """What the outputs of a head mean, as transformers reads it: without an entry, one output is a regression."""
        alone = len(self._output_names()) == 1
        return str(self.config.get("problem_type") or (NUMBERS if alone else ONE_CLASS))

    def _output_names(self) -> tuple[str, ...]:
        """Return the names of the outputs of a head for whole texts; empty if there is none."""
        architectures = self.config.get("architectures") or []
        if not any(name.endswith("ForSequenceClassification") for name in architectures):
            return ()
        # transformers does not write the labels of a default head with two classes.
        labels = self.config.get("id2label") or {str(n): f"LABEL_{n}" for n in range(self.config.get("num_labels", 2))}
        if not all(str(number).isdecimal() for number in labels):
            return ()
        # The keys are texts: sorted as texts, 10 would come before 2.
        return tuple(str(labels[number]) for number in sorted(labels, key=int))

    def backbone_arguments(self) -> dict[str, Any]:
        """Return the constructor arguments of the KerasHub backbone, without dtype and dropout."""
        arguments = {name: self.setting(*source) for name, source in self.architecture.arguments.items()}
        arguments["max_sequence_length"] -= self._position_offset()
        if arguments["intermediate_dim"] is None:
            arguments["intermediate_dim"] = 4 * arguments["hidden_dim"]  # What "n_inner": null means for GPT-2.
        return arguments

    def load_backbone(self, dtype: str, dropout: float) -> Any:
        """Build the backbone and load the weights of the folder.

        If the folder has no weights for the pooler, the pooler keeps random values; see `missing_pooler`.

        Raises:
            PresetError: a tensor is missing, or its shape does not fit the config.
        """
        if self.architecture.hub:
            return self._convert(dtype, dropout)
        backbone_class = getattr(keras_hub.models, self.architecture.backbone)
        # All weights come from the folder.
        with without_drawing():
            backbone = backbone_class(
                **self.backbone_arguments(), dropout=dropout, dtype=dtype, name=backbone_name(self)
            )
        self._keep_activation_and_epsilon(backbone)
        tensors = TensorFiles(self.directory)
        prefix = self._prefix(tensors)
        variables = {variable.path: variable for variable in backbone.variables}
        for pair in self.layer_pairs():
            if self._is_missing_pooler(pair, tensors, prefix):
                # `without_drawing` left zeros, and a pooler of zeros would give every text the same output.
                draw(backbone.pooled_dense)
                continue
            for path, name in pair.variables():
                if path in variables:
                    self._assign(variables[path], self._read(tensors, prefix + name, pair))
        return backbone

    def _convert(self, dtype: str, dropout: float) -> Any:
        tensors = TensorFiles(self.directory)
        # A folder with a classification head has no output layer. With tied embeddings KerasHub does not read one.
        options = rope_options(self.directory / "config.json", self.config, self.architecture)
        if "lm_head.weight" not in tensors and "score.weight" in tensors:
            options["tie_word_embeddings"] = True
        try:
            with without_tensorflow():
                backbone = keras_hub.models.Backbone.from_preset(
                    str(self.directory), dtype=dtype, dropout=dropout, **options
                )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            # The errors of converters are long and have several lines.
            reason = " ".join(str(error).split())[:200]
            raise PresetError(
                f"KerasHub cannot convert the {self.architecture.title} model in {self.directory}: {reason}. "
                "Give a folder with safetensors, or a Keras preset."
            ) from error
        # Some converters of KerasHub ignore the epsilon of the config.
        epsilon = float(self.setting(*self.architecture.norm_epsilon))
        for layer in flatten_layers(backbone):
            set_norms_epsilon(layer, epsilon)
        # The config of the backbone, and so a preset that is saved later, gets its epsilon from here.
        backbone.layer_norm_epsilon = epsilon
        set_query_scale(backbone, self.config)
        if self.architecture.rounds_weights:
            self._widen(backbone)
        return backbone

    def _widen(self, backbone: Any) -> None:
        """Read the weights again, because the converter of KerasHub rounds them to float16."""
        tensors = TensorFiles(self.directory)
        variables = {variable.path: variable for variable in backbone.variables}
        for pair in self.layer_pairs():
            for path, name in pair.variables():
                # The output layer lies outside the base model, so it has no prefix.
                name = name if pair.form == "reverse" else f"{self.architecture.prefix}.{name}"
                if path in variables and name in tensors:
                    self._assign(variables[path], self._read(tensors, name, pair))

    def missing_pooler(self) -> bool:
        """Return whether the folder lacks the weights of the backbone's pooler, as after masked-LM training."""
        if self.architecture.hub:
            return False
        tensors = TensorFiles(self.directory)
        prefix = self._prefix(tensors)
        return any(self._is_missing_pooler(pair, tensors, prefix) for pair in self.layer_pairs())

    def load_head(self) -> dict[str, np.ndarray]:
        """Return the classification head: ``logits/kernel``, ``logits/bias``, and ``pooled_dense/...`` if it has one.

        Kernels have the shape (inputs, outputs), float32.

        Raises:
            PresetError: a tensor is missing.
        """
        tensors = TensorFiles(self.directory)
        head = self.architecture.head
        # `pooled_dense` of the head exists only if there is no pooler to use.
        alone = head.from_pooler or head.last_token
        modules = {"logits": head.logits} if alone else {"pooled_dense": head.dense, "logits": head.logits}
        arrays = {}
        for layer, module in modules.items():
            arrays[f"{layer}/kernel"] = tensors.read(f"{module}.weight").T
            # The heads of decoders have no bias.
            if not head.last_token:
                arrays[f"{layer}/bias"] = tensors.read(f"{module}.bias")
        return arrays

    def layer_pairs(self) -> Iterator[LayerPair]:
        """Yield the names of every layer of the backbone in both libraries."""
        arguments = self.backbone_arguments() if self.architecture.arguments else {}
        layers = arguments.get("num_layers", self.setting("num_hidden_layers", 0))
        # The layers of a group of ALBERT share their weights, so the groups are counted.
        first = arguments.get("num_groups", layers)
        for pair in self.architecture.layers:
            yield from pair.expand(first, arguments.get("num_inner_repetitions", 1))

    def _check_config(self) -> None:
        where = self.directory / "config.json"
        for key, (default, accepted) in self.architecture.required.items():
            value = self.setting(key, default)
            # A setting that KerasHub ignores would silently give other outputs.
            if value not in accepted:
                raise PresetError(
                    f"{where}: KerasHub's {self.architecture.title} cannot express {key}={value!r}; "
                    f"it needs {accepted[0]!r}. Choose another model."
                )
        if self.architecture.hub:
            check_decoder(where, self.config, self.architecture)
            rope_options(where, self.config, self.architecture)
            return  # The converter of KerasHub reads the sizes.
        key, default = self.architecture.activation
        if self.setting(key, default) not in GELU:
            known = ", ".join(GELU)
            raise PresetError(
                f"{where}: {key}={self.setting(key, default)!r} is not supported; supported are {known}. "
                "Choose another model."
            )
        self._check_sizes(where)

    def _check_sizes(self, where: Path) -> None:
        arguments = self.backbone_arguments()
        for name, value in arguments.items():
            if not isinstance(value, int) or value < 1:
                key = self.architecture.arguments[name][0]
                raise PresetError(f"{where}: {key} must be a positive integer. Received: {value!r}")
        layers, groups = arguments["num_layers"], arguments.get("num_groups", 1)
        if layers % groups:
            raise PresetError(f"{where}: num_hidden_layers={layers} must be a multiple of num_hidden_groups={groups}.")
        span, longest = self.setting("max_relative_positions", -1), arguments["max_sequence_length"]
        if span > 0 and span != longest:
            raise PresetError(
                f"{where}: KerasHub's {self.architecture.title} needs max_relative_positions to be -1 or "
                f"max_position_embeddings ({longest}). Received: {span}"
            )

    def _position_offset(self) -> int:
        """Number of unused rows before the positions: RoBERTa starts after the row of the padding token's id."""
        counted = any(pair.form == "positions" for pair in self.architecture.layers)
        return int(self.setting("pad_token_id", 1)) + 1 if counted else 0

    def _keep_activation_and_epsilon(self, backbone: Any) -> None:
        key, default = self.architecture.activation
        # KerasHub always uses the tanh approximation in BERT, which differs by up to 5e-3 in real models.
        approximate = GELU[self.setting(key, default)]
        epsilon = float(self.setting(*self.architecture.norm_epsilon))
        set_activation_and_epsilon(backbone, gelu_tanh if approximate else keras.activations.gelu, epsilon)

    def _prefix(self, tensors: TensorFiles) -> str:
        prefix = f"{self.architecture.prefix}."
        # A base model such as BertModel is saved without the prefix.
        return prefix if any(name.startswith(prefix) for name in tensors.names) else ""

    @staticmethod
    def _is_missing_pooler(pair: LayerPair, tensors: TensorFiles, prefix: str) -> bool:
        return pair.keras == "pooled_dense" and f"{prefix}{pair.huggingface}.weight" not in tensors

    def _read(self, tensors: TensorFiles, name: str, pair: LayerPair) -> np.ndarray:
        array = tensors.read(name)
        if pair.part is not None:
            number, count = pair.part
            # Conv1D weights are (inputs, outputs), so outputs are the last axis of weight and bias.
            array = np.split(array, count, axis=-1)[number]
        if pair.form in ("dense", "reverse"):
            return array.T
        if pair.form == "positions":
            array = array[self._position_offset() :]
            segments = name.replace("position_embeddings", "token_type_embeddings")
            # transformers adds row 0 of the segment embeddings to every token. KerasHub has no layer for it, so it is
            # added to each position here.
            return array + tensors.read(segments)[0] if segments in tensors else array
        return array

    def _assign(self, variable: Any, array: np.ndarray) -> None:
        # Biases and kernels with heads have other dimensions in the two libraries, so their sizes are compared. Arrays
        # with the same number of dimensions (not 1) must have the same shape, or rows and columns could be swapped.
        if array.size != np.prod(variable.shape) or (
            array.ndim == len(variable.shape) != 1 and array.shape != variable.shape
        ):
            raise PresetError(
                f"{self.directory}: the weights for {variable.path} have the shape {tuple(array.shape)}, but "
                f"config.json asks for {tuple(variable.shape)}. The config belongs to another model. "
                "Download the model again."
            )
        variable.assign(np.ascontiguousarray(array).reshape(variable.shape))


def backbone_name(folder: HuggingFaceFolder) -> str:
    """Return the name of a backbone of this kind. The default name of Keras would have a number after the first one."""
    return f"{folder.architecture.kind}_backbone"


def _type_of_class(config: Mapping[str, Any]) -> str | None:
    """Return the model type from the name of the model class. Configs from before 2020 have no model type."""
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    # BertForMaskedLM -> bert, GPT2LMHeadModel -> gpt2.
    stem = re.split(r"For|Model|LMHead|DoubleHeads", name)[0].lower()
    types = {
        architecture.model_type.replace("-", ""): architecture.model_type for architecture in ARCHITECTURES.values()
    }
    return types.get(stem) if stem else None


def _find_architecture(directory: Path, config: Mapping[str, Any]) -> Architecture:
    by_type = {
        name: architecture
        for architecture in ARCHITECTURES.values()
        for name in (architecture.model_type, *architecture.more_types)
        if name
    }
    model_type = config.get("model_type", _type_of_class(config))
    if model_type not in by_type:
        raise PresetError(
            f"{directory / 'config.json'}: model_type {model_type!r} is not supported."
            f"{nearest(str(model_type), by_type)} Supported are {supported_titles()}."
        )
    return by_type[model_type]
