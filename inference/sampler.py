"""Choosing the next token.

Pure functions on logits (batch, vocab), with the meaning and the order of transformers' logits
processors: repetition penalty, temperature, top-k, top-p, min-p. Chance comes in as one generator a
row, so a row's text depends neither on the rows beside it nor on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from config import SamplingConfig

GREEDY_BELOW = 1e-5  # a temperature this low would only overflow


def sample(
    logits: Tensor,
    sampling: SamplingConfig,
    generators: Sequence[torch.Generator],
    seen: Tensor | None = None,
) -> Tensor:
    """Chooses a token for each row.

    Args:
        logits: (batch, vocab), of any float type.
        sampling: how to choose.
        generators: one CPU generator a row; not used when the temperature is 0.
        seen: (batch, vocab) of bool, the tokens of prompt and text; needed for a repetition
            penalty.

    Returns:
        Token ids (batch,).
    """
    logits = logits.float()
    if seen is not None and sampling.repetition_penalty != 1:
        logits = penalise_repetition(logits, seen, sampling.repetition_penalty)
    if sampling.temperature < GREEDY_BELOW:
        return logits.argmax(dim=-1)
    return draw(filter_logits(logits, sampling).softmax(dim=-1), generators)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Moves the logits of seen tokens down: negative ones times, others through the penalty (CTRL,
    arXiv 1909.05858)."""
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, penalised, logits)


def filter_logits(logits: Tensor, sampling: SamplingConfig) -> Tensor:
    """Temperature, then -inf for each token that top-k, top-p or min-p leaves out."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p < 1:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p > 0:
        logits = keep_min_p(logits, sampling.min_p)
    return logits


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keeps the k highest logits of each row, and what equals the last of them."""
    last = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < last, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the fewest likeliest tokens that hold a share p of the probability (arXiv 1904.09751),
    one at least."""
    ascending, order = logits.sort(dim=-1)
    drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    drop[:, -1] = False
    return logits.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the tokens at least p times as likely as the likeliest (arXiv 2407.01082)."""
    probabilities = logits.softmax(dim=-1)
    too_rare = probabilities < p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(too_rare, -torch.inf)


def draw(probabilities: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One token a row (batch,), by inverting the cumulative distribution at a uniform number from
    the row's generator.

    One number a row, drawn on the CPU: `torch.multinomial` would need a call a row to keep rows
    apart.
    """
    cumulative = probabilities.double().cumsum(dim=-1)  # double: float32 sums lose rare tokens
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    points = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, points, right=True)[:, 0]


def make_generators(seed: int | None, count: int) -> list[torch.Generator]:
    """Generators for `count` rows: row i has the seed seed + i; None: a seed from the system."""
    first = torch.Generator().seed() if seed is None else seed
    return [torch.Generator().manual_seed((first + row) % 2**63) for row in range(count)]
