"""Learning the distributions of a teacher: forward and reverse KL, the Jensen-Shannon divergence
between them, and a mixture of each with cross-entropy.

Known of the teacher's distribution p at a position are its k likeliest tokens; all others together
are one class, the tail. The student's distribution q is compared with it class by class:

    forward_kl   sum of p ln(p / q)                                     Hinton et al., 1503.02531
    reverse_kl   sum of q ln(q / p)                                     MiniLLM, 2306.08543
    jsd          beta KL(p || m) + (1 - beta) KL(q || m), with m = beta p + (1 - beta) q
                                                                        GKD, 2306.13649, equation 1

With k = vocabulary there is no tail, and these are the divergences of the whole distributions.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from config import DistillConfig
from train.data.batches import IGNORED, Batch, SoftTargets
from train.objective import (
    Chunk,
    Objective,
    Prepared,
    chunk_loss,
    cross_entropy_gradient,
    written,
)

BLIND = 30.0
"""Nats that the guard lets reverse_kl begin with: a blind student is everywhere, and a teacher that
is sure gives all but one token next to nothing."""


class Distillation(Objective):
    """The mean divergence from a teacher over the trained tokens."""

    metrics = ("tail",)

    def __init__(self, config: DistillConfig) -> None:
        self.config = config
        if config.loss == "reverse_kl":
            self.first_loss = BLIND

    @property
    def chunk(self) -> Chunk:
        """See Objective."""
        return chunk_of(self.config)

    def prepare(self, batch: Batch, log_probs: Tensor | None) -> Prepared:
        """See Objective; what a teacher said of a rollout is in `batch.per_token`, its k ids and
        then the log-probabilities."""
        if batch.per_token is not None:
            k = self.config.top_k
            soft = SoftTargets(batch.per_token[..., :k].long(), batch.per_token[..., k:])
            batch = dataclasses.replace(batch, per_token=None, soft_targets=soft)
        assert batch.soft_targets is not None
        tail = batch.soft_targets.log_probs[..., -1].exp()
        return Prepared(batch, torch.where(batch.labels != IGNORED, tail, 0.0).sum()[None])


def chunk_of(config: DistillConfig) -> Chunk:
    """The summed loss of some tokens and its gradient; see `train.objective.chunk_loss`."""

    def chunk(
        hidden: Tensor,
        head: Tensor,
        labels: Tensor,
        grad_hidden: Tensor,
        grad_weight: Tensor | None,
        weights: Tensor | None = None,
        ids: Tensor | None = None,
        log_probs: Tensor | None = None,
    ) -> Tensor:
        if ids is None or log_probs is None:  # a batch that only tries the network out
            return chunk_loss(hidden, head, labels, grad_hidden, grad_weight, weights)
        logits = (hidden @ head.mT).float()  # (tokens, vocab)
        losses, grad_logits = distillation_gradient(logits, labels, ids, log_probs, config)
        return written(losses, grad_logits, hidden, head, labels, grad_hidden, grad_weight, weights)

    return chunk


def distillation_gradient(
    logits: Tensor, labels: Tensor, ids: Tensor, log_probs: Tensor, config: DistillConfig
) -> tuple[Tensor, Tensor]:
    """The loss of each token and its gradient by the logits.

    With a temperature T both distributions are softmax(logits / T), and the divergence counts T^2
    times, so that its gradient stays as large (1503.02531, section 2).

    Args:
        logits: (tokens, vocab).
        labels: (tokens,), for the cross-entropy.
        ids: (tokens, k).
        log_probs: (tokens, k + 1), the teacher's at the temperature, the tail's last.
        config: loss, beta, alpha and temperature.

    Returns:
        (tokens,) and (tokens, vocab).
    """
    t, share = config.temperature, 1 - config.alpha
    scaled = logits / t if t != 1 else logits
    normaliser = scaled.logsumexp(dim=-1, keepdim=True)  # (tokens, 1)
    log_q = scaled.gather(1, ids) - normaliser  # (tokens, k)
    rest = scaled.scatter(1, ids, -torch.inf)  # the tail's logits
    has_tail = ids.shape[1] < logits.shape[1]
    if has_tail:
        of_rest = rest.logsumexp(dim=-1, keepdim=True)  # (tokens, 1)
        log_q = torch.cat([log_q, of_rest - normaliser], dim=1)  # (tokens, k + 1)
    losses, by_class = divergence(log_probs[:, : log_q.shape[1]], log_q, config)
    # log q of a class is the logsumexp of its own logits less that of all: so by the chain rule
    # each logit gets its share within its class, less softmax times the sum over the classes.
    own = torch.zeros_like(scaled)
    if has_tail:
        own = (rest - of_rest).exp() * by_class[:, -1:]
    own = own.scatter(1, ids, by_class[:, : ids.shape[1]])
    gradient = own - (scaled - normaliser).exp() * by_class.sum(dim=1, keepdim=True)
    losses, gradient = share * t * t * losses, share * t * gradient
    if config.alpha:
        of_labels, by_labels = cross_entropy_gradient(logits, labels)
        losses, gradient = losses + config.alpha * of_labels, gradient + config.alpha * by_labels
    return losses, gradient


def divergence(log_p: Tensor, log_q: Tensor, config: DistillConfig) -> tuple[Tensor, Tensor]:
    """(tokens,) the divergence of two distributions (tokens, classes), and (tokens, classes) its
    gradient by log q, up to a multiple of q, which changes nothing where q sums up to 1."""
    p, q = log_p.exp(), log_q.exp()
    if config.loss == "forward_kl":
        return (p * (log_p - log_q)).sum(dim=1), -p
    if config.loss == "reverse_kl":
        terms = q * (log_q - log_p)
        return terms.sum(dim=1), terms
    beta = config.beta
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    terms = (1 - beta) * q * (log_q - log_m)  # m's own gradient cancels out
    return (beta * p * (log_p - log_m) + terms).sum(dim=1), terms
