"""Chooses the precision from the hardware and the settings."""

import torch

from kerora.compat import cpu_computes_bfloat16
from kerora.settings.fit import FitConfig


def resolve_precision(setting: str) -> str:
    """Replace ``auto`` by ``bfloat16`` if the hardware has instructions for it, else by ``float32``."""
    if setting != "auto":
        return setting
    return "bfloat16" if _has_bfloat16() else "float32"


def backbone_dtype(config: FitConfig) -> str:
    """Return the Keras dtype policy of the backbone of a run. If its weights are trained, they are float32."""
    precision = resolve_precision(config.model.precision)
    lora = config.lora
    trained = lora.method == "full" or lora.bias != "none" or bool(lora.modules_to_save)
    # In bfloat16 weights, small updates would be lost by rounding.
    return f"mixed_{precision}" if trained and precision != "float32" and lora.method != "head" else precision


def _has_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions (AVX-512 BF16 or AMX) torch emulates bfloat16, which is slower than float32.
    return cpu_computes_bfloat16(torch.cpu)
