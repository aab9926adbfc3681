"""The default learning rate by width of the model and by what is trained.

It was measured on three data sets with an encoder of width 384 (see docs/defaults.md). LoRA needs about ten times the
learning rate of full fine-tuning.
"""

BASE_WIDTH = 768
BASE_RATES = {"lora": 1e-3, "head": 1e-3, "full": 1e-4}
"""Peak learning rate by method, for a model of width 768. The rate of full fine-tuning is ELECTRA's (Clark et al. 2020,
arXiv:2003.10555, table 6), which uses 3e-4 at width 256."""


def default_learning_rate(width: int, method: str = "lora") -> float:
    """Return the rate of the method x 768 / width. A wider model needs smaller steps."""
    return BASE_RATES[method] * BASE_WIDTH / width
