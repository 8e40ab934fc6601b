"""The sampler chooses as transformers' logits processors do."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from config import SamplingConfig
from inference.engine.sampler import (
    candidates,
    make_generator,
    penalise_counts,
    penalise_repetition,
    sample,
)

PLAIN = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)


def random_logits(batch: int = 5, vocab: int = 97) -> Tensor:
    return 4 * torch.randn(batch, vocab, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [*itertools.product((0.3, 1.7), (0, 1, 20, 5000), (0.0, 0.5, 0.95, 1.0), (0.0, 0.1, 1.0))],
)
def test_filters_equal_those_of_transformers(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = random_logits()
    theirs = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k > 0:
        theirs.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        theirs.append(TopPLogitsWarper(top_p))
    if min_p > 0:
        theirs.append(MinPLogitsWarper(min_p))
    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    expected = theirs(torch.LongTensor(5, 1), logits)
    ids, values = candidates(logits, sampling)
    left = torch.full_like(logits, -torch.inf).scatter(1, ids, values)
    assert torch.equal(left, expected)
    if top_k in (0, 5000) and top_p == 1 and min_p == 0:  # all are left: not worth a sort
        assert torch.equal(ids, torch.arange(logits.shape[-1]).expand_as(ids))
    else:
        assert torch.equal(values, values.sort(dim=-1, descending=True).values)


@pytest.mark.parametrize("penalty", [0.7, 1.3, 2.0])
def test_repetition_penalty_equals_that_of_transformers(penalty: float) -> None:
    logits = random_logits()
    ids = torch.randint(97, (5, 30), generator=torch.Generator().manual_seed(4))
    seen = torch.zeros(5, 97, dtype=torch.bool).scatter(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
    assert torch.equal(penalise_repetition(logits, seen, penalty), expected)


def test_presence_and_frequency_penalties_are_those_of_openai() -> None:
    logits, counts = torch.zeros(1, 3), torch.tensor([[0, 1, 3]])
    sampling = SamplingConfig(presence_penalty=0.5, frequency_penalty=0.25)
    assert penalise_counts(logits, counts, sampling).tolist() == [[0.0, -0.75, -1.25]]
    greedy = replace(sampling, temperature=0.0)
    tilted = torch.tensor([[0.0, 0.7, 1.2]])
    assert sample(tilted, greedy, [make_generator(1)], counts=counts).item() == 0


def test_equal_logits_at_the_edge_of_top_k_all_stay() -> None:
    ids, values = candidates(torch.tensor([[1.0, 2.0, 1.0, 0.0, 1.0]]), replace(PLAIN, top_k=2))
    assert ids.tolist() == [[1, 0, 2, 4]]
    assert values.tolist() == [[2.0, 1.0, 1.0, 1.0]]


def test_temperature_zero_is_the_likeliest_token() -> None:
    logits = random_logits()
    chosen = sample(
        logits, replace(PLAIN, temperature=0.0), [make_generator(1 + row) for row in range(5)]
    )
    assert torch.equal(chosen, logits.argmax(-1))


def test_greedy_heeds_the_repetition_penalty() -> None:
    logits, seen = torch.tensor([[3.0, 2.0, -1.0]]), torch.tensor([[True, False, False]])
    greedy = replace(PLAIN, temperature=0.0, repetition_penalty=2.0)
    assert sample(logits, greedy, [make_generator(1)], seen).item() == 1


def test_tiny_temperature_does_not_overflow() -> None:
    logits = random_logits()
    for temperature in (1e-40, 1e-6, 1e-4):
        chosen = sample(
            logits,
            replace(PLAIN, temperature=temperature),
            [make_generator(1 + row) for row in range(5)],
        )
        assert torch.equal(chosen, logits.argmax(-1))


def test_draws_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3])
    logits = probabilities.log().expand(20_000, 4)
    generators = [make_generator(5)] * 20_000  # one stream of numbers
    counts = torch.bincount(sample(logits, PLAIN, generators), minlength=4) / 20_000
    assert counts[1] == 0
    assert torch.allclose(counts, probabilities, atol=0.02)


def test_a_row_is_drawn_alike_alone_and_in_a_batch() -> None:
    logits = random_logits()
    together = sample(logits, PLAIN, [make_generator(9 + row) for row in range(5)])
    alone = [
        sample(logits[row : row + 1], PLAIN, [make_generator(9 + row)]).item() for row in range(5)
    ]
    assert together.tolist() == alone


def test_without_a_seed_draws_differ() -> None:
    logits = torch.zeros(1, 100_000)
    first, second = (sample(logits, PLAIN, [make_generator(None)]).item() for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 1.1},
        {"min_p": -0.5},
        {"repetition_penalty": 0.0},
        {"max_tokens": 0},
        {"seed": -1},
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, float]) -> None:
    (problem,) = replace(SamplingConfig(), **wrong).problems()  # type: ignore[arg-type]
    (name, value) = next(iter(wrong.items()))
    assert problem.startswith(f"{name} is {value}: use ")
