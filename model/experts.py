"""Experts: feed-forward layers of which each token takes a few, chosen by a router; as in
transformers' Qwen3-MoE (the idea: arXiv 1701.06538).

Tokens are sorted by expert, so that each expert's are a stretch of rows, and every matrix product
is one grouped product over all stretches. How long these are is data: no shape depends on it, so
that nothing waits for a GPU and the compiler sees one graph.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ModelConfig


class Router(nn.Module):
    """Says how well each expert suits a token. (No nn.Linear: adapters leave it alone, as PEFT
    does.)"""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """x (tokens, hidden) -> logits (tokens, experts), in float32 whatever the products are
        in: near ties decide which experts a token goes to."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight)


class Experts(nn.Module):
    """The experts' weights, one matrix below the other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        count, hidden, size = config.num_experts, config.hidden_size, config.expert_size
        self.gate_proj = nn.Parameter(torch.empty(count, size, hidden))
        self.up_proj = nn.Parameter(torch.empty(count, size, hidden))
        self.down_proj = nn.Parameter(torch.empty(count, hidden, size))

    def forward(self, rows: Tensor, ends: Tensor) -> Tensor:
        """SwiGLU by each row's expert.

        Args:
            rows: (rows, hidden), those of expert 0 first.
            ends: (experts,) int32, behind each expert's last row.
        """
        kind = rows.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
        gate, up, down = (w.to(dtype) for w in (self.gate_proj, self.up_proj, self.down_proj))
        rows = rows.to(dtype)
        hidden = F.silu(grouped_product(rows, gate, ends)) * grouped_product(rows, up, ends)
        return grouped_product(hidden, down, ends)  # (rows, hidden)


class SparseFeedForward(nn.Module):
    """The sum of a token's experts, each by its share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.count, self.chosen = config.num_experts, config.num_experts_per_tok
        self.norm_topk_prob = config.norm_topk_prob
        self.gate = Router(config)
        self.experts = Experts(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, seq, hidden) -> the same, and the router's logits (batch, seq, experts)."""
        flat = x.flatten(0, 1)  # (tokens, hidden)
        logits = self.gate(flat)  # (tokens, experts)
        shares, experts = logits.softmax(dim=-1).topk(self.chosen, dim=-1)  # (tokens, chosen) each
        if self.norm_topk_prob:
            shares = shares / shares.sum(dim=-1, keepdim=True)
        wanted = experts.flatten()  # (tokens * chosen,)
        order = wanted.argsort(stable=True)  # those of expert 0 first
        back = order.argsort()
        numbers = torch.arange(self.count, device=x.device)
        ends = (wanted[:, None] == numbers).sum(dim=0).cumsum(dim=0).int()  # (experts,)
        rows = flat[:, None].expand(-1, self.chosen, -1).reshape(-1, flat.shape[1])
        made = self.experts(reordered(rows, order, back), ends)  # (tokens * chosen, hidden)
        made = reordered(made, back, order).view(*experts.shape, -1)  # (tokens, chosen, hidden)
        summed = (made * shares[..., None]).sum(dim=1)  # (tokens, hidden)
        return summed.view_as(x), logits.view(*x.shape[:2], -1)


class Reordered(torch.autograd.Function):
    """`reordered`. A gradient that is gathered has one order of sums; torch's own scatters it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, back: Tensor) -> Tensor:
        """The rows in the order."""
        ctx.save_for_backward(back)
        return rows[order]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """The gradients in the first order."""
        (back,) = ctx.saved_tensors
        return grad[back], None, None


def reordered(rows: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """Rows (n, any) in an order (n,), whose reverse is back (n,)."""
    result: Tensor = Reordered.apply(rows, order, back)  # type: ignore[no-untyped-call]
    return result


@torch.library.custom_op("etude::grouped_product", mutates_args=())
def grouped_product(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Each stretch of rows times its matrix transposed: (rows, in) and (experts, out, in) -> (rows,
    out); ends (experts,) int32 as in `Experts`.

    On a GPU that is torch's grouped kernel, on a CPU one product an expert, which is as fast there.
    It is an operator of its own since torch's can be compiled in bfloat16 alone.
    """
    if rows.is_cuda:
        return F.grouped_mm(rows, weights.mT, offs=ends)
    result = rows.new_empty(len(rows), weights.shape[1])
    for number, (first, end) in enumerate(stretches(ends)):
        torch.mm(rows[first:end], weights[number].mT, out=result[first:end])
    return result


@torch.library.custom_op("etude::grouped_gradient", mutates_args=())
def grouped_gradient(grad: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """The gradient of the matrices of `grouped_product`: (rows, out) and (rows, in) -> (experts,
    out, in)."""
    if rows.is_cuda:
        return F.grouped_mm(grad.mT, rows, offs=ends)
    result = rows.new_empty(len(ends), grad.shape[1], rows.shape[1])
    for number, (first, end) in enumerate(stretches(ends)):
        torch.mm(grad[first:end].mT, rows[first:end], out=result[number])
    return result


def stretches(ends: Tensor) -> list[tuple[int, int]]:
    """Begin and end of each expert's rows."""
    after = ends.tolist()
    return list(zip([0, *after], after, strict=False))


@grouped_product.register_fake
def _(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], weights.shape[1])


@grouped_gradient.register_fake
def _(grad: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    return rows.new_empty(ends.shape[0], grad.shape[1], rows.shape[1])


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    """Keeps what `gradients` needs."""
    ctx.save_for_backward(*inputs)


def gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """The gradients of `grouped_product`."""
    rows, weights, ends = ctx.saved_tensors
    needs_rows, needs_weights, _ = ctx.needs_input_grad
    grad = grad.contiguous()
    of_rows = grouped_product(grad, weights.mT, ends) if needs_rows else None
    of_weights = grouped_gradient(grad, rows, ends) if needs_weights else None
    return of_rows, of_weights, None


grouped_product.register_autograd(gradients, setup_context=keep)


def balance_loss(router_logits: list[Tensor], chosen: int, counted: Tensor) -> Tensor:
    """The load-balancing loss of each row, (rows,): experts * sum of f_e * p_e, f the share of the
    tokens that choose the expert and p its mean probability (Switch Transformers, arXiv 2101.03961,
    equations 4 to 6), the mean over the blocks. With equal loads it is `chosen`.

    It is that of transformers' `load_balancing_loss_func` for a row and a block. Rows are measured
    one by one, so that it does not depend on how a step is cut into micro-batches (DeepSeek-V3,
    arXiv 2412.19437, section 2.1.2).

    Args:
        router_logits: (rows, seq, experts) of each block with experts.
        chosen: experts that a token takes.
        counted: (rows, seq) True where a token counts.
    """
    logits = torch.stack(router_logits)  # (blocks, rows, seq, experts)
    weight = (counted / counted.sum(dim=1, keepdim=True).clamp(min=1))[..., None]
    probabilities = logits.softmax(dim=-1)
    taken = torch.zeros_like(probabilities)
    taken.scatter_(-1, probabilities.topk(chosen, dim=-1).indices, 1.0)
    loads = (taken * weight).sum(dim=2)  # (blocks, rows, experts)
    means = (probabilities * weight).sum(dim=2)  # (blocks, rows, experts)
    return logits.shape[-1] * (loads * means).sum(dim=-1).mean(dim=0)  # (rows,)
