"""Names of the layers and weights of a task model in transformers and PEFT."""

from collections.abc import Iterator, Sequence
from typing import Any

from kerora.lora.names import TensorName
from kerora.models.architectures import Architecture
from kerora.models.hf_names import LayerPair


def layer_pairs(architecture: Architecture, backbone: Any) -> Iterator[LayerPair]:
    """Yield the names of every layer of a backbone in both libraries."""
    # The layers of a group of ALBERT share their weights.
    groups = getattr(backbone, "num_groups", None) or backbone.num_layers
    inner = getattr(backbone, "num_inner_repetitions", 1)
    for pair in architecture.layers:
        yield from pair.expand(groups, inner)


def module_names(architecture: Architecture, backbone: Any) -> dict[str, str]:
    """Return Keras layer path -> module path without the model's prefix."""
    return {pair.keras: pair.huggingface for pair in layer_pairs(architecture, backbone)}


def tensor_names(architecture: Architecture, backbone: Any, head_layers: Sequence[Any]) -> dict[str, TensorName]:
    """Return Keras variable path -> name of the tensor, with the model's prefix, and its form."""
    names = {}
    for pair in layer_pairs(architecture, backbone):
        # The positions of RoBERTa have rows for padding at the start in transformers, but not in Keras.
        form = "none" if pair.form == "positions" else pair.form
        for path, name in pair.variables():
            module, _, weight = f"{architecture.prefix}.{name}".rpartition(".")
            names[path] = TensorName(module, weight, form, pair.part)
    modules = {"logits": architecture.head.logits, "pooled_dense": architecture.head.dense}
    for layer in head_layers:
        for variable in layer.variables:
            # A head has only dense layers.
            weight = "weight" if variable.name == "kernel" else "bias"
            names[variable.path] = TensorName(modules[layer.name], weight)
    return names
