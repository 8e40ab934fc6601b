"""Choosing the next token.

Pure functions on logits (batch, vocab), with the meaning and the order of transformers' logits
processors: repetition penalty, (OpenAI's presence and frequency penalties,) temperature, top-k,
top-p, min-p. Randomness comes in as one generator a row, so a row's text depends neither on the
rows beside it nor on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from config import SamplingConfig

GREEDY_BELOW = 1e-5  # logits / temperature would overflow: the limit is the argmax


def sample(
    logits: Tensor,
    sampling: SamplingConfig,
    generators: Sequence[torch.Generator],
    seen: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Samples a token for each row.

    Args:
        logits: (batch, vocab), of any float type.
        sampling: how to choose.
        generators: one CPU generator a row; not used when the temperature is 0.
        seen: (batch, vocab) of bool, the tokens of prompt and output; needed for a repetition
            penalty.
        counts: (batch, vocab), how often each token is in the output; needed for a presence or
            frequency penalty.

    Returns:
        Token ids (batch,).
    """
    logits = logits.float()
    if seen is not None and sampling.repetition_penalty != 1:
        logits = penalise_repetition(logits, seen, sampling.repetition_penalty)
    if counts is not None:
        logits = penalise_counts(logits, counts, sampling)
    if sampling.temperature < GREEDY_BELOW:
        return logits.argmax(dim=-1)
    return draw(*candidates(logits, sampling), generators)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Lowers the logits of seen tokens: negative ones are multiplied by the penalty, others divided
    (CTRL, arXiv 1909.05858)."""
    # Dividing a negative logit would raise it.
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)  # (batch, vocab)
    return torch.where(seen, penalised, logits)


def penalise_counts(logits: Tensor, counts: Tensor, sampling: SamplingConfig) -> Tensor:
    """Lowers the logits of tokens that are in the output: by the presence penalty once, and by the
    frequency penalty each time (OpenAI's API reference, `frequency_penalty`)."""
    present = (counts > 0).to(logits.dtype)  # (batch, vocab): 0 or 1
    return logits - sampling.presence_penalty * present - sampling.frequency_penalty * counts


def candidates(logits: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """The tokens that temperature, top-k, top-p and min-p leave, likeliest first; when they leave
    all, in the order of their ids.

    Returns:
        Ids and logits, both (batch, candidates); -inf for one that is left out.
    """
    # softmax(z / t) is proportional to p^(1 / t): below 1 the likely become likelier.
    logits = logits / sampling.temperature  # (batch, vocab)
    width = logits.shape[-1]
    if not 0 < sampling.top_k < width and sampling.top_p == 1 and not sampling.min_p:
        # All of them: sorting a whole vocabulary would take as long as a small model's pass.
        return torch.arange(width, device=logits.device).expand_as(logits), logits
    if 0 < sampling.top_k < width:
        last = logits.topk(sampling.top_k).values[:, -1:]  # (batch, 1)
        logits = logits.masked_fill(logits < last, -torch.inf)
        width = int((logits >= last).sum(dim=-1).amax())  # more than top_k where some are equal
    # Sorting the few that top-k leaves, not the whole vocabulary, is what makes this fast.
    ids = logits.topk(width, sorted=False).indices.sort(dim=-1).values  # (batch, width)
    # Equal logits in the order of their ids: topk's own order depends on the device.
    values, order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(1, order)  # (batch, width), as values
    if sampling.top_p < 1:
        values = keep_top_p(values, sampling.top_p)
    if sampling.min_p > 0:
        values = keep_min_p(values, sampling.min_p)
    return ids, values


def keep_top_p(descending: Tensor, p: float) -> Tensor:
    """Keeps the fewest likeliest tokens that hold a share p of the probability, one at least
    (nucleus sampling, arXiv 1904.09751); logits come and go in falling order."""
    # Summed from the least likely up, as transformers does: the mass that is dropped is <= 1 - p.
    ascending = descending.flip(-1)  # (batch, candidates)
    drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p  # (batch, candidates) of bool
    drop[:, -1] = False  # the likeliest stays, also for p = 0
    return descending.masked_fill(drop.flip(-1), -torch.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the tokens at least p times as likely as the likeliest (arXiv 2407.01082)."""
    probabilities = logits.softmax(dim=-1)  # (batch, candidates)
    # Unlike top-p it follows the model's certainty: many pass where the likeliest is unlikely.
    too_rare = probabilities < p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(too_rare, -torch.inf)


def draw(ids: Tensor, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Samples one of the ids of each row, by inverting the cumulative distribution at a uniform
    number from the row's generator.

    One number a row, drawn on the CPU: `torch.multinomial` takes one generator for all rows, and
    would need a call a row to keep them independent.

    Args:
        ids: (batch, candidates).
        logits: (batch, candidates).
        generators: one CPU generator a row.

    Returns:
        Token ids (batch,).
    """
    # In float64: a sum near 1 in float32 loses tokens of less than 6e-8.
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)  # (batch, candidates)
    # (batch,), in [0, 1)
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    # Scaled by the last sum, which is 1 but for rounding, so that a point always lies inside.
    points = uniform.to(cumulative)[:, None] * cumulative[:, -1:]  # (batch, 1)
    places = torch.searchsorted(cumulative, points, right=True)  # (batch, 1)
    return ids.gather(1, places.clamp(max=ids.shape[1] - 1))[:, 0]


def make_generator(seed: int | None) -> torch.Generator:
    """A generator with a seed; None: with one from the system."""
    generator = torch.Generator()
    return generator.manual_seed(generator.seed() % 2**63 if seed is None else seed % 2**63)


def with_seed(sampling: SamplingConfig, number: int) -> SamplingConfig:
    """The settings of one of several outputs: its seed is the first one's + number."""
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=(sampling.seed + number) % 2**63)
