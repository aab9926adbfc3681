"""Hides tokens from a classifier while it trains, so that it does not lean on single words."""

from collections.abc import Mapping
from typing import Any

import torch

from kerora.models.tokenizer import TextTokenizer


class TokenMasking:
    """Puts the mask token in the place of tokens drawn at random, anew for each batch.

    Word dropout (Iyyer et al. 2015, aclanthology.org/P15-1162) with the token that the encoder knows from its
    pre-training. Special tokens and padding stay. Draws from torch's global random state.

    Args:
        share: share of the tokens that are hidden, 0 to 1.
        tokenizer: knows the mask token and the special ones.
    """

    def __init__(self, share: float, tokenizer: TextTokenizer) -> None:
        assert tokenizer.mask_id is not None
        self.share = share
        self._mask_id = tokenizer.mask_id
        self._kept = torch.from_numpy(tokenizer.special)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with tokens hidden; ``token_ids`` is int32 of shape (batch, length)."""
        ids = torch.as_tensor(inputs["token_ids"])
        self._kept = self._kept.to(ids.device)
        hidden = (torch.rand(ids.shape, device=ids.device) < self.share) & ~self._kept[ids.long()]
        return {**inputs, "token_ids": ids.masked_fill(hidden, self._mask_id)}
