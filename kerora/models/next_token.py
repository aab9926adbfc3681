"""The loss of a language model: cross entropy of the next tokens, from final hidden states and output embeddings."""

import torch

from kerora.fast import next_token
from kerora.fast.switch import is_plain


def next_token_loss(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the weighted sum of cross entropies in nats, a float32 scalar, differentiable in `hidden` and `kernel`.

    Args:
        hidden: final hidden states, (..., width).
        kernel: output embeddings, (tokens, width), or (width, tokens) if `transposed`; used in the dtype of `hidden`.
        targets: the correct token at each position, int, (...).
        weights: weight of each position, float, (...). Nothing is computed for positions of weight 0.
        transposed: whether the kernel is (width, tokens). Default: False.
        soft_cap: logits become ``cap * tanh(logits / cap)``, as in Gemma 2. Default: None, no cap.
    """
    if not is_plain():
        return next_token.next_token_loss(hidden, kernel, targets, weights, transposed=transposed, soft_cap=soft_cap)
    counted = weights > 0
    logits = logits_of(hidden[counted], kernel, transposed=transposed, soft_cap=soft_cap)
    losses = torch.nn.functional.cross_entropy(logits, targets[counted].long(), reduction="none")
    return (losses * weights[counted].float()).sum()


def token_losses(
    hidden: torch.Tensor,
    kernel: torch.Tensor,
    targets: torch.Tensor,
    *,
    transposed: bool = False,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Return the cross entropy at each position in nats, float32 (positions,), without a gradient.

    Args:
        hidden: final hidden states, (positions, width).
        kernel: see `next_token_loss`.
        targets: the correct tokens, int (positions,).
        transposed: see `next_token_loss`.
        soft_cap: see `next_token_loss`.
    """
    if not is_plain():
        return next_token.token_losses(hidden, kernel, targets, transposed=transposed, soft_cap=soft_cap)
    with torch.no_grad():
        logits = logits_of(hidden, kernel, transposed=transposed, soft_cap=soft_cap)
        return torch.nn.functional.cross_entropy(logits, targets.long(), reduction="none")


def logits_of(
    hidden: torch.Tensor, kernel: torch.Tensor, *, transposed: bool = False, soft_cap: float | None = None
) -> torch.Tensor:
    """Return the logits of final hidden states (..., width), float32 (..., tokens); see `next_token_loss`."""
    # The product has the dtype of the model. A loss in bfloat16 would have only two or three digits.
    kernel = kernel.to(hidden.dtype)
    logits = (hidden @ (kernel if transposed else kernel.T)).float()
    return logits if soft_cap is None else soft_cap * torch.tanh(logits / soft_cap)
