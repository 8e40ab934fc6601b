"""Policy gradients on the answers of a rollout: GRPO, CISPO and GSPO.

Each token has an advantage A (how much better its answer was than the others of its group) and a
ratio r = p / p_old of its probability now to that when it was sampled:

    grpo    -min(r A, clip(r) A)             arXiv 2402.03300, equation 3
    gspo    the same with one r for the whole answer, its tokens' geometric mean    2507.18071
    cispo   -clip(r) A log p, the clipped ratio without gradient                    2506.13585

A KL term of weight beta keeps the model near its reference. As of every loss of this seam, the
gradient is that of a weighted cross-entropy, with w_t = -d loss / d log p_t.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from config import GRPOConfig
from train.data.batches import IGNORED, Batch
from train.objective import Objective, Prepared

FIELDS = ("advantage", "old", "reference", "sampler", "scale", "norm")
"""What `Batch.per_token` holds of each trained token: the advantage of its answer; its
log-probability in the trainer's own pass when the rollout was made, under the reference, and as the
sampler had it; the factor of its loss, and its part of what the step's loss is divided by."""
ADVANTAGE, OLD, REFERENCE, SAMPLER, SCALE, NORM = range(len(FIELDS))


class Policy(Objective):
    """One of the three losses, with or without the KL term."""

    first_pass = True

    def __init__(self, config: GRPOConfig) -> None:
        self.config = config
        if config.loss != "cispo":
            self.expectation = "0, and later near it, for the advantages of a group add up to 0: "
            self.expectation += "what should change is the reward"
        self.metrics = ("loss", "clipped", *(["kl"] if config.beta else []))

    def prepare(self, batch: Batch, log_probs: Tensor | None) -> Prepared:
        """See Objective; `batch.per_token` holds FIELDS."""
        assert log_probs is not None
        assert batch.per_token is not None
        facts = batch.per_token.to(log_probs.dtype).unbind(dim=-1)  # (rows, max_length) each
        trained = batch.labels != IGNORED
        with torch.enable_grad():
            tokens = log_probs.detach().requires_grad_()
            log_ratio = torch.where(trained, tokens - facts[OLD], 0.0)
            if self.config.loss == "gspo":
                log_ratio = answer_means(log_ratio, batch)
            losses = policy_loss(tokens, log_ratio, facts[ADVANTAGE], self.config)
            kl = k3(tokens, facts[REFERENCE]) if self.config.beta else torch.zeros_like(tokens)
            losses = losses + self.config.beta * kl
            factor = torch.where(trained, facts[SCALE], 0.0)
            (gradient,) = torch.autograd.grad((losses * factor).sum(), tokens)
        low, high = self.config.clip
        ratio = log_ratio.detach().exp()
        clipped = ((ratio < low) | (ratio > high)).to(ratio.dtype)
        norm = torch.where(trained, facts[NORM], 0.0)
        measured = [losses.detach() * factor, clipped * norm]
        measured += [kl.detach() * norm] if self.config.beta else []
        metrics = torch.stack([torch.where(trained, values, 0.0).sum() for values in measured])
        return Prepared(dataclasses.replace(batch, weights=-gradient), metrics)

    def normaliser(self, batch: Batch) -> Tensor:
        """The answers of the batch, or its tokens; see `--average`."""
        assert batch.per_token is not None
        norms = torch.where(batch.labels != IGNORED, batch.per_token[..., NORM], 0.0)
        return norms.sum()


def policy_loss(
    log_probs: Tensor, log_ratio: Tensor, advantages: Tensor, config: GRPOConfig
) -> Tensor:
    """The loss of each token; all (rows, max_length)."""
    low, high = config.clip
    ratio = log_ratio.exp()
    clipped = ratio.clamp(low, high)
    if config.loss == "cispo":
        return -clipped.detach() * advantages * log_probs
    return -torch.minimum(ratio * advantages, clipped * advantages)


def k3(log_probs: Tensor, reference: Tensor) -> Tensor:
    """The KL divergence from the reference, estimated at the tokens sampled: r - log r - 1 with r =
    p_reference / p, never negative (J. Schulman, joschu.net/blog/kl-approx.html)."""
    log_ratio = reference - log_probs
    return log_ratio.exp() - log_ratio - 1


def answer_means(values: Tensor, batch: Batch) -> Tensor:
    """Each token's value (rows, max_length) becomes the mean over its answer's trained tokens;
    values are 0 elsewhere."""
    assert batch.document_ids is not None
    places = batch.document_ids  # (rows, max_length), documents of a row numbered from 0
    trained = (batch.labels != IGNORED).to(values.dtype)
    sums = torch.zeros_like(values).scatter_add(1, places, values)
    counts = torch.zeros_like(values).scatter_add(1, places, trained).clamp(min=1)
    return (sums / counts).gather(1, places)
