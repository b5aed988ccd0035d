"""The int8 linear layer: exact per row, close to the float layer, safe at the edges."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adapterhub.base import Int8Linear

IN, OUT = 48, 40


@pytest.fixture(scope="module")
def layer() -> Int8Linear:
    torch.manual_seed(0)
    return Int8Linear.from_linear(nn.Linear(IN, OUT))


def row(kind: str) -> torch.Tensor:
    torch.manual_seed(1)
    values = {"plain": torch.randn(IN), "zeros": torch.zeros(IN), "huge": torch.randn(IN) * 1e30}
    return values[kind] if kind != "tiny" else torch.full((IN,), 1e-44)


@pytest.mark.parametrize("kind", ["plain", "zeros", "huge", "tiny"])
def test_a_row_is_equal_to_the_bit_in_every_batch(layer: Int8Linear, kind: str) -> None:
    x = row(kind)
    alone = layer(x.unsqueeze(0))[0]
    for batch in range(1, 257):
        torch.manual_seed(batch)
        rows = torch.randn(batch, IN) * 10.0 ** torch.randint(-30, 30, (batch, 1))
        rows[torch.rand(batch) < 0.1] = 0
        place = batch * 7 // 11
        rows[place] = x
        assert torch.equal(layer(rows)[place], alone), f"batch of {batch}"


def test_neighbours_that_are_not_finite_stay_alone(layer: Int8Linear) -> None:
    x = torch.stack([row("plain"), torch.full((IN,), torch.nan), torch.full((IN,), torch.inf)])
    y = layer(x)
    assert torch.equal(y[0], layer(x[:1])[0])
    assert not y[1:].isfinite().any()


def test_a_row_of_zeros_gives_the_bias(layer: Int8Linear) -> None:
    assert layer.bias is not None
    assert torch.equal(layer(torch.zeros(2, IN)), layer.bias.expand(2, OUT))


def test_sums_are_exact_at_the_largest_products() -> None:
    # Some CPUs' int8 instructions saturate in 16 bits; these rows would show it.
    layer = Int8Linear(torch.ones(4, 4096), None)
    assert torch.equal(layer.weight_q, torch.full((4, 4096), 127, dtype=torch.int8))
    y = layer(torch.tensor([[127.0], [-127.0]]).expand(2, 4096))
    assert torch.allclose(y, torch.tensor([[127.0], [-127.0]]).expand(2, 4) * 4096, rtol=1e-6)


def test_it_follows_its_equation(layer: Int8Linear) -> None:
    torch.manual_seed(2)
    x = torch.randn(5, IN)
    scale = x.abs().amax(-1, keepdim=True) / 127
    rounded = (x / scale).round() * scale
    assert torch.allclose(layer(x), nn.functional.linear(rounded, layer.dequantize(), layer.bias), atol=1e-5)


def test_its_weight_is_within_half_a_step() -> None:
    torch.manual_seed(3)
    weight = torch.randn(OUT, IN)
    step = weight.abs().amax(-1, keepdim=True) / 127
    assert ((Int8Linear(weight, None).dequantize() - weight).abs() <= step * 0.5001).all()


def test_leading_dimensions_and_dtype_are_kept(layer: Int8Linear) -> None:
    x = torch.randn(2, 3, IN)
    assert torch.equal(layer(x)[1], layer(x[1]))
    assert layer(x[0, 0]).shape == (OUT,)
    assert layer(x[:0]).shape == (0, 3, OUT)
    assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_conv1d_is_a_linear_with_its_weight_transposed() -> None:
    torch.manual_seed(4)
    conv = Conv1D(OUT, IN)  # type: ignore[no-untyped-call]
    nn.init.normal_(conv.bias)
    layer = Int8Linear.from_conv1d(conv)
    x = torch.randn(6, IN)
    assert (layer.in_features, layer.out_features) == (IN, OUT)
    assert torch.allclose(layer(x), conv(x), atol=0.01)


def test_a_backward_through_it_is_refused(layer: Int8Linear) -> None:
    with pytest.raises(AssertionError, match="inference"):
        layer(torch.randn(1, IN, requires_grad=True))
