"""What training minimises: a weighted sum of the cross-entropies of tokens.

    loss = sum over tokens of w_t * CE_t, divided by the step's normaliser

For plain cross-entropy w_t is 1 and the normaliser the number of trained tokens. DPO, IPO, KTO,
ORPO, SimPO, GRPO, CISPO and GSPO have exactly such a gradient too, with weights that are functions
of the tokens' log-probabilities and take no gradient themselves. So an `Objective` prepares a batch
(weights), after a first pass without gradient where it needs one, and nothing else of the loop
changes. Distillation compares whole distributions: its batches carry the teacher's (soft targets),
and it brings the chunk of the loss that does so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.adapters import output_product
from model.experts import balance_loss
from model.transformer import Etude
from train.data.batches import IGNORED, Batch, SoftTargets

CHUNK_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Logits that are in memory at once: on a CPU about what its caches hold (2,048 tokens of a
vocabulary of 4,096), on a GPU half a gigabyte of float32."""

Chunk = Callable[..., Tensor]
"""`chunk_loss`, plain or compiled."""


class Prepared(NamedTuple):
    """A batch as its objective wants it trained."""

    batch: Batch
    metrics: Tensor | None = None
    """(number of the objective's metrics,) summed over the batch; the step divides their sums by
    its normaliser. None: the objective has none."""


class Objective:
    """What a stage minimises. As it stands: the mean cross-entropy of the trained tokens."""

    first_pass = False
    """Whether `prepare` needs the log-probabilities of the labels under the present weights."""
    metrics: tuple[str, ...] = ()
    """Names of what `prepare` measures, logged at every step. One that is called "loss" is shown,
    and judged by the guard, in place of the weighted cross-entropy."""
    first_loss: float | None = None
    """The loss of a model that has learned nothing, where it is known without a look at the data;
    None: not known, or that of guessing blindly."""
    expectation = ""
    """What the first loss should be, in words, for the start of a run."""

    @property
    def chunk(self) -> Chunk:
        """Gives the summed loss of some tokens and its gradient, in the place of `chunk_loss`."""
        return chunk_loss

    def prepare(self, batch: Batch, log_probs: Tensor | None) -> Prepared:
        """Gives a micro-batch its weights or soft targets.

        Args:
            batch: on the device.
            log_probs: with `first_pass`, (rows, max_length) float32, 0 where a label is IGNORED.
        """
        return Prepared(batch)

    def normaliser(self, batch: Batch) -> Tensor | None:
        """A micro-batch's part of what the step's loss is divided by, a number such as its pairs;
        None: its trained tokens."""
        return None

    def step_sums(self, batch: Batch, log_probs: Tensor) -> Tensor | None:
        """A micro-batch's part of what `prepare` must know of the whole step: summed over
        micro-batches and processes, it is there as `batch.step_sums`. None: nothing."""
        return None

    def remark(self, measured: Mapping[str, float]) -> str:
        """What a person should know about metrics measured on held-out data; empty: nothing."""
        return ""


def prepare_all(
    objective: Objective,
    batches: Sequence[Batch],
    log_probs: Sequence[Tensor],
    total: Callable[[list[Tensor]], Tensor],
) -> list[Prepared]:
    """The micro-batches of a step, prepared after a first pass; total sums over the step."""
    own = [objective.step_sums(*pair) for pair in zip(batches, log_probs, strict=True)]
    if parts := [part for part in own if part is not None]:
        sums = total(parts)
        batches = [dataclasses.replace(batch, step_sums=sums) for batch in batches]
    return [objective.prepare(*pair) for pair in zip(batches, log_probs, strict=True)]


class CrossEntropy(Objective):
    """The objective of pretraining and of fine-tuning."""


