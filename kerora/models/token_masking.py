"""Masks tokens during the training of a classifier, so that it does not depend on single words."""

from collections.abc import Mapping
from typing import Any

import torch

from kerora.models.tokenizer import TextTokenizer


class TokenMasking:
    """Replaces a random sample of the tokens of each batch by the mask token.

    This is word dropout (Iyyer et al. 2015, aclanthology.org/P15-1162) with the token that the encoder knows from its
    pre-training. Special tokens and padding are not masked. The sample comes from the global random state of torch.

    Args:
        share: fraction of the tokens that is masked, 0 to 1.
        tokenizer: gives the mask token and the special tokens.
    """

    def __init__(self, share: float, tokenizer: TextTokenizer) -> None:
        assert tokenizer.mask_id is not None
        self.share = share
        self._mask_id = tokenizer.mask_id
        self._kept = torch.from_numpy(tokenizer.special)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with masked tokens. ``token_ids`` is int32 of shape (batch, length)."""
        ids = torch.as_tensor(inputs["token_ids"])
        # The device is known only from the first batch.
        self._kept = self._kept.to(ids.device)
        hidden = (torch.rand(ids.shape, device=ids.device) < self.share) & ~self._kept[ids.long()]
        return {**inputs, "token_ids": ids.masked_fill(hidden, self._mask_id)}
