"""A service answers many at once, and takes no more than it has room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config import ModelConfig, SamplingConfig, UserError
from inference.api.calls import Call, ClosedError, OverloadedError, Update
from inference.api.metrics import Histogram, counter
from inference.api.service import Service
from inference.engine.answers import Request
from inference.engine.loading import LoadedModel
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import offline, tiny_model


@pytest.fixture
def model(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> LoadedModel:
    return tiny_model(tokenizer, model_config, slots=2, context=2_000)


@asynccontextmanager
async def started(model: LoadedModel, max_queue: int = 8) -> AsyncIterator[Service]:
    service = Service(model.engine, max_queue)
    service.start()
    yield service
    service.close()


async def collect(call: Call) -> dict[int, list[Update]]:
    found: dict[int, list[Update]] = {}
    while not call.ended:
        for update in await call.updates():
            found.setdefault(update.index, []).append(update)
    return found


def ask(seed: int, max_tokens: int = 20) -> Request:
    return Request([5, 6, seed], SamplingConfig(seed=seed, max_tokens=max_tokens), ())


def test_answers_of_a_call_are_those_of_an_engine_alone(model: LoadedModel) -> None:
    requests = [ask(seed) for seed in range(5)]

    async def use() -> dict[int, list[Update]]:
        async with started(model) as service:
            return await collect(service.submit(requests, 30))

    answers = asyncio.run(use())
    for index, request in enumerate(requests):
        expected = offline(model, request)
        assert "".join(update.text for update in answers[index]) == expected.text
        assert [t.id for update in answers[index] for t in update.tokens] == expected.ids
        assert [update.ending for update in answers[index]][-1] == "max_tokens"


def test_room_is_counted_in_answers_and_given_back(model: LoadedModel) -> None:
    async def use() -> None:
        async with started(model, max_queue=1) as service:
            with service.admit(2):
                with pytest.raises(OverloadedError) as refused, service.admit(2):
                    pass
                assert refused.value.seconds >= 1
                with service.admit(1):
                    pass
            with service.admit(3):
                pass

    asyncio.run(use())


def test_what_has_waited_too_long_ends_without_a_token(model: LoadedModel) -> None:
    async def use() -> tuple[dict[int, list[Update]], dict[int, list[Update]]]:
        async with started(model) as service:
            running = service.submit([ask(1, 600), ask(2, 600)], 30)
            late = service.submit([ask(3)], 0.05)
            return await collect(running), await collect(late)

    running, late = asyncio.run(use())
    assert [update.ending for update in late[0]] == ["time"]
    assert not late[0][0].tokens
    assert {updates[-1].ending for updates in running.values()} == {"max_tokens"}


def test_a_prompt_without_room_is_refused_before_anything_is_answered(model: LoadedModel) -> None:
    async def use() -> None:
        async with started(model) as service:
            with pytest.raises(UserError, match="context is 2000"):
                service.submit([ask(1), Request([5] * 2_000, SamplingConfig(), ())], 30)
            assert not service.waiting

    asyncio.run(use())


def test_nobody_is_left_waiting_when_the_service_ends(model: LoadedModel) -> None:
    async def use() -> list[Update]:
        service = Service(model.engine, 8)
        service.start()
        call = service.submit([ask(seed, 1_900) for seed in range(4)], 30)
        service.close()
        with pytest.raises(ClosedError):
            service.submit([ask(1)], 30)
        return [updates[-1] for updates in (await collect(call)).values()]

    assert [update.ending for update in asyncio.run(use())] == ["shutdown"] * 4


def test_a_histogram_counts_what_is_below_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.add(value)
    assert histogram.lines("x", "Text.")[2:] == [
        'x_bucket{le="0.1"} 2',
        'x_bucket{le="1.0"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 7.650000",
        "x_count 4",
    ]


def test_labels_cannot_break_out_of_their_quotes() -> None:
    (line,) = counter("x", "Text.", ("a",), {('q"\\\n',): 1})[2:]
    assert line == 'x{a="q\\"\\\\\\n"} 1'
