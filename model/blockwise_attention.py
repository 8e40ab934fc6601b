"""Causal attention as plain matrix products, for compiled training on a CPU.

torch's fused CPU kernel reaches an eighth of the processor's matrix-product speed in bfloat16.
Products over blocks of queries, each with the keys up to its own end, take half the time. What is
kept for the backward pass are the weights before they are divided by their sum, in the format of
the products: one pass over memory forward and one backward (`tool/benchmark.py train`; LOG.md).

For one block, with s the scores, m their row's largest and d_o the gradient of the result o:

    e = exp(s - m)      l = sum of e      o = e v / l
    g = d_o / l         d_v = e^T g       d_s = e (g v^T - sum of (g o))

which is softmax's gradient as FlashAttention has it (arXiv 2205.14135, algorithm 4).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SMALLEST_BLOCK, MOST_BLOCKS = 128, 8
"""Smaller blocks save more of the products above the diagonal; more of them take longer to
compile."""


def blockwise_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, window: int | None = None
) -> Tensor:
    """Causal attention; the products are made in the format of v.

    Args:
        q: (batch, heads, seq, head_dim).
        k: (batch, kv_heads, seq, head_dim).
        v: like k.
        mask: (batch or 1, 1, seq, seq), True where a position (third) may look; None: plain
            causality. Every position may look at something.
        window: no position looks further back, says the mask; so a block of queries takes no keys
            before the window of its first one.
    """
    attended: Tensor = BlockwiseAttention.apply(  # type: ignore[no-untyped-call]
        q.to(v.dtype), k.to(v.dtype), v, mask, window
    )
    return attended


class BlockwiseAttention(torch.autograd.Function):
    """`blockwise_attention` with q, k and v of one format."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, window: int | None
    ) -> Tensor:
        """The result; keeps each block's weights and their sums."""
        kept, parts = [], []
        for begin, first, end in blocks(q.shape[2], window):
            # (batch * kv_heads, groups * block, head_dim) and (batch * kv_heads, keys, head_dim)
            queries, keys = grouped(q[:, :, first:end], k), flat(k[:, :, begin:end])
            # scores: (batch, heads, block, keys), in float32 from here to the weights
            scores = torch.bmm(queries, keys.mT).view(*q.shape[:2], end - first, end - begin)
            scores = scores.float() * q.shape[-1] ** -0.5
            scores = scores.masked_fill(~allowed(mask, begin, first, end, q.device), -math.inf)
            # The sum is taken of the rounded weights: it is what the product divides by, and else
            # the compiler would keep them in float32 to sum them up.
            weights = (scores - scores.amax(dim=-1, keepdim=True)).exp().to(v.dtype)
            total = weights.float().sum(dim=-1, keepdim=True)  # (batch, heads, block, 1)
            weights = grouped(weights, k)  # (batch * kv_heads, groups * block, keys)
            attended = torch.bmm(weights, flat(v[:, :, begin:end]))
            attended = attended.view(*q.shape[:2], end - first, -1)
            parts.append((attended.float() / total).to(v.dtype))
            kept += [weights, total]
        attended = torch.cat(parts, dim=2)  # (batch, heads, seq, head_dim)
        ctx.save_for_backward(q, k, v, attended, *kept)
        ctx.window = window
        return attended

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of q, k and v."""
        q, k, v, attended, *kept = ctx.saved_tensors
        grad_q: list[Tensor] = []
        grad_k: list[Tensor] = []  # of the keys of each block, summed over the blocks after it
        grad_v: list[Tensor] = []
        # (batch, heads, seq, 1): the row sum of weights * their gradient, without the weights
        products = (grad.float() * attended.float()).sum(dim=-1, keepdim=True)
        for place, (begin, first, end) in enumerate(blocks(q.shape[2], ctx.window)):
            weights, total = kept[2 * place : 2 * place + 2]
            block = slice(first, end)
            queries, keys = grouped(q[:, :, block], k), flat(k[:, :, begin:end])
            # g of the formula above: (batch * kv_heads, groups * block, head_dim)
            of_result = grouped((grad[:, :, block].float() / total).to(v.dtype), k)
            # (batch * kv_heads, groups * block, keys) like the weights
            of_weights = torch.bmm(of_result, flat(v[:, :, begin:end]).mT).float()
            of_weights = of_weights - grouped(products[:, :, block] / total, k)
            of_scores = (weights.float() * of_weights * q.shape[-1] ** -0.5).to(v.dtype)
            grad_q.append(torch.bmm(of_scores, keys).view(*q.shape[:2], end - first, -1))
            add_blocks(grad_k, torch.bmm(of_scores.mT, queries), k, begin)
            add_blocks(grad_v, torch.bmm(weights.mT, of_result), k, begin)
        of_q, of_k, of_v = (torch.cat(parts, dim=2) for parts in (grad_q, grad_k, grad_v))
        return of_q, of_k, of_v, None, None


def blocks(seq: int, window: int | None = None) -> list[tuple[int, int, int]]:
    """For each block of queries: the first key that it looks at (the begin of a block), its begin
    and its end."""
    size = max(SMALLEST_BLOCK, -(-seq // MOST_BLOCKS))
    found = []
    for first in range(0, seq, size):
        begin = 0 if window is None else max(0, first - window + 1) // size * size
        found.append((begin, first, min(first + size, seq)))
    return found


def allowed(mask: Tensor | None, begin: int, first: int, end: int, device: torch.device) -> Tensor:
    """Where the queries first to end may look among the keys begin to end."""
    if mask is not None:
        return mask[:, :, first:end, begin:end]
    # int32: with 64 bits the comparison takes twice as long
    positions = torch.arange(end, device=device, dtype=torch.int32)  # (end,)
    return positions[first:end, None] >= positions[None, begin:]  # (block, keys)


def flat(heads: Tensor) -> Tensor:
    """(batch, kv_heads, seq, head_dim) -> (batch * kv_heads, seq, head_dim)."""
    return heads.reshape(-1, *heads.shape[2:])


def grouped(heads: Tensor, k: Tensor) -> Tensor:
    """(batch, heads, block, any) -> (batch * kv_heads, groups * block, any): the queries that share
    keys, one below the other."""
    return heads.reshape(k.shape[0] * k.shape[1], -1, heads.shape[-1])


def add_blocks(sums: list[Tensor], gradient: Tensor, k: Tensor, begin: int) -> None:
    """Adds the gradient of the keys from begin on, (batch * kv_heads, keys, head_dim), to those of
    the blocks before, and appends that of the last block."""
    gradient = gradient.view(*k.shape[:2], -1, k.shape[-1])  # (batch, kv_heads, keys, head_dim)
    at = 0  # of the block, among all keys
    for place, before in enumerate(sums):
        end = at + before.shape[2]
        if at >= begin:
            sums[place] = before + gradient[:, :, at - begin : end - begin]
        at = end
    sums.append(gradient[:, :, at - begin :])
