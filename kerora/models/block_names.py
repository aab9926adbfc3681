"""The names of the layers of decoder blocks in KerasHub, by which `kerora.fast` reads them for generation."""

from kerora.fast.decoder_weights import BlockNames

_PRIVATE = ("_self_attention_layer", "_query_dense", "_key_dense", "_value_dense", "_output_dense")
_PUBLIC = ("attention", "query_dense", "key_dense", "value_dense", "output_dense")
_INNER, _OUTER = "_feedforward_intermediate_dense", "_feedforward_output_dense"

GPT2 = BlockNames(*_PRIVATE, "_self_attention_layer_norm", "_feedforward_layer_norm", "", _INNER, _OUTER, rope="")
LLAMA = BlockNames(
    *(*_PRIVATE, "_self_attention_layernorm", "_feedforward_layernorm", "_feedforward_gate_dense", _INNER, _OUTER),
    query_norm="_query_dense_layer_norm",
    key_norm="_key_dense_layer_norm",
)
PHI3 = BlockNames(
    *(*_PUBLIC, "pre_attention_layernorm", "post_attention_layernorm", "feedforward_gate_dense"),
    *("feedforward_intermediate_dense", "feedforward_output_dense"),
)
GEMMA = BlockNames(
    *(*_PUBLIC, "pre_attention_norm", "pre_ffw_norm", "gating_ffw", "gating_ffw_2", "ffw_linear"),
    query_norm="query_norm",
    key_norm="key_norm",
    after_attention="post_attention_norm",
    after_feed_forward="post_ffw_norm",
    rope="rope_layer",
    activation="gelu_tanh",
    scaled=True,
    from_one=True,
)
SMOLLM3 = BlockNames(
    *("self_attn", "q_proj", "k_proj", "v_proj", "o_proj", "input_layernorm", "post_attention_layernorm"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    rope="rotary_embedding",
    activation="silu",
    last_norm="norm",
)
