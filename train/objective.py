"""What training minimises: the summed cross-entropy of the trained tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.transformer import Etude
from train.data.batches import IGNORED

CHUNK_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Logits that are in memory at once: on a CPU about what its caches hold (2,048 tokens of a
vocabulary of 4,096), on a GPU half a gigabyte of float32."""

Chunk = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class SummedLoss(nn.Module):
    """The network with its objective: input_ids and labels in, one number out.

    The caller divides by the number of trained tokens of the whole step, so cutting a step into
    micro-batches does not change its gradient, and a batch without a trained token adds exactly
    zero.
    """

    def __init__(
        self, model: Etude, dtype: torch.dtype = torch.float32, chunk: Chunk | None = None
    ) -> None:
        """dtype is the format of the matrix products; chunk a compiled `chunk_loss`, else the plain
        one."""
        super().__init__()
        self.model, self.dtype, self.chunk = model, dtype, chunk or chunk_loss

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        document_ids: Tensor | None = None,
        exact: bool = False,
    ) -> Tensor:
        """The sum of the cross-entropy over the trained tokens, in nats.

        Args:
            input_ids: (rows, seq).
            labels: (rows, seq), IGNORED where a token is not trained.
            document_ids: (rows, seq), to keep attention inside documents; None: it may cross them.
            exact: multiply in float32 (for evaluation).
        """
        dtype = torch.float32 if exact else self.dtype
        with torch.autocast(input_ids.device.type, dtype, enabled=dtype != torch.float32):
            hidden = self.model.model(input_ids, document_ids=document_ids)
        flat = hidden.flatten(0, 1).to(dtype)  # (rows * seq, hidden)
        return chunked_cross_entropy(flat, self.model.lm_head.weight, labels.flatten(), self.chunk)


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, chunk: Chunk | None = None
) -> Tensor:
    """Summed cross-entropy of hidden @ weight.T, without ever holding all logits.

    Where a gradient is asked for, it is computed in the forward pass, chunk by chunk, while the
    logits are at hand (as in Liger Kernel, arXiv 2410.10989): nothing is computed twice.

    Args:
        hidden: (tokens, hidden), in the format of the matrix products.
        weight: (vocab, hidden) float32, the output layer.
        labels: (tokens,), IGNORED where a token is not trained.
        chunk: `chunk_loss`, plain or compiled.
    """
    size = max(1, CHUNK_ELEMENTS[hidden.device.type] // weight.shape[0])
    if torch.is_grad_enabled():
        loss: Tensor = ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weight, labels, size, chunk or chunk_loss
        )
        return loss
    head = weight.to(hidden.dtype)
    total = torch.zeros((), device=hidden.device)
    for first in range(0, len(hidden), size):
        part, wanted = hidden[first : first + size], labels[first : first + size]
        logits = (part @ head.mT).float()
        total += F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")
    return total


class ChunkedCrossEntropy(torch.autograd.Function):
    """`chunked_cross_entropy` where a gradient is asked for."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, size: int, chunk: Chunk
    ) -> Tensor:
        """The loss; the gradients for a loss of weight one are kept for `backward`."""
        head = weight.to(hidden.dtype)
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, device=weight.device)
        for first in range(0, len(hidden), size):
            part = slice(first, first + size)
            total += chunk(hidden[part], head, labels[part], grad_hidden[part], grad_weight)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        """The kept gradients times that of the loss."""
        grad_hidden, grad_weight = ctx.saved_tensors
        scaled = grad_hidden * grad_output.to(grad_hidden.dtype)
        return scaled, grad_weight * grad_output, None, None, None


def chunk_loss(
    hidden: Tensor, head: Tensor, labels: Tensor, grad_hidden: Tensor, grad_weight: Tensor
) -> Tensor:
    """The summed loss of some tokens; writes grad_hidden and adds to grad_weight.

    The gradient of the logits is softmax(logits) - onehot(label), zero where a token is not
    trained.

    Args:
        hidden: (tokens, hidden).
        head: (vocab, hidden), in hidden's format.
        labels: (tokens,).
        grad_hidden: (tokens, hidden), overwritten.
        grad_weight: (vocab, hidden) float32, added to.
    """
    logits = (hidden @ head.mT).float()  # (tokens, vocab)
    trained = labels != IGNORED
    wanted = torch.where(trained, labels, 0)[:, None]
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    losses = (normaliser - logits.gather(1, wanted)).squeeze(1)
    columns = torch.arange(head.shape[0], device=head.device, dtype=torch.int32)
    onehot = columns == wanted.int()  # int32: 64 bits halve the speed of the comparison
    grad_logits = ((logits - normaliser).exp() - onehot.float()) * trained[:, None]
    grad_logits = grad_logits.to(hidden.dtype)
    grad_hidden.copy_(grad_logits @ head)
    grad_weight.add_((grad_logits.mT @ hidden).float())
    return torch.where(trained, losses, 0.0).sum()
