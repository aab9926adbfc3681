"""The settings of low-rank adaptation and its variants; a group of `FitConfig`."""

from dataclasses import dataclass

from kerora.settings.base import Settings, at_least, between, more_than, setting

METHODS = ("lora", "full", "head")
BIASES = ("none", "lora_only", "all")
INITS = ("default", "pissa")
ADAPTER_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class LoraConfig(Settings):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685)."""

    rank: int = setting(8, "Rank of the low-rank update.", check=at_least(1))
    alpha: float = setting(16.0, "Scale of the update: it is multiplied by alpha / rank.", check=more_than(0))
    dropout: float = setting(0.05, "Dropout on the input of the low-rank path.", check=between(0, 1))
    targets: tuple[str, ...] = setting(
        ("query", "value"),
        "Layers to adapt, separated by commas: layer names, path patterns with *, or 'all-linear'.",
    )
    method: str = setting(
        "lora",
        "What is trained: 'lora' the low-rank updates and the head, 'full' every weight, 'head' the head alone.",
        choices=METHODS,
    )
    from_adapter: str | None = setting(
        None,
        "Start from this adapter, a run or an adapter folder of Kerora or PEFT, with its rank, targets and variant.",
    )
    layers: str | None = setting(
        None, "Adapt these blocks only: last:K, first:K, or numbers and ranges from 0 such as 0,4-7; empty means all."
    )
    rank_pattern: tuple[str, ...] = setting(
        (),
        "Rank of the layers that a pattern matches, such as query=16; several separated by commas, the first counts.",
    )
    alpha_pattern: tuple[str, ...] = setting((), "Scale of the layers that a pattern matches, such as query=32.")
    bias: str = setting(
        "none",
        "Biases to train: none, those of the adapted layers ('lora_only'), or all.",
        choices=BIASES,
    )
    modules_to_save: tuple[str, ...] = setting(
        (), "More layers to train in full, separated by commas, such as transformer_layer_5 or feedforward_layer_norm."
    )
    use_rslora: bool = setting(
        False, "Scale by alpha / sqrt(rank) instead of alpha / rank, so that high ranks learn as fast."
    )
    use_dora: bool = setting(
        False, "Also learn the magnitude of each output (DoRA); a training step takes about a third longer."
    )
    init: str = setting(
        "default",
        "Start of the update: zero ('default'), or the kernel's largest singular vectors ('pissa'); "
        "the latter is saved with twice the rank.",
        choices=INITS,
    )
    loraplus_lr_ratio: float = setting(
        1.0, "Learning rate of B as a multiple of A's (LoRA+); its paper advises 16.", check=at_least(1)
    )
    adapter_dtype: str = setting("float32", "Type of the adapter's numbers in its file.", choices=ADAPTER_DTYPES)
