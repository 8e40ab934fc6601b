"""Weights of 8 and of 4 bits, and what is multiplied with them in 8 bits; as in `native.cpp`, for
torch.

    int8    blocks of 32 columns, each with a float16 scale: GGUF's q8_0
    int4    the same with codes from -8 to 7: GGUF's q4_0; but embedding and output layer are int8

A router, which is small and decides by near ties, is not rounded; nor are layers with an adapter.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import QuantizeName
from model.experts import Experts, grouped_product
from model.transformer import Etude

BLOCK = 32
NOTHING = 1e-30
"""Smaller ones are rounded to 0: their reciprocals need not be finite."""
ROUTER = ".mlp.gate.weight"
WHOLE = ("model.embed_tokens.weight", "lm_head.weight")
"""Matrices that int4 keeps in 8 bits: the likelihood of every token hangs on them directly."""


def bits_of(name: str, kind: QuantizeName) -> int | None:
    """How many bits a weight of a matrix takes; None: it is not rounded."""
    if kind == "none" or name.endswith(ROUTER):
        return None
    return 8 if kind == "int8" or name in WHOLE else 4


@torch.no_grad()
def quantize_model(model: Etude, kind: QuantizeName) -> None:
    """Rounds every matrix of a model in place, and from now on what it is multiplied with. So does
    the native forward pass by itself.

    A tied embedding is rounded as the output layer that it is too.
    """
    for name, parameter in model.named_parameters():
        bits = bits_of(name, kind)
        if parameter.dim() >= 2 and bits:
            codes, scales = quantize_blocks(parameter.float(), bits)
            weight = (codes * scales.float()[..., None]).flatten(-2)  # (rows, columns and padding)
            parameter.copy_(weight[..., : parameter.shape[-1]])
    if model.rounded != "none":
        return
    model.rounded = kind
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(round_input)
        if isinstance(module, Experts):
            module.forward = partial(rounded_experts, module)  # type: ignore[method-assign]


def quantize_blocks(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A matrix in blocks, rounded as ggml does.

    Args:
        weight: (..., columns) float32; several matrices at once are rounded each for itself.
        bits: 8 or 4.

    Returns:
        Codes (..., blocks, 32) int8 and float16 scales (..., blocks): a weight is about code *
        scale.
    """
    blocks = in_blocks(weight)
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))  # (..., blocks, 1), signed
    scales = largest.abs() / 127 if bits == 8 else largest / -8
    inverse = torch.where(scales.abs() > NOTHING, 1 / scales, 0)
    if bits == 8:
        size = (blocks * inverse).abs()
        whole = size.floor()
        codes = (whole + (2 * (size - whole)).floor()) * blocks.sign()  # ties away from zero
    else:
        codes = (blocks.double() * inverse + 8.5).float().floor().clamp(max=15) - 8
    return codes.to(torch.int8), scales.clamp(-65504, 65504).half()[..., 0]


def round_activations(x: Tensor) -> Tensor:
    """x (..., columns), each block of 32 as codes from -127 to 127 times a float32 scale."""
    blocks = in_blocks(x)
    largest = blocks.abs().amax(-1, keepdim=True)
    inverse = torch.where(largest > NOTHING, 127 / largest, 0)
    rounded = (blocks * inverse).round() * (largest / 127)
    return rounded.flatten(-2)[..., : x.shape[-1]].to(x.dtype)


def in_blocks(x: Tensor) -> Tensor:
    """(..., columns) -> (..., blocks, 32), zeros behind the last column."""
    padded = F.pad(x, (0, -x.shape[-1] % BLOCK))
    return padded.view(*x.shape[:-1], -1, BLOCK)


def round_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook of a linear layer."""
    return (round_activations(args[0]), *args[1:])


def rounded_experts(experts: Experts, rows: Tensor, ends: Tensor) -> Tensor:
    """`Experts.forward` with what is multiplied rounded."""
    rows = round_activations(rows)
    gate = F.silu(grouped_product(rows, experts.gate_proj, ends))
    hidden = gate * grouped_product(rows, experts.up_proj, ends)
    return grouped_product(round_activations(hidden), experts.down_proj, ends)
