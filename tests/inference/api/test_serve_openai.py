"""The official openai client, unchanged, gets from the server what the engine says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai import OpenAI

from config import ModelConfig, SamplingConfig
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.loading import LoadedModel
from model.chat import render_prompt
from model.conversation import Message
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import NAME, Server, offline, running, sampled, tiny_model

USER: list[Message] = [{"role": "user", "content": "你好, who are you?"}]
CHAT: list[Message] = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "你叫什么名字？"},
    {"role": "assistant", "content": "My name is Etude."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    with running(tiny_model(tokenizer, model_config)) as server:
        yield server


def connect(address: str, key: str = "none") -> Any:
    """The official client; its overloads are not what is tested, so it is Any."""
    return OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with connect(server.address) as client:
        yield client


def chat_offline(
    model: LoadedModel,
    messages: list[Message],
    sampling: SamplingConfig,
    stop: tuple[str, ...] = (),
) -> GenerationOutput:
    prompt = render_prompt(model.tokenizer, messages)
    return offline(model, GenerationRequest(prompt, sampling, model.stop_ids, stop, top_logprobs=3))


@pytest.mark.parametrize("messages", [USER, CHAT], ids=["one turn", "several"])
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_chat_is_what_the_engine_says(
    server: Server, client: Any, messages: list[Message], temperature: float
) -> None:
    expected = chat_offline(server.service.model, messages, sampled(temperature=temperature))
    reply = client.chat.completions.create(
        model=NAME,
        messages=messages,
        temperature=temperature,
        seed=7,
        max_tokens=24,
    )
    assert reply.choices[0].message.content == expected.text
    assert reply.choices[0].finish_reason == expected.finish_reason
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len(expected.request.prompt)
    assert reply.usage.completion_tokens == len(expected.tokens)
    assert reply.model == NAME


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_stream_joined_is_the_whole_answer(client: Any, temperature: float) -> None:
    asked = {"model": NAME, "messages": CHAT, "temperature": temperature, "seed": 3, "n": 2}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(
        **asked,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts, endings = ["", ""], ["", ""]
    usage: Any = None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            endings[choice.index] += choice.finish_reason or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert endings == [choice.finish_reason for choice in whole.choices]
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.prompt_tokens == whole.usage.prompt_tokens


def test_n_answers_have_seeds_that_follow_each_other(client: Any) -> None:
    asked = {"model": NAME, "messages": USER, "temperature": 1.5, "max_tokens": 12}
    both = client.chat.completions.create(**asked, seed=5, n=2)
    second = client.chat.completions.create(**asked, seed=6)
    assert both.choices[0].message.content != both.choices[1].message.content
    assert both.choices[1].message.content == second.choices[0].message.content


def test_a_stop_text_ends_an_answer_and_is_not_in_it(server: Server, client: Any) -> None:
    sampling = sampled(temperature=1.0, max_tokens=40)
    text = chat_offline(server.service.model, USER, sampling).text
    stop = text[5:8]
    for given in (stop, [stop, "never"]):
        reply = client.chat.completions.create(
            model=NAME,
            messages=USER,
            temperature=1.0,
            seed=7,
            max_tokens=40,
            stop=given,
        )
        assert reply.choices[0].message.content == text[: text.index(stop)]
        assert reply.choices[0].finish_reason == "stop"


def test_log_probabilities_are_the_engines(server: Server, client: Any) -> None:
    expected = chat_offline(server.service.model, USER, sampled(temperature=0, max_tokens=9))
    asked = {"model": NAME, "messages": USER, "temperature": 0, "max_tokens": 9}
    asked |= {"logprobs": True, "top_logprobs": 3}
    reply = client.chat.completions.create(**asked)
    told = reply.choices[0].logprobs.content
    assert b"".join(bytes(t.bytes) for t in told).decode("utf-8", "replace") == expected.text
    assert len(told) == len(expected.tokens)
    for one, token in zip(told, expected.tokens, strict=True):
        assert one.logprob == pytest.approx(token.logprob, abs=1e-5)
        assert [other.logprob for other in one.top_logprobs] == pytest.approx(
            [value for _, value in token.alternatives], abs=1e-5
        )
    streamed = [
        told
        for chunk in client.chat.completions.create(**asked, stream=True)
        if chunk.choices[0].logprobs
        for told in chunk.choices[0].logprobs.content
    ]
    assert streamed == told


def test_penalties_and_filters_reach_the_sampler(server: Server, client: Any) -> None:
    plain: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    for name, value in (
        ("presence_penalty", 2.0),
        ("frequency_penalty", 2.0),
        ("top_p", 0.3),
        ("top_k", 2),
        ("min_p", 0.5),
        ("repetition_penalty", 3.0),
    ):
        settings = {**plain, name: value}
        expected = chat_offline(server.service.model, USER, sampled(max_tokens=30, **settings))
        usual = chat_offline(server.service.model, USER, sampled(max_tokens=30, **plain))
        reply = client.chat.completions.create(
            model=NAME,
            messages=USER,
            seed=7,
            max_completion_tokens=30,
            extra_body=settings,
        )
        assert reply.choices[0].message.content == expected.text, name
        assert expected.text != usual.text, name


def test_a_text_is_continued(server: Server, client: Any) -> None:
    model = server.service.model
    prompt = [model.tokenizer.end_of_text_id, *model.tokenizer.encode("Once upon")]
    expected = offline(
        model, GenerationRequest(prompt, sampled(max_tokens=16), model.stop_ids, (), 2)
    )
    reply = client.completions.create(model=NAME, prompt="Once upon", seed=7, logprobs=2)
    choice = reply.choices[0]
    assert choice.text == expected.text
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs == pytest.approx([t.logprob for t in expected.tokens])
    by_ids = client.completions.create(model=NAME, prompt=prompt, seed=7)
    assert by_ids.choices[0].text == expected.text
    stream = client.completions.create(model=NAME, prompt="Once upon", seed=7, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == expected.text


def test_several_texts_are_continued_in_their_order(client: Any) -> None:
    asked = {"model": NAME, "temperature": 0.0}
    both = client.completions.create(prompt=["Once", "法国"], n=2, **asked)
    for index, text in enumerate(("Once", "Once", "法国", "法国")):
        alone = client.completions.create(prompt=text, **asked)
        assert both.choices[index].text == alone.choices[0].text


def test_an_answer_says_what_cut_it(client: Any) -> None:
    asked = {"model": NAME, "messages": USER, "temperature": 1.5, "seed": 2}
    short = client.chat.completions.create(**asked, max_tokens=3)
    assert (short.choices[0].finish_reason, short.choices[0].cut_by) == ("length", "max_tokens")


def test_the_next_turn_of_a_chat_is_read_from_where_the_last_one_ended(client: Any) -> None:
    first = client.chat.completions.create(model=NAME, messages=USER, seed=1, max_tokens=8)
    answer = first.choices[0].message
    # What the client was given is sent back as it is.
    turns = [*USER, answer.model_dump(), {"role": "user", "content": "Why?"}]
    second = client.chat.completions.create(model=NAME, messages=turns, seed=1, max_tokens=8)
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert first.usage is not None
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1


def test_five_turns_with_and_without_a_stream(client: Any) -> None:
    asked = {"model": NAME, "max_tokens": 6}
    turns: list[Any] = [{"role": "developer", "content": "Be kind."}]
    for number in range(5):
        turns.append({"role": "user", "content": f"Hello {number}"})
        if number % 2:
            stream = client.chat.completions.create(**asked, messages=turns, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            turns.append({"role": "assistant", "content": text})
        else:
            answer = client.chat.completions.create(**asked, messages=turns).choices[0].message
            # As the object that it is, as people write it, and as an answer that was stopped.
            turns.append(
                [answer, answer.model_dump(), {"role": "assistant", "content": ""}][number // 2]
            )
    turns.append({"role": "user", "content": "Why?"})
    assert client.chat.completions.create(**asked, messages=turns).choices


def test_models_are_listed_with_what_the_page_needs(server: Server, client: Any) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.kind, model.context_length) == (NAME, "chat", 512)
    assert (model.tools, model.enable_thinking) == (True, False)
    assert client.models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_the_client_raises_its_own_errors(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt", messages=USER)
    assert (missing.value.param, missing.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(
            model=NAME,
            messages=USER,
            logit_bias={"5": 1},
        )
    assert (wrong.value.param, wrong.value.code) == ("logit_bias", "unsupported_parameter")


def test_a_key_is_asked_for(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> None:
    with running(tiny_model(tokenizer, model_config), key="right") as server:
        with (
            connect(server.address, "wrong") as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
        with connect(server.address, "right") as client:
            assert client.models.list().data
        with server.client() as plain:
            assert plain.get("/metrics").status_code == 401
            for path in ("/health", "/", "/chat.css", "/chat.js"):
                assert plain.get(path).status_code == 200


def test_a_pretrained_model_continues_texts_and_says_so(
    tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    model = replace(tiny_model(tokenizer, model_config), is_chat=False)
    with (
        running(model) as server,
        connect(server.address) as client,
    ):
        assert client.models.list().data[0].kind == "completion"
        assert client.completions.create(model=NAME, prompt="Once", seed=1).choices[0].text
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=NAME, messages=USER)
        assert refused.value.code == "model_not_chat"
