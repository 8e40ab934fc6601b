"""Learning from preferences: DPO, IPO, KTO, ORPO and SimPO.

Each loss is a function of the log-probabilities of whole answers. Its gradient is that of a
weighted cross-entropy, sum of w_t * CE_t, with w_t = -d loss / d log p_t: so it is written down as
in its paper, and the weights are its exact gradient by the tokens' log-probabilities.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from config import DPOConfig
from train.data.batches import Batch
from train.data.pairs import REFERENCE, WANTED, sums_of
from train.objective import Objective, Prepared

CERTAIN = -1e-6
"""A token's log-probability beyond which ORPO's odds, which are infinite at 0, no longer grow."""
STILL = 1e-3
"""Nats a token: a model closer to its reference than this has not moved."""


class Answers(NamedTuple):
    """One answer of each pair, (rows, pairs) each."""

    log_prob: Tensor
    """Of the whole answer, under the model that is trained."""
    reference: Tensor
    """The same under the model it started from."""
    tokens: Tensor
    """At least 1."""
    wanted: Tensor
    """1 or 0."""

    @property
    def ratio(self) -> Tensor:
        """log(p / p of the reference)."""
        return self.log_prob - self.reference

    @property
    def average(self) -> Tensor:
        """The log-probability of a token."""
        return self.log_prob / self.tokens


def dpo_loss(chosen: Answers, rejected: Answers, config: DPOConfig) -> Tensor:
    """Equation 7 of arXiv 2305.18290; label smoothing as in Mitchell's note on noisy labels."""
    margin = config.strength * (chosen.ratio - rejected.ratio)
    noise = config.label_smoothing
    return -(1 - noise) * F.logsigmoid(margin) - noise * F.logsigmoid(-margin)


def ipo_loss(chosen: Answers, rejected: Answers, config: DPOConfig) -> Tensor:
    """Equation 17 of arXiv 2310.12036, with the ratio of a token in place of that of the answer (as
    its authors do, and trl), else long answers would count more."""
    difference = chosen.ratio / chosen.tokens - rejected.ratio / rejected.tokens
    return (difference - 1 / (2 * config.strength)) ** 2


def orpo_loss(chosen: Answers, rejected: Answers, config: DPOConfig) -> Tensor:
    """Equation 6 of arXiv 2403.07691: the cross-entropy of chosen, a token, and the odds ratio."""
    averages = [a.average.clamp(max=CERTAIN) for a in (chosen, rejected)]
    odds = [average - torch.log(-torch.expm1(average)) for average in averages]
    return -chosen.average - config.strength * F.logsigmoid(odds[0] - odds[1])


def simpo_loss(chosen: Answers, rejected: Answers, config: DPOConfig) -> Tensor:
    """Equation 6 of arXiv 2405.14734."""
    margin = config.strength * (chosen.average - rejected.average)
    return -F.logsigmoid(margin - config.gamma)


def kto_loss(own: Answers, baseline: Tensor, config: DPOConfig) -> Tensor:
    """Equation 8 of arXiv 2402.01306; the baseline is its z0, in nats."""
    sign = 2 * own.wanted - 1
    weight = config.desirable_weight * own.wanted + config.undesirable_weight * (1 - own.wanted)
    return weight * (1 - torch.sigmoid(config.strength * sign * (own.ratio - baseline)))


PAIR_LOSSES = {"dpo": dpo_loss, "ipo": ipo_loss, "orpo": orpo_loss, "simpo": simpo_loss}