class SummedLoss(nn.Module):
    """The network with its loss: a batch in, one number out.

    The caller divides by the normaliser of the whole step, so cutting a step into micro-batches
    does not change its gradient, and a batch without a trained token adds exactly zero.
    """

    def __init__(
        self, model: Etude, dtype: torch.dtype = torch.float32, chunk: Chunk | None = None
    ) -> None:
        """dtype is the format of the matrix products; chunk a compiled `chunk_loss`, else the plain
        one."""
        super().__init__()
        self.model, self.dtype, self.chunk = model, dtype, chunk or chunk_loss
        self.balance: Tensor | None = None
        """Of the last pass with gradients: the experts' balance losses of its rows, each times its
        row's weight, summed; and the sum of these weights. None: there are no experts."""

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        document_ids: Tensor | None = None,
        weights: Tensor | None = None,
        soft_targets: SoftTargets | None = None,
        exact: bool = False,
        per_token: bool = False,
    ) -> Tensor:
        """The weighted sum of the cross-entropy over the trained tokens, in nats; where gradients
        are recorded, experts' balance loss is in it.

        Args:
            input_ids: (rows, seq).
            labels: (rows, seq), IGNORED where a token is not trained.
            document_ids: (rows, seq), to keep attention inside documents; None: it may cross them.
            weights: (rows, seq) float32, the factor of each token; None: ones.
            soft_targets: what the chunk compares the model's distribution with; None: nothing.
            exact: multiply in float32 (for evaluation).
            per_token: return each label's own cross-entropy, (rows, seq), without gradient,
                weights or soft targets.
        """
        dtype = torch.float32 if exact else self.dtype
        balanced = self.model.config.num_experts > 0 and torch.is_grad_enabled()
        router_logits: list[Tensor] | None = [] if balanced else None
        flat, head = self.outputs(input_ids, document_ids, dtype, router_logits)
        if per_token:
            return token_losses(flat, head, labels.flatten()).view(labels.shape)
        balance = self.weighed_balance(router_logits, labels, weights) if router_logits else 0.0
        if weights is not None:
            weights = weights.flatten()  # (rows * seq,)
        if soft_targets is not None:
            soft_targets = SoftTargets(*(part.flatten(0, 1) for part in soft_targets))
        loss = chunked_cross_entropy(
            flat, head, labels.flatten(), self.chunk, weights, soft_targets
        )
        return loss + balance if router_logits else loss

    def weighed_balance(
        self, router_logits: list[Tensor], labels: Tensor, weights: Tensor | None
    ) -> Tensor:
        """What keeps the experts equally busy: each row's balance loss as often as its tokens
        count, so that its part of a step's loss is the coefficient whatever the step is divided by.
        A row's tokens up to its last trained one are measured; behind them is padding."""
        trained = labels != IGNORED  # (rows, seq)
        measured = trained.flip(1).cumsum(1).flip(1) > 0
        config = self.model.config
        losses = balance_loss(router_logits, config.num_experts_per_tok, measured)  # (rows,)
        counts = trained.float() if weights is None else torch.where(trained, weights.abs(), 0.0)
        counts = counts.sum(dim=1)  # (rows,)
        total = (losses * counts).sum()
        self.balance = torch.stack([total.detach(), counts.sum()])
        return config.router_aux_loss_coef * total

    def outputs(
        self,
        input_ids: Tensor,
        document_ids: Tensor | None,
        dtype: torch.dtype,
        router_logits: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The last hidden states (rows * seq, hidden) and the output layer (vocab, hidden), whose
        product is the logits; router_logits as in `Transformer.forward`."""
        with torch.autocast(input_ids.device.type, dtype, enabled=dtype != torch.float32):
            hidden = self.model.model(  # (rows, seq, hidden)
                input_ids, document_ids=document_ids, router_logits=router_logits
            )
        return output_product(self.model.lm_head, hidden.flatten(0, 1).to(dtype))


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    chunk: Chunk | None = None,
    weights: Tensor | None = None,
    soft_targets: SoftTargets | None = None,
) -> Tensor:
    """Summed cross-entropy of hidden @ weight.T, without ever holding all logits.

    Where a gradient is asked for, it is computed in the forward pass, chunk by chunk, while the
    logits are at hand (as in Liger Kernel, arXiv 2410.10989): nothing is computed twice.

    Args:
        hidden: (tokens, hidden), in the format of the matrix products.
        weight: (vocab, hidden) float32, the output layer.
        labels: (tokens,), IGNORED where a token is not trained.
        chunk: `chunk_loss`, plain or compiled.
        weights: (tokens,) float32; None: ones.
        soft_targets: their tensors without rows, (tokens, ...); None: there are none.
    """
    if torch.is_grad_enabled():
        size = chunk_size(hidden, weight)
        loss: Tensor = ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden,
            weight,
            labels,
            size,
            chunk or chunk_loss,
            weights,
            soft_targets,
            weight.requires_grad,
        )
        return loss
    total = torch.zeros((), device=hidden.device)
    for part, logits in logits_in_chunks(hidden, weight):
        total += F.cross_entropy(logits, labels[part], ignore_index=IGNORED, reduction="sum")
    return total


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """(tokens,) the cross-entropy of each label, 0 where it is IGNORED; arguments as in
    `chunked_cross_entropy`."""
    losses = torch.empty(len(hidden), device=hidden.device)
    for part, logits in logits_in_chunks(hidden, weight):
        losses[part] = F.cross_entropy(logits, labels[part], ignore_index=IGNORED, reduction="none")
    return losses


def logits_in_chunks(hidden: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The logits of some tokens at a time, (size, vocab) float32, and which tokens these are."""
    head, size = weight.to(hidden.dtype), chunk_size(hidden, weight)
    for first in range(0, len(hidden), size):
        part = slice(first, first + size)
        yield part, (hidden[part] @ head.mT).float()


def chunk_size(hidden: Tensor, weight: Tensor) -> int:
    """Tokens whose logits are in memory at once."""
    return max(1, CHUNK_ELEMENTS[hidden.device.type] // weight.shape[0])


class ChunkedCrossEntropy(torch.autograd.Function):
    """`chunked_cross_entropy` where a gradient is asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        size: int,
        chunk: Chunk,
        weights: Tensor | None,
        soft_targets: SoftTargets | None,
        trained: bool,
    ) -> Tensor:
        """The loss; the gradients for a loss of weight one are kept for `backward`."""
        head = weight.to(hidden.dtype)
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        # Beside an adapter the output layer is frozen: a third of its work falls away.
        grad_weight = torch.zeros(weight.shape, device=weight.device) if trained else None
        for first in range(0, len(hidden), size):
            part = slice(first, first + size)
            more: list[Any] = []  # plain batches call the same compiled code as ever
            if weights is not None or soft_targets is not None:
                more.append(None if weights is None else weights[part])
            if soft_targets is not None:
                more += [soft_targets.ids[part], soft_targets.log_probs[part]]
            total += chunk(hidden[part], head, labels[part], grad_hidden[part], grad_weight, *more)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_output: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The kept gradients times that of the loss."""
        # The loss is the last thing computed, so its own gradient is one number.
        grad_hidden, grad_weight = ctx.saved_tensors
        scaled = grad_hidden * grad_output.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight * grad_output
        return scaled, grad_weight, None, None, None, None, None, None


def chunk_loss(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    grad_hidden: Tensor,
    grad_weight: Tensor | None,
    weights: Tensor | None = None,
) -> Tensor:
    """The summed loss of some tokens; writes grad_hidden and adds to grad_weight.

    The gradient of the logits is softmax(logits) - onehot(label) times the token's weight, zero
    where a token is not trained.

    Args:
        hidden: (tokens, hidden).
        head: (vocab, hidden), in hidden's format.
        labels: (tokens,).
        grad_hidden: (tokens, hidden), overwritten.
        grad_weight: (vocab, hidden) float32, added to; None: the output layer is not trained.
        weights: (tokens,) float32; None: ones.
    """
    logits = (hidden @ head.mT).float()  # (tokens, vocab)
    losses, grad_logits = cross_entropy_gradient(logits, labels)
    return written(losses, grad_logits, hidden, head, labels, grad_hidden, grad_weight, weights)


def cross_entropy_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(tokens,) the cross-entropy of each label and (tokens, vocab) its gradient by the logits,
    neither of use where a label is IGNORED."""
    wanted = torch.where(labels != IGNORED, labels, 0)[:, None]  # (tokens, 1)
    normaliser = logits.logsumexp(dim=-1, keepdim=True)  # (tokens, 1)
    losses = (normaliser - logits.gather(1, wanted)).squeeze(1)
    columns = torch.arange(logits.shape[1], device=logits.device, dtype=torch.int32)
    # int32: 64 bits halve the speed of the comparison
    target = (columns == wanted.int()).to(logits.dtype)  # (tokens, vocab)
    return losses, (logits - normaliser).exp() - target


def written(
    losses: Tensor,
    grad_logits: Tensor,
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    grad_hidden: Tensor,
    grad_weight: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    """The sum of the trained tokens' losses; their gradients by the logits become those of the
    hidden states and the output layer. Arguments as of `chunk_loss`."""
    trained = labels != IGNORED
    factor = trained if weights is None else torch.where(trained, weights, 0.0)
    grad_logits = (grad_logits * factor[:, None]).to(hidden.dtype)
    # logits = hidden @ head.T, so by the chain rule (tokens, vocab) @ (vocab, hidden) and, summed
    # over the tokens, (vocab, tokens) @ (tokens, hidden):
    grad_hidden.copy_(grad_logits @ head)
    if grad_weight is not None:
        grad_weight.add_((grad_logits.mT @ hidden).float())
    if weights is not None:
        losses = losses * weights
    return torch.where(trained, losses, 0.0).sum()
