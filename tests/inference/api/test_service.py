"""A service answers many at once, and takes no more than it has room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from config import ModelConfig, SamplingConfig, UserError
from inference.api.errors import ApiError
from inference.api.service import Call, OutputDelta, Service
from inference.engine.answers import GenerationRequest
from inference.engine.loading import LoadedModel
from inference.settings import ServeConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import offline, tiny_model


@pytest.fixture
def model(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> LoadedModel:
    return tiny_model(tokenizer, model_config, slots=2, context=2_000)


@asynccontextmanager
async def started(model: LoadedModel, max_queue: int = 8) -> AsyncIterator[Service]:
    service = Service(ServeConfig(max_queue=max_queue), model)
    service.start()
    yield service
    service.close()


async def collect(call: Call) -> dict[int, list[OutputDelta]]:
    found: dict[int, list[OutputDelta]] = {}
    while not call.ended:
        for delta in await call.deltas():
            found.setdefault(delta.index, []).append(delta)
    return found


def endings(deltas: list[OutputDelta]) -> list[str | None]:
    """What ended an answer, by delta; None while it goes on."""
    results = [delta.result for delta in deltas]
    return [(r.cut_by or r.finish_reason) if r else None for r in results]


def ask(seed: int, max_tokens: int = 20) -> GenerationRequest:
    return GenerationRequest([5, 6, seed], SamplingConfig(seed=seed, max_tokens=max_tokens), ())


def test_answers_of_a_call_are_those_of_an_engine_alone(model: LoadedModel) -> None:
    requests = [ask(seed) for seed in range(5)]

    async def use() -> dict[int, list[OutputDelta]]:
        async with started(model) as service:
            return await collect(service.submit(requests, 30))

    answers = asyncio.run(use())
    for index, request in enumerate(requests):
        expected = offline(model, request)
        assert "".join(delta.text for delta in answers[index]) == expected.text
        assert [t.id for delta in answers[index] for t in delta.tokens] == expected.ids
        assert endings(answers[index])[-1] == "max_tokens"


def test_room_is_counted_in_answers_and_given_back(model: LoadedModel) -> None:
    async def use() -> None:
        async with started(model, max_queue=1) as service:
            with service.admit(2):
                with pytest.raises(ApiError) as refused, service.admit(2):
                    pass
                assert int(refused.value.headers["Retry-After"]) >= 1
                with service.admit(1):
                    pass
            with service.admit(3):
                pass

    asyncio.run(use())


def test_what_has_waited_too_long_ends_without_a_token(model: LoadedModel) -> None:
    async def use() -> tuple[dict[int, list[OutputDelta]], dict[int, list[OutputDelta]]]:
        async with started(model) as service:
            running = service.submit([ask(1, 600), ask(2, 600)], 30)
            late = service.submit([ask(3)], 0.05)
            return await collect(running), await collect(late)

    running, late = asyncio.run(use())
    assert endings(late[0]) == ["time"]
    assert not late[0][0].tokens
    assert {endings(deltas)[-1] for deltas in running.values()} == {"max_tokens"}


def test_a_prompt_without_room_is_refused_before_anything_is_answered(model: LoadedModel) -> None:
    async def use() -> None:
        async with started(model) as service:
            with pytest.raises(UserError, match="context length is 2000"):
                service.submit([ask(1), GenerationRequest([5] * 2_000, SamplingConfig(), ())], 30)
            assert not service.waiting

    asyncio.run(use())


def test_nobody_is_left_waiting_when_the_service_ends(model: LoadedModel) -> None:
    async def use() -> list[OutputDelta]:
        service = Service(ServeConfig(max_queue=8), model)
        service.start()
        call = service.submit([ask(seed, 1_900) for seed in range(4)], 30)
        service.close()
        with pytest.raises(ApiError, match="ending"):
            service.submit([ask(1)], 30)
        return [deltas[-1] for deltas in (await collect(call)).values()]

    assert endings(asyncio.run(use())) == ["shutdown"] * 4
