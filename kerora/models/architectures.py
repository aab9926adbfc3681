"""The supported architectures: their KerasHub classes, Hugging Face settings and classification heads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerora.fast.decoder_weights import BlockNames
from kerora.models import block_names, hf_names, needs
from kerora.models.hf_names import LayerPair
from kerora.models.needs import Rope


@dataclass(frozen=True)
class Head:
    """A classification head with the layers of transformers, on the first token, or on the last token for a decoder.

    Attributes:
        activation: activation of `pooled_dense`.
        dense: Hugging Face module of `pooled_dense`, with the model prefix if it has one.
        logits: Hugging Face module of `logits`.
        from_pooler: whether the pretrained pooler of the backbone replaces `pooled_dense`.
        dropout_first: whether there is dropout before `pooled_dense` too.
        last_token: whether the head is only `logits`, without bias, on the last token that is not padding.
    """

    activation: str
    dense: str
    logits: str = "classifier"
    from_pooler: bool = False
    dropout_first: bool = False
    last_token: bool = False


@dataclass(frozen=True)
class Architecture:
    """The facts that are needed to build one kind of model from the files of either library.

    Attributes:
        kind: name in Kerora, such as ``bert``.
        title: name in messages.
        backbone: KerasHub backbone class.
        tokenizer: KerasHub tokenizer class.
        model_type: ``model_type`` of config.json.
        prefix: prefix of the base model's tensors.
        segments: whether the backbone takes ``segment_ids``.
        arguments: backbone argument -> (config key, default in transformers).
        required: config key -> (default in transformers, the values that KerasHub supports).
        layers: names of the layers of the backbone in both libraries.
        head: classification head.
        activation: (config key, default in transformers) of the feed-forward activation.
        norm_epsilon: (config key, default in transformers) of the layer norms. With an empty key the default is always
            used.
        hub: whether KerasHub converts Hugging Face folders. `layers` then holds only the layers that can get LoRA.
        more_types: other values of ``model_type`` for which KerasHub builds the same backbone.
        class_stem: start of the class names in transformers, such as ``Bert``; not used with `hub`.
        rope: rotary position embeddings of a decoder that has them.
        rounds_weights: whether the converter of KerasHub rounds the weights to float16.
        needs_tensorflow: whether the preprocessor of KerasHub for this kind needs TensorFlow.
        decoding: names of the layers of a block, with which generation reads the weights; None if the layers of
            KerasHub compute it.
        plain_heads: whether the size of a head is always the width divided by the number of heads.
        window_pattern: whether a layer has a sliding window, for each layer of a period. Empty if all see everything
            or all have a window.
        objective: objective of `kerora pretrain`, ``mlm`` or ``clm``; empty if it does not support this kind. With
            ``mlm`` the embeddings must be as wide as the layers, and tokens must show where a word starts.
        fresh: whether `kerora pretrain` can also make a new model with random weights and its own vocabulary.
    """

    kind: str
    title: str
    backbone: str
    tokenizer: str
    model_type: str
    prefix: str
    segments: bool
    arguments: Mapping[str, tuple[str, Any]]
    layers: tuple[LayerPair, ...]
    head: Head
    required: Mapping[str, tuple[Any, tuple[Any, ...]]] = field(default_factory=dict)
    activation: tuple[str, str] = ("hidden_act", "gelu")
    norm_epsilon: tuple[str, float] = ("layer_norm_eps", 1e-12)
    hub: bool = False
    more_types: tuple[str, ...] = ()
    class_stem: str = ""
    rope: Rope = field(default_factory=Rope)
    rounds_weights: bool = False
    needs_tensorflow: bool = False
    decoding: BlockNames | None = None
    plain_heads: bool = False
    window_pattern: tuple[bool, ...] = ()
    objective: str = ""
    fresh: bool = False

    @property
    def is_decoder(self) -> bool:
        """Whether each token sees only the tokens before it, so that the model can continue a text."""
        return self.head.last_token


def _arguments(**changes: tuple[str, Any] | None) -> dict[str, tuple[str, Any]]:
    """Return the arguments of BERT, with `changes`: other or new values, or None to leave one out."""
    arguments: dict[str, tuple[str, Any] | None] = {
        "vocabulary_size": ("vocab_size", 30522),
        "num_layers": ("num_hidden_layers", 12),
        "num_heads": ("num_attention_heads", 12),
        "hidden_dim": ("hidden_size", 768),
        "intermediate_dim": ("intermediate_size", 3072),
        "max_sequence_length": ("max_position_embeddings", 512),
        **changes,
    }
    return {name: source for name, source in arguments.items() if source is not None}


# The classifiers of decoders in transformers have one layer, `score`, without bias.
DECODER_HEAD = Head("", "", "score", last_token=True)
# The encoders of KerasHub have only absolute positions and no cross attention.
_ENCODER_ONLY = {
    "position_embedding_type": ("absolute", ("absolute", None)),
    "is_decoder": (False, (False,)),
    "add_cross_attention": (False, (False,)),
}
_SEGMENTS = {"num_segments": ("type_vocab_size", 2)}
_ROBERTA: dict[str, Any] = {
    "prefix": "roberta",
    "segments": False,
    "layers": hf_names.ROBERTA,
    "head": Head("tanh", "classifier.dense", "classifier.out_proj", dropout_first=True),
    "required": _ENCODER_ONLY,
}


def _decoder(
    kind: str,
    title: str,
    name: str,
    model_type: str,
    layers: tuple[LayerPair, ...] = hf_names.LLAMA,
    **quirks: Any,
) -> Architecture:
    """Describe a decoder that KerasHub converts. An empty `model_type` means that only Keras presets can be read."""
    return Architecture(
        kind=kind,
        title=title,
        backbone=f"{name}Backbone",
        tokenizer=f"{name}Tokenizer",
        model_type=model_type,
        prefix="model",
        segments=False,
        # The converter of KerasHub reads the sizes from the config.
        arguments={},
        layers=layers,
        head=DECODER_HEAD,
        norm_epsilon=("rms_norm_eps", 1e-6),
        hub=True,
        **quirks,
    )


ARCHITECTURES: dict[str, Architecture] = {
    architecture.kind: architecture
    for architecture in (
        Architecture(
            kind="distil_bert",
            title="DistilBERT",
            backbone="DistilBertBackbone",
            tokenizer="DistilBertTokenizer",
            model_type="distilbert",
            prefix="distilbert",
            segments=False,
            arguments=_arguments(
                num_layers=("n_layers", 6),
                num_heads=("n_heads", 12),
                hidden_dim=("dim", 768),
                intermediate_dim=("hidden_dim", 3072),
            ),
            layers=hf_names.DISTIL_BERT,
            head=Head("relu", "pre_classifier"),
            activation=("activation", "gelu"),
            # transformers has this epsilon in its code, not in the config.
            norm_epsilon=("", 1e-12),
            class_stem="DistilBert",
            objective="mlm",
            fresh=True,
        ),
        Architecture(
            kind="bert",
            title="BERT",
            backbone="BertBackbone",
            tokenizer="BertTokenizer",
            model_type="bert",
            prefix="bert",
            segments=True,
            arguments=_arguments(**_SEGMENTS),
            layers=hf_names.BERT,
            # transformers classifies the output of the pooler, which belongs to the backbone.
            head=Head("tanh", "bert.pooler.dense", from_pooler=True),
            required=_ENCODER_ONLY,
            class_stem="Bert",
            objective="mlm",
            fresh=True,
        ),
        Architecture(
            kind="roberta",
            title="RoBERTa",
            backbone="RobertaBackbone",
            tokenizer="RobertaTokenizer",
            model_type="roberta",
            arguments=_arguments(vocabulary_size=("vocab_size", 50265)),
            class_stem="Roberta",
            objective="mlm",
            **_ROBERTA,
        ),
        Architecture(
            kind="xlm_roberta",
            title="XLM-RoBERTa",
            backbone="XLMRobertaBackbone",
            tokenizer="XLMRobertaTokenizer",
            model_type="xlm-roberta",
            arguments=_arguments(),
            class_stem="XLMRoberta",
            **_ROBERTA,
        ),
        Architecture(
            kind="deberta_v3",
            title="DeBERTa-v3",
            backbone="DebertaV3Backbone",
            tokenizer="DebertaV3Tokenizer",
            model_type="deberta-v2",
            prefix="deberta",
            segments=False,
            arguments=_arguments(
                vocabulary_size=("vocab_size", 128100),
                num_layers=("num_hidden_layers", 24),
                num_heads=("num_attention_heads", 24),
                hidden_dim=("hidden_size", 1536),
                intermediate_dim=("intermediate_size", 6144),
                bucket_size=("position_buckets", -1),
            ),
            layers=hf_names.DEBERTA_V3,
            head=Head("gelu", "pooler.dense", dropout_first=True),
            required={
                # DeBERTa-v2 has the same model_type, but also a convolution that KerasHub does not have.
                "relative_attention": (False, (True,)),
                "position_biased_input": (True, (False,)),
                "pos_att_type": (None, (["c2p", "p2c"], ["p2c", "c2p"], "c2p|p2c", "p2c|c2p")),
                "share_att_key": (False, (True,)),
                "norm_rel_ebd": ("none", ("layer_norm",)),
                "type_vocab_size": (0, (0,)),
                "conv_kernel_size": (0, (0,)),
                "pooler_hidden_act": ("gelu", ("gelu",)),
            },
            norm_epsilon=("layer_norm_eps", 1e-7),
            class_stem="DebertaV2",
        ),
        Architecture(
            kind="albert",
            title="ALBERT",
            backbone="AlbertBackbone",
            tokenizer="AlbertTokenizer",
            model_type="albert",
            prefix="albert",
            segments=True,
            arguments=_arguments(
                vocabulary_size=("vocab_size", 30000),
                num_heads=("num_attention_heads", 64),
                embedding_dim=("embedding_size", 128),
                hidden_dim=("hidden_size", 4096),
                intermediate_dim=("intermediate_size", 16384),
                num_groups=("num_hidden_groups", 1),
                num_inner_repetitions=("inner_group_num", 1),
                **_SEGMENTS,
            ),
            layers=hf_names.ALBERT,
            head=Head("tanh", "albert.pooler", from_pooler=True),
            required={"position_embedding_type": ("absolute", ("absolute", None))},
            activation=("hidden_act", "gelu_new"),
            class_stem="Albert",
        ),
        Architecture(
            kind="electra",
            title="ELECTRA",
            backbone="ElectraBackbone",
            tokenizer="ElectraTokenizer",
            model_type="electra",
            prefix="electra",
            segments=True,
            arguments=_arguments(
                # Only the backbone of ELECTRA has an argument `vocab_size`.
                vocabulary_size=None,
                vocab_size=("vocab_size", 30522),
                num_heads=("num_attention_heads", 4),
                hidden_dim=("hidden_size", 256),
                embedding_dim=("embedding_size", 128),
                intermediate_dim=("intermediate_size", 1024),
                **_SEGMENTS,
            ),
            layers=hf_names.ELECTRA,
            head=Head("gelu", "classifier.dense", "classifier.out_proj", dropout_first=True),
            required=_ENCODER_ONLY,
            class_stem="Electra",
        ),
        Architecture(
            kind="gpt2",
            title="GPT-2",
            backbone="GPT2Backbone",
            tokenizer="GPT2Tokenizer",
            model_type="gpt2",
            prefix="transformer",
            segments=False,
            arguments=_arguments(
                vocabulary_size=("vocab_size", 50257),
                num_layers=("n_layer", 12),
                num_heads=("n_head", 12),
                hidden_dim=("n_embd", 768),
                intermediate_dim=("n_inner", None),
                max_sequence_length=("n_positions", 1024),
            ),
            layers=hf_names.GPT2,
            head=DECODER_HEAD,
            required={
                "add_cross_attention": (False, (False,)),
                "scale_attn_weights": (True, (True,)),
                "scale_attn_by_inverse_layer_idx": (False, (False,)),
                "tie_word_embeddings": (True, (True,)),
            },
            activation=("activation_function", "gelu_new"),
            norm_epsilon=("layer_norm_epsilon", 1e-5),
            class_stem="GPT2",
            decoding=block_names.GPT2,
            objective="clm",
            fresh=True,
        ),
        # KerasHub converts models of the type llama to its Llama3Backbone. Its LlamaBackbone has no converter.
        _decoder("llama", "Llama 2", "Llama", "", decoding=block_names.LLAMA),
        _decoder(
            "llama3",
            "Llama",
            "Llama3",
            "llama",
            decoding=block_names.LLAMA,
            plain_heads=True,
            required=needs.LLAMA,
            rope=Rope(scaling={"default": {}, "llama3": needs.LLAMA3_SCALING}),
        ),
        _decoder(
            "qwen",
            "Qwen 2",
            "Qwen",
            "qwen2",
            decoding=block_names.LLAMA,
            plain_heads=True,
            required=needs.QWEN,
        ),
        _decoder(
            "qwen3",
            "Qwen 3",
            "Qwen3",
            "qwen3",
            decoding=block_names.LLAMA,
            required=needs.QWEN3,
        ),
        _decoder(
            "gemma",
            "Gemma",
            "Gemma",
            "gemma",
            hf_names.GEMMA,
            more_types=("gemma2",),
            decoding=block_names.GEMMA,
            required=needs.GEMMA,
            window_pattern=(True, False),
            # The attention layer of Gemma has this wavelength in its code.
            rope=Rope(wavelengths={"": 10_000.0}),
        ),
        _decoder(
            "gemma3",
            "Gemma 3",
            "Gemma3",
            "gemma3_text",
            hf_names.GEMMA,
            decoding=block_names.GEMMA,
            required=needs.GEMMA3,
            window_pattern=(True, True, True, True, True, False),
            rope=Rope(
                scaling={"default": {}, "linear": {}},
                wavelengths={"full_attention": 1_000_000.0, "sliding_attention": 10_000.0},
                by_layer=True,
            ),
            needs_tensorflow=True,
        ),
        _decoder(
            "mistral",
            "Mistral",
            "Mistral",
            "mistral",
            hf_names.MISTRAL,
            decoding=block_names.LLAMA,
            required=needs.MISTRAL,
            rounds_weights=True,
        ),
        _decoder("phi3", "Phi-3", "Phi3", "", decoding=block_names.PHI3),
        _decoder(
            "smollm3",
            "SmolLM 3",
            "SmolLM3",
            "smollm3",
            hf_names.SMOLLM3,
            decoding=block_names.SMOLLM3,
            plain_heads=True,
            required=needs.SMOLLM3,
        ),
    )
}
"""The supported architectures by kind."""


def supported_titles() -> str:
    """Return the supported architectures as a phrase for messages."""
    return ", ".join(architecture.title for architecture in ARCHITECTURES.values())


def trained_by(objective: str) -> list[Architecture]:
    """Return the architectures that `kerora pretrain` can train further with an objective, ``mlm`` or ``clm``."""
    return [architecture for architecture in ARCHITECTURES.values() if architecture.objective == objective]


def fresh_architecture(objective: str, kind: str) -> Architecture:
    """Return the architecture of a new model of `kerora pretrain`.

    Args:
        objective: ``mlm`` or ``clm``. There is only one architecture for ``clm``.
        kind: the requested kind. It is ignored if there is no choice.
    """
    # With one architecture for the objective, the default of the setting may name another one.
    fresh = [architecture for architecture in trained_by(objective) if architecture.fresh]
    return fresh[0] if len(fresh) == 1 else ARCHITECTURES[kind]
