"""Products that share an input against plain autograd in float64, and which layers they are for."""

from types import SimpleNamespace
from typing import Any

import keras
import pytest
import torch

from kerora.fast import products
from kerora.fast.products import Projection, frozen_products, projection_of, share_dropout
from kerora.lora.inject import enable_lora, merge_lora

SIZES = (5, 6, 5)


def update(outputs: int, generator: torch.Generator, dropout: float = 0.0) -> Any:
    a, b = (torch.randn(shape, generator=generator).double() for shape in ((4, 2), (2, outputs)))
    variables = [SimpleNamespace(value=value.requires_grad_()) for value in (a, b)]
    return SimpleNamespace(a=variables[0], b=variables[1], scale=1.7, dropout=dropout)


def projections(dropout: float = 0.0) -> list[Projection]:
    """Three kernels of one input: the second has no update, the third no bias."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number, size in enumerate(SIZES):
        kernel = torch.randn(4, size, generator=generator).double()
        bias = None if number == 2 else torch.randn(size, generator=generator).double()
        carried = None if number == 1 else update(size, generator, dropout)
        found.append(Projection(kernel, bias, carried))
    return found


def expected(rows: torch.Tensor, projection: Projection, kept: torch.Tensor | float, divisor: float) -> torch.Tensor:
    result = rows @ projection.kernel + (0 if projection.bias is None else projection.bias)
    if projection.update is not None:
        a, b = projection.update.a.value, projection.update.b.value
        result = result + projection.update.scale * (rows * kept / divisor) @ a @ b
    return result


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("input_gradient", [True, False])
def test_outputs_and_gradients(dropout: float, input_gradient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(7, 4, generator=torch.Generator().manual_seed(1)).double().requires_grad_(input_gradient)
    kept = torch.rand(7, 4, generator=torch.Generator().manual_seed(2)) > dropout
    monkeypatch.setattr(products, "draw_dropped", lambda values, rate: (~kept, 1 - rate))
    found = projections(dropout)
    outputs = frozen_products(rows, found, training=True)
    wanted = [expected(rows, one, kept if dropout else 1.0, 1 - dropout) for one in found]
    weights = [torch.randn(7, size, generator=torch.Generator().manual_seed(3)).double() for size in SIZES]
    leaves = [one.update.a.value for one in found if one.update] + [one.update.b.value for one in found if one.update]
    leaves += [rows] if input_gradient else []
    sums = [
        torch.stack([(one * weight).sum() for one, weight in zip(side, weights, strict=True)]).sum()
        for side in (outputs, wanted)
    ]
    gradients = [torch.autograd.grad(total, leaves) for total in sums]
    for left, right in zip([*outputs, *gradients[0]], [*wanted, *gradients[1]], strict=True):
        torch.testing.assert_close(left, right, atol=1e-12, rtol=1e-12)


def test_dropout_takes_part_in_training_only() -> None:
    rows, found = torch.ones(200, 4).double(), projections(0.5)
    without = frozen_products(rows, found)[0]
    torch.testing.assert_close(without, expected(rows, found[0], 1.0, 1.0))
    assert not torch.allclose(frozen_products(rows, found, training=True)[0], without)


def model_of(layer: keras.layers.Layer) -> keras.Model:
    inputs = keras.Input((4,))
    return keras.Model(inputs, layer(inputs))


def test_layers_that_only_their_own_call_computes() -> None:
    layer = keras.layers.Dense(4, name="one")
    model = model_of(layer)
    assert projection_of(layer, torch.float32) is None  # its kernel is trained
    enable_lora(model, rank=2, targets=["one"], head=[])
    assert projection_of(layer, torch.float32).update is layer.update
    layer.update.enabled = False
    assert projection_of(layer, torch.float32).update is None
    layer.update.enabled = True
    merge_lora(model)
    merged = projection_of(layer, torch.float32)
    assert merged.update is None and torch.equal(merged.kernel, layer._kernel.value)
    layer.call = layer.call  # as many adapters in one batch replace it
    assert projection_of(layer, torch.float32) is None
    assert projection_of(keras.layers.Embedding(3, 4), torch.float32) is None


@pytest.mark.parametrize("options", [{"use_dora": True}, {"init": "pissa"}, {"bias": "all"}])
def test_variants_are_left_to_the_layer(options: dict[str, Any]) -> None:
    layer = keras.layers.Dense(4, name="one")
    enable_lora(model_of(layer), rank=2, targets=["one"], head=[], **options)
    assert projection_of(layer, torch.float32) is None


def test_dropout_is_shared_only_where_the_rates_agree() -> None:
    one, other = projections(0.1)[0], projections(0.2)[0]
    assert share_dropout([one, projections()[1], one])
    assert not share_dropout([one, other])
