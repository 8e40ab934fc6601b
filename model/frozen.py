"""Linear layers that are not trained, under an adapter, with their weights in 16 or in 8 bits.

    bfloat16    as the weights of most published models are
    int8        codes from -127 to 127 and one scale a row, the largest weight of the row / 127

Products are computed in the format of the input; a weight is unpacked for its product, forward and
again backward, and not kept between. A matrix of 2048 x 8192 then takes 16.8 MB and not 67.1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import WeightsName
from model.transformer import Etude


class FrozenProduct(torch.autograd.Function):
    """x W^T; W takes no gradient, and is unpacked again for that of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: Tensor | None) -> Tensor:
        """x (..., in), weight (out, in), scales (out,) -> (..., out)."""
        ctx.save_for_backward(weight, scales)
        product = F.linear(x, weight.to(x.dtype))
        # The scale of a row is a factor of one output: cheaper behind the product than before.
        return product if scales is None else product * scales.to(product.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """The gradient (..., in) of x."""
        weight, scales = ctx.saved_tensors
        scaled = grad if scales is None else grad * scales.to(grad.dtype)
        return scaled @ weight.to(grad.dtype), None, None


class FrozenLinear(nn.Linear):
    """A linear layer whose weight is kept in fewer bits and not trained."""

    def __init__(self, base: nn.Linear, kind: WeightsName) -> None:
        """Packs the weight of a layer."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.bias = base.bias
        weight, scales = packed(base.weight.detach(), kind)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scales", scales, persistent=False)
        self.scales: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return linear(x, self.weight, self.scales, self.bias)


def packed(weight: Tensor, kind: WeightsName) -> tuple[Tensor, Tensor | None]:
    """A weight (out, in) as it is kept, and of int8 the scales (out,)."""
    if kind != "int8":
        return weight.to(getattr(torch, kind)), None
    scales = weight.float().abs().amax(dim=1).clamp(min=1e-12) / 127  # (out,)
    return (weight / scales[:, None]).round().to(torch.int8), scales


def unpacked(weight: Tensor, scales: Tensor | None) -> Tensor:
    """A weight (out, in) in float32."""
    return weight.float() if scales is None else weight.float() * scales[:, None]


def linear(x: Tensor, weight: Tensor, scales: Tensor | None, bias: Tensor | None) -> Tensor:
    """x (..., in) -> (..., out), by a weight as it is kept."""
    if weight.dtype == torch.float32:
        return F.linear(x, weight, bias)
    product: Tensor = FrozenProduct.apply(x, weight, scales)  # type: ignore[no-untyped-call]
    return product if bias is None else product + bias


def freeze_weights(model: Etude, kind: WeightsName) -> None:
    """Keeps the weights of the linear layers of all blocks in a format, one after the other; what
    else a model has (embedding, output layer, norms, experts) is in float32."""
    model.requires_grad_(False)
    for name, _ in list(model.named_parameters()):
        freeze_weight(model, name, kind)


def freeze_weight(model: Etude, name: str, kind: WeightsName) -> None:
    """`freeze_weights` for the weight of a name; what it was before is let go of."""
    place, _, own = name.rpartition(".")
    layer, parameter = model.get_submodule(place), model.get_parameter(name)
    parameter.requires_grad_(False)
    in_block = isinstance(layer, nn.Linear) and own == "weight" and ".layers." in name
    if kind != "float32" and in_block:
        parent, _, last = place.rpartition(".")
        setattr(model.get_submodule(parent), last, FrozenLinear(layer, kind))  # type: ignore[arg-type]
    else:
        parameter.data = parameter.data.float()


def saved_bytes(model: Etude) -> int:
    """By how much less memory a model's weights take than in float32."""
    return sum((4 - p.element_size()) * p.numel() for p in model.parameters())
