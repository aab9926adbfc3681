"""Checks that every task model makes before it loads weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerora.errors import ConfigError, NotFiniteError, PresetError
from kerora.models.presets import Preset
from kerora.models.tokenizer import TextTokenizer

DTYPES = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
SHORTEST = 8
"""Smallest `max_length`: room for the special tokens of a pair and a few tokens of text."""


def check_sizes(dtype: str, max_length: int) -> None:
    """Check the number type and the longest row of a model.

    Raises:
        ConfigError: the type is unknown, or the length is too small.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}. Received: {dtype!r}")
    if max_length < SHORTEST:
        raise ConfigError(f"max_length must be {SHORTEST} or more. Received: {max_length}")


def check_outputs(values: np.ndarray) -> None:
    """Check that the outputs of a model are numbers. Minus infinity is one: the logit of a class that is left out.

    Args:
        values: logits or losses, of any shape.

    Raises:
        NotFiniteError: a value is not a number, or plus infinity.
    """
    if np.isnan(values).any() or np.isposinf(values).any():
        raise NotFiniteError(
            "The outputs of the model are infinite or not a number. Its weights are not sound, or --precision has "
            "too few digits for it. Train again with a lower --learning-rate, or with --precision float32."
        )


def check_vocabulary(preset: Preset, backbone: Any, tokenizer: TextTokenizer) -> None:
    """Check that the model has an embedding for each token of the tokenizer.

    Raises:
        PresetError: an embedding is missing.
    """
    rows, tokens = backbone.token_embedding.input_dim, tokenizer.vocabulary_size
    # More embeddings than tokens are usual: many models round the number up.
    if tokens <= rows:
        return
    added = ", ".join(map(repr, tokenizer.pieces[rows:][:5])) + (", ..." if tokens > rows + 5 else "")
    remedy = (
        "If they were added to the tokenizer, give the model rows for them in transformers: "
        "model.resize_token_embeddings(len(tokenizer)), then save both again."
        if preset.source == "huggingface"
        else "Save backbone and tokenizer of the same model again."
    )
    raise PresetError(
        f"{preset.directory}: the tokenizer has {tokens:,} tokens, but the model has embeddings for {rows:,}. Without "
        f"one are {added}. {remedy} If not, the files belong to different models."
    )


def checked_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    """Return the names of classes. A number gives the names "0", "1", ...

    Raises:
        ConfigError: there are fewer than two, or a name occurs twice.
    """
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    # A text would count as a sequence of one-letter names.
    if isinstance(classes, str) or len(names) < 2:
        raise ConfigError(f"A classifier needs at least two classes. Received: {classes!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Class names must differ. Received twice: {', '.join(map(repr, twice))}")
    return names
