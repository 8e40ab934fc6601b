"""The engine on a network of every family: together, from the cache and continued as alone, to the
bit, in float32 and with rounded weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config import QuantizeName, SamplingConfig
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.engine import Engine
from tests.model.families import SHAPES, make

pytestmark = [pytest.mark.usefixtures("compiled"), pytest.mark.promise("R16")]
LONG = [40, 41, 42] * 20
PROMPTS = [[5], [7, 8, 9, 10, 11, 12, 13], LONG, [300, 20, 1], [*LONG, 9]]
"""Longer than Mistral's window of 8, and the third and the last begin alike."""
CASES = [*((family, 0) for family in SHAPES), ("qwen3_moe", 3), ("qwen3_moe", 4)]


def finish(engine: Engine, *requests: GenerationRequest) -> list[GenerationOutput]:
    """Outputs of requests that are answered side by side."""
    outputs = [engine.submit(request) for request in requests]
    while engine.busy:
        engine.step()
    return outputs


def request(prompt: list[int], seed: int) -> GenerationRequest:
    """A greedy one, or for an odd seed a sampled one, with log-probabilities."""
    sampling = SamplingConfig(temperature=seed % 2, max_tokens=24, seed=seed)
    return GenerationRequest(prompt, sampling, (), top_logprobs=2)


@pytest.mark.parametrize("quantize", ["none", "int8", "int4"])
@pytest.mark.parametrize(("family", "number"), CASES)
def test_together_cached_and_continued_is_as_alone(
    family: str, number: int, quantize: QuantizeName
) -> None:
    model = make(SHAPES[family][number])
    requests = [request(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
    alone = [finish(Engine(model, quantize=quantize), each)[0] for each in requests]
    assert len({token for output in alone for token in output.ids}) > 20  # else little is compared
    shared = Engine(model, slots=3, quantize=quantize)
    for _ in range(2):  # the second time, all of each prompt may be in the cache
        together = finish(shared, *requests, *requests[::-1])
        assert [one.tokens for one in together] == [one.tokens for one in [*alone, *alone[::-1]]]
    assert any(output.cached_tokens for output in together)

    for each, output in zip(requests, alone, strict=True):
        drafted = Engine(model, quantize=quantize)  # greedy ones alone are drafted
        assert finish(drafted, replace(each, top_logprobs=None))[0].ids == output.ids
        longer = request([*each.prompt, *output.ids, 17], seed=8)
        (cached,) = finish(drafted, longer)
        (computed,) = finish(Engine(model, quantize=quantize), longer)
        assert cached.tokens == computed.tokens
        assert cached.cached_tokens > computed.cached_tokens == 0
