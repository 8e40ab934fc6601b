"""Choosing the next token.

Pure functions on logits (batch, vocab), with the meaning and the order of transformers' logits
processors: repetition penalty, (OpenAI's presence and frequency penalties,) temperature, top-k,
top-p, min-p. Chance comes in as one generator a row, so a row's text depends neither on the rows
beside it nor on the device.
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
    counts: Tensor | None = None,
) -> Tensor:
    """Chooses a token for each row.

    Args:
        logits: (batch, vocab), of any float type.
        sampling: how to choose.
        generators: one CPU generator a row; not used when the temperature is 0.
        seen: (batch, vocab) of bool, the tokens of prompt and text; needed for a repetition
            penalty.
        counts: (batch, vocab), how often each token is in the text; needed for a presence or
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
    """Moves the logits of seen tokens down: negative ones times, others through the penalty (CTRL,
    arXiv 1909.05858)."""
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, penalised, logits)


def penalise_counts(logits: Tensor, counts: Tensor, sampling: SamplingConfig) -> Tensor:
    """Moves the logits of tokens that are in the text down: by the presence penalty once, and by
    the frequency penalty each time (OpenAI's API reference, `frequency_penalty`)."""
    present = (counts > 0).to(logits.dtype)
    return logits - sampling.presence_penalty * present - sampling.frequency_penalty * counts


def candidates(logits: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """The tokens that temperature, top-k, top-p and min-p leave, likeliest first.

    Returns:
        Ids and logits, both (batch, candidates); -inf for one that is left out.
    """
    logits = logits / sampling.temperature
    width = logits.shape[-1]
    if 0 < sampling.top_k < width:
        last = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < last, -torch.inf)
        width = int((logits >= last).sum(dim=-1).amax())  # more than top_k where some are equal
    ids = logits.topk(width, sorted=False).indices.sort(dim=-1).values
    # Equal logits come in the order of their ids, so that chance alone decides between them.
    values, order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(1, order)
    if sampling.top_p < 1:
        values = keep_top_p(values, sampling.top_p)
    if sampling.min_p > 0:
        values = keep_min_p(values, sampling.min_p)
    return ids, values


def keep_top_p(descending: Tensor, p: float) -> Tensor:
    """Keeps the fewest likeliest tokens that hold a share p of the probability (arXiv 1904.09751),
    one at least; logits come and go in falling order."""
    ascending = descending.flip(-1)
    drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    drop[:, -1] = False
    return descending.masked_fill(drop.flip(-1), -torch.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the tokens at least p times as likely as the likeliest (arXiv 2407.01082)."""
    probabilities = logits.softmax(dim=-1)
    too_rare = probabilities < p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(too_rare, -torch.inf)


def draw(ids: Tensor, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One of the ids a row (batch,), by inverting the cumulative distribution at a uniform number
    from the row's generator.

    One number a row, drawn on the CPU: `torch.multinomial` would need a call a row to keep rows
    apart.
    """
    cumulative = logits.softmax(dim=-1).double().cumsum(dim=-1)  # float32 sums lose rare tokens
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    points = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    places = torch.searchsorted(cumulative, points, right=True)
    return ids.gather(1, places.clamp(max=ids.shape[1] - 1))[:, 0]


def make_generators(seed: int | None, count: int) -> list[torch.Generator]:
    """Generators for `count` rows: row i has the seed seed + i; None: a seed from the system."""
    first = torch.Generator().seed() if seed is None else seed
    return [torch.Generator().manual_seed((first + row) % 2**63) for row in range(count)]
