"""The audit of `kerora data show`, with lengths in words or in tokens."""

import dataclasses

from kerora.data.audit import Audit, audit, audit_tokens
from kerora.data.rows import Dataset


def measured_audit(dataset: Dataset, preset: str | None, max_length: int) -> Audit:
    """Audit rows for `kerora data show`, with exact lengths.

    Args:
        dataset: the rows.
        preset: model whose tokenizer measures the lengths. None counts words.
        max_length: the longest input.
    """
    if preset is None:
        return audit(dataset, None, max_length)
    # here, because it loads torch and Keras, which a count of words does not need
    from kerora.models.presets import find_preset

    tokenizer = find_preset(preset).load_tokenizer()
    result = audit_tokens(dataset, tokenizer, max_length)
    # here all lengths are exact, because the table shows them
    exact = audit(dataset, lambda rows: tokenizer.lengths(rows.texts, rows.pairs), max_length)
    # only `audit_tokens` counts the unknown tokens
    splits = {
        split: dataclasses.replace(part, unknown=result.splits[split].unknown) for split, part in exact.splits.items()
    }
    return dataclasses.replace(exact, splits=splits)