class Preference(Objective):
    """The mean over the pairs of a step, or over its labelled answers, of one of the losses."""

    first_pass = True
    metrics = ("loss", "accuracy", "margin", "chosen_log_prob", "rejected_log_prob", "distance")

    def __init__(self, config: DPOConfig) -> None:
        self.config, self.name = config, config.loss
        self.by_token = config.loss in ("orpo", "simpo")
        """The reward is the log-probability of a token, and needs no reference."""
        beta, gamma, ipo = config.strength, config.gamma, 1 / (4 * config.strength**2)
        self.first_loss = {"dpo": math.log(2), "ipo": ipo, "kto": 0.5}.get(config.loss)
        self.expectation = {
            "dpo": "near ln 2 = 0.693: the model does not differ from its reference yet",
            "ipo": f"near 1 / (4 beta^2) = {ipo:.4g}",
            "kto": "near 0.5, times the weights",
            "orpo": f"the cross-entropy of a chosen token and about {beta * math.log(2):.3g}",
            "simpo": f"ln(1 + e^gamma) = {math.log1p(math.exp(gamma)):.3f} with equal answers",
        }[config.loss]

    def prepare(self, batch: Batch, log_probs: Tensor | None) -> Prepared:
        """See Objective."""
        assert log_probs is not None
        with torch.enable_grad():
            tokens = log_probs.detach().requires_grad_()
            first, second = answers(batch, tokens)
            losses = self.losses(first, second, batch) * existing(batch)
            (gradient,) = torch.autograd.grad(losses.sum(), tokens)
        measured = torch.stack([losses.detach(), *self.measure(first, second, batch)])
        metrics = (measured.detach() * existing(batch)).sum(dim=(1, 2))
        return Prepared(dataclasses.replace(batch, weights=-gradient), metrics)

    def losses(self, first: Answers, second: Answers, batch: Batch) -> Tensor:
        """(rows, pairs) the loss of each."""
        if self.name == "kto":
            return kto_loss(first, self.baseline(batch), self.config)
        return PAIR_LOSSES[self.name](first, second, self.config)

    def baseline(self, batch: Batch) -> Tensor:
        """KTO's z0: the mean log-ratio of mismatched answers over the step, at least 0."""
        assert batch.step_sums is not None
        return (batch.step_sums[0] / batch.step_sums[1]).clamp(min=0)

    def reward(self, answer: Answers) -> Tensor:
        """What the loss compares, times beta."""
        value = answer.average if self.by_token else answer.ratio
        return self.config.strength * (value / answer.tokens if self.name == "ipo" else value)

    def measure(self, first: Answers, second: Answers, batch: Batch) -> list[Tensor]:
        """(rows, pairs) each of the metrics but the loss."""
        if self.name == "kto":
            assert batch.step_sums is not None
            _, count, wanted = batch.step_sums
            gap = self.reward(first) - self.config.strength * self.baseline(batch)
            gap = gap * (2 * first.wanted - 1)
            # The step divides by all answers; these are means over those of one label.
            chosen = first.log_prob * first.wanted * (count / wanted)
            rejected = first.log_prob * (1 - first.wanted) * (count / (count - wanted))
            distance = first.ratio.abs() / first.tokens
        else:
            gap = self.reward(first) - self.reward(second)
            chosen, rejected = first.log_prob, second.log_prob
            both = first.ratio.abs() / first.tokens + second.ratio.abs() / second.tokens
            distance = both / 2
        return [(gap > 0).to(gap.dtype), gap, chosen, rejected, distance]

    def normaliser(self, batch: Batch) -> Tensor:
        """The pairs, or labelled answers."""
        return existing(batch).sum()

    def step_sums(self, batch: Batch, log_probs: Tensor) -> Tensor | None:
        """For KTO: the log-ratios of the mismatched answers, the answers, and the wanted ones."""
        if self.name != "kto":
            return None
        first, second = answers(batch, log_probs)
        exists = existing(batch)
        parts = (second.ratio * exists, exists, first.wanted * exists)
        return torch.stack([part.sum().to(log_probs.dtype) for part in parts])

    def remark(self, measured: Mapping[str, float]) -> str:
        """See Objective."""
        if measured["distance"] >= STILL:
            return ""
        by = f"a token of an answer differs by {measured['distance']:.1g} nats from the reference"
        return f"nothing moves: {by}; raise --learning_rate"


def existing(batch: Batch) -> Tensor:
    """(rows, pairs) whether there is such a pair in the row."""
    return sums_of(torch.ones(batch.labels.shape, device=batch.labels.device), batch)[:, ::2] > 0


def answers(batch: Batch, log_probs: Tensor) -> tuple[Answers, Answers]:
    """The first and the second answers of the pairs of rows."""
    assert batch.sequences is not None
    tokens = sums_of(torch.ones_like(log_probs), batch)
    # Where a row has fewer pairs, any probability below 1 keeps every loss finite.
    log_prob = torch.where(tokens > 0, sums_of(log_probs, batch), -1.0)
    known = batch.sequences
    parts = log_prob, known[..., REFERENCE], tokens.clamp(min=1), known[..., WANTED]
    first, second = ([part[:, side::2] for part in parts] for side in (0, 1))
    return Answers(*first), Answers(*second)
