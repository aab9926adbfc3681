"""Which arithmetic the hardware has."""

import torch

from kerora.compat import cpu_computes_bfloat16
from kerora.settings.fit import FitConfig


def resolve_precision(setting: str) -> str:
    """Turn ``auto`` into ``bfloat16`` where the hardware computes in it, else ``float32``."""
    if setting != "auto":
        return setting
    return "bfloat16" if _has_bfloat16() else "float32"


def backbone_dtype(config: FitConfig) -> str:
    """Return the Keras dtype policy of a run's backbone: whatever is trained has float32 weights."""
    precision = resolve_precision(config.model.precision)
    lora = config.lora
    trained = lora.method == "full" or lora.bias != "none" or bool(lora.modules_to_save)
    return f"mixed_{precision}" if trained and precision != "float32" and lora.method != "head" else precision


def _has_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # without the instructions (AVX-512 BF16 or AMX), bfloat16 is emulated and slower than float32
    return cpu_computes_bfloat16(torch.cpu)
