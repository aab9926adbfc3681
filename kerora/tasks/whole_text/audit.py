"""The audit of `kerora data show`, for the tasks that read whole texts."""

import dataclasses
from typing import Any

from kerora.data.audit import Audit, audit, audit_tokens
from kerora.data.rows import Dataset
from kerora.settings.fit import ModelConfig


def measured(dataset: Dataset[Any], preset: str | None, config: ModelConfig) -> Audit:
    """Audit a data set, with exact lengths.

    Args:
        dataset: the rows.
        preset: model whose tokenizer measures the lengths. None counts words.
        config: the longest row, and how longer texts are read.

    Raises:
        PresetError: the preset is not found.
        ConfigError: the windows of long texts would not move.
    """
    if preset is None:
        result = audit(dataset, None, config.max_length)
        kept = {split: dataclasses.replace(part, lost=0.0) for split, part in result.splits.items()}
        return dataclasses.replace(result, splits=kept) if config.long == "windows" else result
    # here, because it loads torch and Keras, which a count of words does not need
    from kerora.models.long_texts import row_tokenizer
    from kerora.models.presets import find_preset

    tokenizer = row_tokenizer(find_preset(preset).load_tokenizer(), config)
    # the table shows the lengths, so all of them are measured
    return audit_tokens(dataset, tokenizer, config.max_length, None)
