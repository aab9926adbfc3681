"""The settings of decoders that KerasHub cannot express: config key -> (default in transformers, accepted values).

The layers of KerasHub have activation, biases and windows in their code. Its converters pass over other settings of a
config without a word, and the model would compute something else. `kerora.models.architectures` refuses such a config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Needs = dict[str, tuple[Any, tuple[Any, ...]]]
_SILU: Needs = {"hidden_act": ("silu", ("silu", "swish"))}
_NO_BIAS: Needs = {"attention_bias": (False, (False, None)), "mlp_bias": (False, (False, None))}
_NO_WINDOW: Needs = {"use_sliding_window": (False, (False, None))}
_TIED: Needs = {"tie_word_embeddings": (True, (True,))}

LLAMA: Needs = {**_SILU, **_NO_BIAS}
QWEN: Needs = {**_SILU, **_NO_WINDOW}
QWEN3: Needs = {**_SILU, **_NO_BIAS, **_NO_WINDOW}
MISTRAL: Needs = {**_SILU, "tie_word_embeddings": (False, (False,))}
SMOLLM3: Needs = {**_SILU, **_NO_BIAS, **_NO_WINDOW, **_TIED}
GEMMA: Needs = {**_TIED, **_NO_BIAS, "hidden_activation": (None, ("gelu_pytorch_tanh", None))}
GEMMA3: Needs = {
    **GEMMA,
    "attn_logit_softcapping": (None, (None,)),
    "use_bidirectional_attention": (False, (False, None)),
}
# Argument of the backbone -> key of the config.
LLAMA3_SCALING = {
    "rope_frequency_adjustment_factor": "factor",
    "rope_low_freq_factor": "low_freq_factor",
    "rope_high_freq_factor": "high_freq_factor",
    "rope_pretraining_sequence_length": "original_max_position_embeddings",
}


@dataclass(frozen=True)
class Rope:
    """The rotary position embeddings (Su et al. 2021, arXiv:2104.09864) that a model of KerasHub supports.

    Attributes:
        scaling: ``rope_type`` -> the arguments of the backbone for it: argument -> config key. The first one is the
            default of a config without ``rope_type``.
        wavelengths: kind of layer -> the fixed ``rope_theta`` of KerasHub, ``""`` for all layers. A kind that is not in
            the mapping uses the value of the config.
        by_layer: whether layers with the whole context and layers with a window have different wavelengths.
    """

    scaling: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"default": {}})
    wavelengths: Mapping[str, float] = field(default_factory=dict)
    by_layer: bool = False
