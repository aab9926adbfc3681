"""Computes bfloat16 products at the speed of float32 on a CPU without bfloat16 instructions."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

IN_PLACE = {torch.ops.aten.addmm_.default, torch.ops.aten.baddbmm_.default}
WITH_TARGET = {
    torch.ops.aten.mm.out: torch.ops.aten.mm.default,
    torch.ops.aten.addmm.out: torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.out: torch.ops.aten.bmm.default,
}
PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    *IN_PLACE,
    *WITH_TARGET,
}


class FastBfloat16(TorchDispatchMode):
    """Compute products of bfloat16 matrices in float32 and round the result once.

    Hardware with bfloat16 instructions computes the same. The fallback of torch does too, but is much slower. Use this
    only to measure quality, because the speed has no meaning.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function not in PRODUCTS or not any(_is_bfloat16(value) for value in args):
            return function(*args, **kwargs)
        wide = [value.float() if _is_bfloat16(value) else value for value in args]
        result = WITH_TARGET.get(function, function)(
            *wide, **{name: value for name, value in kwargs.items() if name != "out"}
        )
        target = args[0] if function in IN_PLACE else kwargs.get("out")
        return result.bfloat16() if target is None else target.copy_(result)


def _is_bfloat16(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16
