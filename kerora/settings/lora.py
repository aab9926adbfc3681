"""The settings of low-rank adaptation and its variants. They are a group of `FitConfig`."""

from dataclasses import dataclass

from kerora.settings.base import Settings, at_least, between, more_than, setting

METHODS = ("lora", "full", "head")
BIASES = ("none", "lora_only", "all")
INITS = ("default", "pissa")
ADAPTER_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class LoraConfig(Settings):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int = setting(8, "Rank of the LoRA update.", check=at_least(1))
    alpha: float = setting(
        16.0, "Scale of the LoRA update: the update is multiplied by alpha / rank.", check=more_than(0)
    )
    dropout: float = setting(0.05, "Dropout rate on the input of the LoRA path.", check=between(0, 1))
    # the pair that is best for a fixed number of weights in Hu et al. 2021 (table 5)
    targets: tuple[str, ...] = setting(
        ("query", "value"),
        "Layers to adapt, separated by commas: layer names, path patterns with *, or 'all-linear'.",
    )
    method: str = setting(
        "lora",
        "Which weights are trained. 'lora': the LoRA updates and the head. 'full': all weights. 'head': only the head.",
        choices=METHODS,
    )
    from_adapter: str | None = setting(
        None,
        "Start from this adapter: a run, an adapter folder of Kerora or PEFT, or hf://organisation/name[@revision]. "
        "Its rank, targets and variant apply.",
    )
    layers: str | None = setting(
        None, "Adapt only these blocks: last:K, first:K, or numbers and ranges from 0, such as 0,4-7. Default: all."
    )
    # texts and not a mapping: a default must be immutable, and the order of the patterns counts
    rank_pattern: tuple[str, ...] = setting(
        (),
        "Rank of the layers that match a pattern, such as query=16. Separate patterns by commas; the first match wins.",
    )
    alpha_pattern: tuple[str, ...] = setting((), "Alpha of the layers that match a pattern, such as query=32.")
    bias: str = setting(
        "none",
        "Biases to train. 'none': no bias. 'lora_only': those of the adapted layers. 'all': all biases.",
        choices=BIASES,
    )
    modules_to_save: tuple[str, ...] = setting(
        (), "Other layers to train in full, separated by commas, such as transformer_layer_5 or feedforward_layer_norm."
    )
    use_rslora: bool = setting(
        False, "Scale the update by alpha / sqrt(rank) instead of alpha / rank (rsLoRA). High ranks then learn as fast."
    )
    use_dora: bool = setting(
        False, "Also learn the magnitude of each output (DoRA). A training step takes about a third longer."
    )
    init: str = setting(
        "default",
        "Initial value of the update. 'default': zero. 'pissa': from the largest singular vectors of the kernel. PiSSA "
        "adapters are saved with twice the rank.",
        choices=INITS,
    )
    # 1 is plain AdamW
    loraplus_lr_ratio: float = setting(
        1.0,
        "Learning rate of B divided by the learning rate of A (LoRA+). The LoRA+ paper recommends 16.",
        check=at_least(1),
    )
    adapter_dtype: str = setting("float32", "Number type in the adapter file.", choices=ADAPTER_DTYPES)
