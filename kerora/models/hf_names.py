"""The name in a Hugging Face model of each layer of a KerasHub backbone, for every architecture.

A `LayerPair` holds a Keras layer path and the Hugging Face module path of the same layer. ``{i}`` and ``{j}`` stand for
layer numbers. The paths have no model prefix (``bert.``), so the table can be used to read weights, to write them and
to name PEFT modules. The form of a pair says how the arrays differ:

========= ================================== ==================================================
form      Keras variable                     Hugging Face tensor
========= ================================== ==================================================
dense     kernel (inputs..., outputs...)     weight (outputs, inputs): transpose, then reshape
dense     bias (outputs...)                  bias (outputs,): reshape
conv      kernel (inputs..., outputs...)     weight (inputs, outputs): reshape (GPT-2's Conv1D)
conv      bias (outputs...)                  bias (outputs,): reshape
norm      gamma, beta (width,)               weight, bias: equal
scale     scale (width,)                     weight: equal
embedding embeddings (rows, width)           weight: equal
reverse   reverse_embeddings (width, rows)   weight (rows, width): transpose
positions embeddings (rows, width)           weight with padding rows in front (RoBERTa)
matrix    the path itself is the variable    weight: equal
========= ================================== ==================================================

If one module computes several layers together (``c_attn`` of GPT-2), `part` gives the outputs of the layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

Form = Literal["dense", "conv", "norm", "scale", "embedding", "reverse", "positions", "matrix"]

VARIABLES: dict[Form, tuple[tuple[str, str], ...]] = {
    "dense": (("kernel", "weight"), ("bias", "bias")),
    "conv": (("kernel", "weight"), ("bias", "bias")),
    "norm": (("gamma", "weight"), ("beta", "bias")),
    "scale": (("scale", "weight"),),
    "embedding": (("embeddings", "weight"),),
    "reverse": (("reverse_embeddings", "weight"),),
    "positions": (("embeddings", "weight"),),
    "matrix": (("", "weight"),),
}
"""Variable names of each form: (Keras, Hugging Face)."""


@dataclass(frozen=True)
class LayerPair:
    """A Keras layer path, the Hugging Face module path that holds the same weights, and their form.

    Attributes:
        keras: path of the layer.
        huggingface: path of the module.
        form: how the arrays differ.
        part: (number, count) if the module computes the outputs of `count` layers, else None.
    """

    keras: str
    huggingface: str
    form: Form
    part: tuple[int, int] | None = None

    def expand(self, first: int, second: int = 1) -> Iterator["LayerPair"]:
        """Yield the pair for each value of ``{i}`` below `first` and of ``{j}`` below `second`."""
        # A path without a placeholder stands for one layer.
        counts = [range(first) if "{i}" in self.keras else range(1), range(second) if "{j}" in self.keras else range(1)]
        for i, j in product(*counts):
            yield LayerPair(self.keras.format(i=i, j=j), self.huggingface.format(i=i, j=j), self.form, self.part)

    def variables(self) -> Iterator[tuple[str, str]]:
        """Yield (Keras variable path, Hugging Face tensor name)."""
        for keras_name, huggingface_name in VARIABLES[self.form]:
            yield f"{self.keras}/{keras_name}".rstrip("/"), f"{self.huggingface}.{huggingface_name}"


BLOCK: tuple[tuple[str, Form], ...] = (
    ("self_attention_layer/query", "dense"),
    ("self_attention_layer/key", "dense"),
    ("self_attention_layer/value", "dense"),
    ("self_attention_layer/attention_output", "dense"),
    ("self_attention_layer_norm", "norm"),
    ("feedforward_intermediate_dense", "dense"),
    ("feedforward_output_dense", "dense"),
    ("feedforward_layer_norm", "norm"),
)
"""The layers of a transformer block as KerasHub names them."""

BERT_BLOCK = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
DISTIL_BERT_BLOCK = (
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)
ALBERT_BLOCK = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.dense",
    "attention.LayerNorm",
    "ffn",
    "ffn_output",
    "full_layer_layer_norm",
)
DEBERTA_BLOCK = (
    "attention.self.query_proj",
    "attention.self.key_proj",
    "attention.self.value_proj",
    *BERT_BLOCK[3:],
)


def _block(keras: str, huggingface: str, names: Sequence[str]) -> tuple[LayerPair, ...]:
    return tuple(
        LayerPair(f"{keras}/{layer}", f"{huggingface}.{name}", form)
        for (layer, form), name in zip(BLOCK, names, strict=True)
    )


def _embeddings(words: str, positions: str, position_form: Form = "embedding") -> tuple[LayerPair, ...]:
    return (
        LayerPair(words, "embeddings.word_embeddings", "embedding"),
        LayerPair(positions, "embeddings.position_embeddings", position_form),
        LayerPair("embeddings_layer_norm", "embeddings.LayerNorm", "norm"),
    )


_SEGMENTED_EMBEDDINGS = (
    *_embeddings("token_embedding", "position_embedding"),
    LayerPair("segment_embedding", "embeddings.token_type_embeddings", "embedding"),
)
_ENCODER = _block("transformer_layer_{i}", "encoder.layer.{i}", BERT_BLOCK)

DISTIL_BERT = (
    *_embeddings(
        "token_and_position_embedding/token_embedding",
        "token_and_position_embedding/position_embedding",
    ),
    *_block("transformer_layer_{i}", "transformer.layer.{i}", DISTIL_BERT_BLOCK),
)
BERT = (*_SEGMENTED_EMBEDDINGS, *_ENCODER, LayerPair("pooled_dense", "pooler.dense", "dense"))
ROBERTA = (
    *_embeddings("embeddings/token_embedding", "embeddings/position_embedding", "positions"),
    *_ENCODER,
)
ELECTRA = (*_SEGMENTED_EMBEDDINGS, LayerPair("embeddings_projection", "embeddings_project", "dense"), *_ENCODER)
ALBERT = (
    *_SEGMENTED_EMBEDDINGS,
    LayerPair("embedding_projection", "encoder.embedding_hidden_mapping_in", "dense"),
    *_block(
        "group_{i}_inner_layer_{j}",
        "encoder.albert_layer_groups.{i}.albert_layers.{j}",
        ALBERT_BLOCK,
    ),
    # The pooler of ALBERT is a single layer, not a module with a layer `dense`.
    LayerPair("pooled_dense", "pooler", "dense"),
)
DEBERTA_V3 = (
    LayerPair("token_embedding", "embeddings.word_embeddings", "embedding"),
    LayerPair("embeddings_layer_norm", "embeddings.LayerNorm", "norm"),
    # DeBERTa-v3 has no absolute positions. All blocks share these relative ones.
    LayerPair("rel_embedding/rel_embedding", "encoder.rel_embeddings", "matrix"),
    LayerPair("rel_embedding/rel_embeddings_layer_norm", "encoder.LayerNorm", "norm"),
    *_block("disentangled_attention_encoder_layer_{i}", "encoder.layer.{i}", DEBERTA_BLOCK),
)
GPT2 = (
    LayerPair("token_embedding", "wte", "embedding"),
    LayerPair("position_embedding", "wpe", "embedding"),
    LayerPair("transformer_layer_{i}/self_attention/query", "h.{i}.attn.c_attn", "conv", (0, 3)),
    LayerPair("transformer_layer_{i}/self_attention/key", "h.{i}.attn.c_attn", "conv", (1, 3)),
    LayerPair("transformer_layer_{i}/self_attention/value", "h.{i}.attn.c_attn", "conv", (2, 3)),
    LayerPair("transformer_layer_{i}/self_attention/attention_output", "h.{i}.attn.c_proj", "conv"),
    LayerPair("transformer_layer_{i}/self_attention_layer_norm", "h.{i}.ln_1", "norm"),
    LayerPair("transformer_layer_{i}/feedforward_intermediate_dense", "h.{i}.mlp.c_fc", "conv"),
    LayerPair("transformer_layer_{i}/feedforward_output_dense", "h.{i}.mlp.c_proj", "conv"),
    LayerPair("transformer_layer_{i}/feedforward_layer_norm", "h.{i}.ln_2", "norm"),
    LayerPair("layer_norm", "ln_f", "norm"),
)


def _decoder(block: str, layers: Sequence[str]) -> tuple[LayerPair, ...]:
    """Pair the dense layers of a decoder block with their names in transformers, as in Llama and similar models."""
    modules = (*(f"self_attn.{letter}_proj" for letter in "qkvo"), *(f"mlp.{name}_proj" for name in _GATED))
    return tuple(
        LayerPair(f"{block}/{layer}", f"layers.{{i}}.{module}", "dense")
        for layer, module in zip(layers, modules, strict=True)
    )


_GATED = ("gate", "up", "down")
_LLAMA_FEEDFORWARD = ("feedforward_gate_dense", "feedforward_intermediate_dense", "feedforward_output_dense")
LLAMA = _decoder(
    "transformer_layer_{i}",
    (*(f"self_attention/{name}" for name in ("query", "key", "value", "attention_output")), *_LLAMA_FEEDFORWARD),
)
# All weights, because they are read again in full precision (`Architecture.rounds_weights`).
MISTRAL = (
    *LLAMA,
    LayerPair("token_embedding", "embed_tokens", "embedding"),
    LayerPair("token_embedding", "lm_head", "reverse"),
    LayerPair("transformer_layer_{i}/self_attention_layernorm", "layers.{i}.input_layernorm", "scale"),
    LayerPair("transformer_layer_{i}/feedforward_layernorm", "layers.{i}.post_attention_layernorm", "scale"),
    LayerPair("sequence_output_layernorm", "norm", "scale"),
)
GEMMA = _decoder(
    "decoder_block_{i}",
    (
        *(f"attention/{name}" for name in ("query", "key", "value", "attention_output")),
        *("ffw_gating", "ffw_gating_2", "ffw_linear"),
    ),
)
SMOLLM3 = _decoder(
    "transformer_layer_{i}",
    # `tell_layers_apart` puts the name of the block before the path of `o_proj`.
    (*(f"self_attn/{letter}_proj" for letter in "qkv"), "o_proj", *(f"mlp/{name}_proj" for name in _GATED)),
)
"""The adaptable layers of the decoders that KerasHub itself converts."""
