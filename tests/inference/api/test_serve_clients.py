"""What clients send, in the forms that their versions of 2026 have (each was run against the
server): a conversation of five turns goes through, and what the server cannot do is refused by
name. The official Python client is tested itself, in test_serve_openai.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import NAME, Server, running, tiny_model

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
Body = dict[str, Any]
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    with running(tiny_model(tokenizer, model_config)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def plain(answer: Answer) -> Answer:
    """An answer as most clients send it back."""
    return {"role": "assistant", "content": answer["content"]}


def dumped(answer: Answer) -> Answer:
    """An answer as the Python client's objects are written, with all their fields."""
    nothing = dict.fromkeys(("annotations", "audio", "function_call", "tool_calls"))
    return {**answer, **nothing}


def of_litellm(answer: Answer) -> Answer:
    """An answer as litellm's objects are written."""
    nothing = dict.fromkeys(("tool_calls", "function_call", "provider_specific_fields"))
    return {**plain(answer), **nothing, "refusal": None}


def of_node(answer: Answer) -> Answer:
    """An answer as the stream of the Node client has it."""
    return {**answer, "parsed": None}


def in_parts(answer: Answer) -> Answer:
    """An answer as a list of parts."""
    return {"role": "assistant", "content": [{"type": "text", "text": answer["content"]}]}


def user(text: str) -> Body:
    return {"role": "user", "content": text}


def user_parts(text: str) -> Body:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


SYSTEM: Body = {"role": "system", "content": "Be kind."}
USAGE = {"stream_options": {"include_usage": True}}
Client = tuple[list[Body], Callable[[str], Body], Callable[[Answer], Answer], Body, Body]
CLIENTS: dict[str, Client] = {
    # the first messages, a question, an answer as it is sent back, fields, fields of a stream
    "openai (Python)": ([SYSTEM], user, dumped, {"max_tokens": 8}, USAGE),
    "openai (Node)": ([SYSTEM], user, of_node, {"max_tokens": 8}, {}),
    "llm": ([SYSTEM], user, plain, {"stream": False}, USAGE),
    "litellm": ([SYSTEM], user, of_litellm, {"temperature": 0.3, "seed": 1, "n": 1}, USAGE),
    "langchain-openai": (
        [SYSTEM],
        user,
        plain,
        {"max_completion_tokens": 8, "stream": False},
        USAGE,
    ),
    "llama-index": ([SYSTEM], user, plain, {"temperature": 0.1, "stream": False}, {}),
    "aisuite": ([SYSTEM], user, dumped, {"temperature": 0.75}, {}),
    "pydantic-ai": (
        [SYSTEM, {"role": "system", "content": "Be brief."}],
        user,
        plain,
        {"stream": False, "max_completion_tokens": 8},
        USAGE,
    ),
    "openai-agents": ([SYSTEM], user, plain, {"store": False}, {}),
    "smolagents": ([], user_parts, in_parts, {"stop": ["Observation:", "</code>"]}, USAGE),
    "ai-sdk": ([SYSTEM], user, plain, {"temperature": 1, "stop": ["zz"], "seed": 3}, USAGE),
    "instructor": ([SYSTEM], user, plain, {"max_tokens": 8}, {}),
    "open-webui": ([SYSTEM], user, plain, {"stream": False, "max_completion_tokens": 1000}, USAGE),
}


def whole(client: httpx.Client, body: Body) -> Answer:
    """The message of a whole answer."""
    reply = client.post(CHAT, json=body)
    assert reply.status_code == 200, reply.text
    answer: Answer = reply.json()["choices"][0]["message"]
    return answer


def streamed(client: httpx.Client, body: Body) -> Answer:
    """The message of a stream, put together."""
    reply = client.post(CHAT, json={**body, "stream": True})
    assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    content = "".join(delta.get("content", "") for delta in deltas)
    return {"role": deltas[0]["role"], "content": content, "refusal": None}


@pytest.mark.parametrize("form", CLIENTS.values(), ids=CLIENTS)
def test_five_turns_of_a_client(client: httpx.Client, form: Client) -> None:
    messages, ask, send_back, fields, stream_fields = form
    messages = list(messages)
    for number in range(5):
        messages.append(ask(f"Hello {number}"))
        body = {"model": NAME, "messages": messages, "max_tokens": 8, **fields}
        is_stream = number % 2 == 1
        answer = streamed(client, {**body, **stream_fields}) if is_stream else whole(client, body)
        messages.append(send_back(answer))


TEXTS: dict[str, Body] = {
    "langchain-openai": {
        **{"prompt": [f"Once {n}" for n in range(20)], "frequency_penalty": 0, "logprobs": None},
        **{"n": 1, "presence_penalty": 0, "seed": None, "temperature": 0.7, "top_p": 1},
    },
    "best of the answers, all of them": {"prompt": ["Once"], "n": 2, "best_of": 2},
    "lm-eval": {"prompt": ["Once"], "temperature": 0.0, "stop": ["\n\n"], "seed": 1234},
    "lm-eval, token ids": {"prompt": [[5, 6, 7]], "temperature": 0, "stop": [], "seed": 1234},
}


