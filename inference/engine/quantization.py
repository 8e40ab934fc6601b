"""int8 weights: a quarter of the memory traffic, for a loss that can be measured."""

from __future__ import annotations

import torch
from torch import Tensor

from model.transformer import Etude

QuantizedWeights = dict[str, tuple[Tensor, Tensor]]
"""By name of a matrix (rows, columns): its int8 form, and the scale of each row (rows,) float32."""


@torch.no_grad()
def quantize_model(model: Etude) -> QuantizedWeights:
    """Rounds every matrix of a model to int8 times a scale a row, symmetrically.

    The model itself gets the rounded weights, so that torch and the native forward pass compute the
    same. A tied embedding is rounded as the output layer that it is too.
    """
    quantized = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 2:
            continue
        codes, scales = quantize_rows(parameter)
        quantized[name] = (codes, scales)
        parameter.copy_(codes * scales[:, None])
    return quantized


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as int8 and one scale a row (rows,): weight is about int8 *
    scale."""
    scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
    return (weight / scales[:, None]).round().to(torch.int8), scales