@pytest.mark.parametrize("fields", TEXTS.values(), ids=TEXTS)
def test_texts_of_a_client(client: httpx.Client, fields: Body) -> None:
    reply = client.post(TEXT, json={"model": NAME, "max_tokens": 4, **fields})
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["choices"]) == len(fields["prompt"]) * fields.get("n", 1)


def test_lm_eval_begins_the_answer(client: httpx.Client) -> None:
    messages = [user("What is 2 + 2?"), {"role": "assistant", "content": "The answer is"}]
    fields = {"max_tokens": 8, "temperature": 0.0, "stop": ["\n\n"], "seed": 1234}
    assert whole(client, {"model": NAME, "messages": messages, **fields})["content"]


CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "The weather", "parameters": CITY}
STRICT = {**FUNCTION, "strict": True, "parameters": {**CITY, "additionalProperties": False}}
TOOL = [{"type": "function", "function": FUNCTION}]
NAMED = {"type": "function", "function": {"name": "weather"}}
CALLING: dict[str, Body] = {
    "langchain-openai": {"tools": TOOL, "tool_choice": "required", "stream": False},
    "langchain-openai, strict": {
        **{"tools": [{"type": "function", "function": STRICT}], "tool_choice": NAMED},
        "parallel_tool_calls": False,
    },
    "pydantic-ai": {
        **{"tools": [{"type": "function", "function": STRICT}], "tool_choice": "required"},
        **{"parallel_tool_calls": False, "stream": False},
    },
    "openai-agents": {"tools": TOOL, "tool_choice": "required", "store": False},
    "ai-sdk": {"tools": TOOL, "tool_choice": NAMED},
}


@pytest.mark.parametrize("fields", CALLING.values(), ids=CALLING)
def test_calls_of_a_client_and_their_results(client: httpx.Client, fields: Body) -> None:
    messages: list[Body] = [user("What is the weather?")]
    body = {"model": NAME, "messages": messages, "max_tokens": 200, **fields}
    answer = whole(client, body)
    (call, *more) = answer["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in ("Paris", "Rome")
    results = [
        {"role": "tool", "tool_call_id": one["id"], "content": "sunny"} for one in (call, *more)
    ]
    again = [*messages, {**answer, "refusal": None}, *results]
    whole(client, {**body, "messages": again, "tool_choice": "none", "max_tokens": 8})


RESPONDING: dict[str, Body] = {
    "openai-agents": {
        **{"include": [], "input": [user("Hello")], "instructions": "Be kind", "store": False},
        **{"tools": [{"type": "function", **STRICT}], "tool_choice": "required", "stream": False},
    },
    "langchain-openai": {
        "input": [{**user("Hello"), "type": "message"}],
        **{"tools": [{"type": "function", **FUNCTION}], "stream": False},
        "tool_choice": {"type": "function", "name": "weather"},
    },
    "ai-sdk": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        **{"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
    },
}


@pytest.mark.parametrize("fields", RESPONDING.values(), ids=RESPONDING)
def test_calls_of_a_client_by_the_responses_api(client: httpx.Client, fields: Body) -> None:
    body = {"model": NAME, "max_output_tokens": 200, **fields}
    made = client.post("/v1/responses", json=body).json()["output"]
    calls = [item for item in made if item["type"] == "function_call"]
    assert calls
    assert json.loads(calls[0]["arguments"])["city"] in ("Paris", "Rome")
    results = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        for call in calls
    ]
    again = {**body, "input": [*fields["input"], *made, *results], "tool_choice": "none"}
    reply = client.post("/v1/responses", json={**again, "max_output_tokens": 8})
    assert reply.status_code == 200, reply.text


def test_embeddings_of_token_ids_in_base64(client: httpx.Client) -> None:
    fields = {"model": NAME, "input": [[5, 6], [7]], "encoding_format": "base64"}
    reply = client.post("/v1/embeddings", json=fields)
    assert [type(one["embedding"]) for one in reply.json()["data"]] == [str, str]
    reply = client.post("/v1/embeddings", json={**fields, "input": [[99_999]]})
    assert "or send texts" in reply.json()["error"]["message"]


REFUSED: dict[str, tuple[str, Body, str | None]] = {
    "the second of a chain of responses": (
        "/v1/responses",
        {"input": "Hello", "previous_response_id": "resp_1"},
        "previous_response_id",
    ),
}


@pytest.mark.parametrize(("path", "fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_a_client_cannot_have_is_named(
    client: httpx.Client, path: str, fields: Body, param: str | None
) -> None:
    messages = {"messages": [user("Hello")]} if path == CHAT else {}
    reply = client.post(path, json={"model": NAME, **messages, **fields})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400 if param else 404, param)
    remedies = {None: "/v1/chat/completions", "previous_response_id": "send all of it"}
    assert remedies.get(param, "leave it out") in error["message"]


def test_open_webui_finds_the_model(client: httpx.Client) -> None:
    for path in ("/v1/models", "/v1//models"):
        (model,) = client.get(path, headers={"Authorization": "Bearer -"}).json()["data"]
        assert model["id"] == NAME


def test_litellm_knows_that_a_conversation_is_too_long(client: httpx.Client) -> None:
    reply = client.post(CHAT, json={"messages": [user("Hello there! " * 600)]})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "context_length_exceeded")
    # It looks for these words of OpenAI's.
    assert "this model's maximum context length is 512 tokens" in error["message"]
