"""Answers of a given form, the likelihood of given texts, tokens and vectors of texts: by the
official client, against the network itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch
from openai import LengthFinishReasonError
from pydantic import BaseModel

from model.chat import render_prompt
from tests.inference.http_server import Server

USER = [{"role": "user", "content": "Who are you?"}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("max_tokens", [24, 60])
def test_json_of_a_schema(client: Any, stream: bool, max_tokens: int) -> None:
    schema = {"name": "person", "schema": PERSON, "strict": True}
    wanted: dict[str, Any] = {"type": "json_schema", "json_schema": schema}
    for seed in range(5):
        reply = client.chat.completions.create(
            model="",
            messages=USER,
            response_format=wanted,
            max_tokens=max_tokens,
            temperature=1.5,
            seed=seed,
            stream=stream,
        )
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in reply)
        else:
            text = reply.choices[0].message.content
        value = json.loads(text)
        assert set(value) == {"name", "age"}
        assert isinstance(value["name"], str)
        assert isinstance(value["age"], int)


def test_a_json_object_and_one_of_a_text(client: Any) -> None:
    chat = client.chat.completions.create(
        model="", messages=USER, response_format={"type": "json_object"}, max_tokens=30, n=3
    )
    for choice in chat.choices:
        assert isinstance(json.loads(choice.message.content), dict)
    text = client.completions.create(
        model="", prompt="Once", extra_body={"response_format": {"type": "json_object"}}
    )
    assert isinstance(json.loads(text.choices[0].text), dict)


def test_json_that_was_begun_is_continued(http: httpx.Client) -> None:
    begun = '{"name": "An'
    form = {"type": "json_schema", "json_schema": {"schema": PERSON}}
    asked: dict[str, Any] = {"response_format": form, "temperature": 1.5, "max_tokens": 60}

    def ask(begun: str) -> httpx.Response:
        messages = [*USER, {"role": "assistant", "content": begun}]
        return http.post("/v1/chat/completions", json={**asked, "messages": messages})

    value = json.loads(begun + ask(begun).json()["choices"][0]["message"]["content"])
    assert set(value) == {"name", "age"}
    assert value["name"].startswith("An")
    refused = ask('{"age": "old"')
    assert refused.status_code == 400
    assert "cannot be gone on with" in refused.json()["error"]["message"]


def test_the_client_parses_an_answer_into_a_class(client: Any) -> None:
    class Answer(BaseModel):
        ready: bool

    reply = client.chat.completions.parse(model="", messages=USER, response_format=Answer)
    assert isinstance(reply.choices[0].message.parsed, Answer)

    class Long(BaseModel):
        text: str

    with pytest.raises(LengthFinishReasonError):
        client.chat.completions.parse(
            model="",
            messages=USER,
            response_format=Long,
            max_tokens=12,
            temperature=1.5,
            seed=1,
            extra_body={"top_k": 0, "top_p": 1},
        )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("with_ids", [False, True])
def test_echo_gives_the_likelihood_of_a_text(
    server: Server, client: Any, stream: bool, with_ids: bool
) -> None:
    model, text = server.service.model, "The capital of France is 巴黎。"
    ids = model.tokenizer.encode(text)
    shown = model.render_text(text)
    reply = client.completions.create(
        model="",
        prompt=[shown] if with_ids else text,
        echo=True,
        max_tokens=1,
        logprobs=2,
        temperature=0,
        stream=stream,
    )
    choices = [chunk.choices[0] for chunk in reply] if stream else [reply.choices[0]]
    whole = "".join(choice.text for choice in choices)
    assert whole.startswith(text)
    parts = [choice.logprobs for choice in choices if choice.logprobs]
    values = [value for part in parts for value in part.token_logprobs]
    names = [name for part in parts for name in part.tokens]
    tops = [top for part in parts for top in part.top_logprobs]
    offsets = [offset for part in parts for offset in part.text_offset]
    with torch.no_grad():
        scores = model.engine.model(torch.tensor([shown]))[0].log_softmax(-1)  # (ids, vocab)
    expected = [float(scores[place, token]) for place, token in enumerate(ids)]
    if with_ids:
        assert (names[0], values[0], tops[0], offsets[0]) == ("<|endoftext|>", None, None, 0)
        names, values, tops, offsets = names[1:], values[1:], tops[1:], offsets[1:]
    assert values[:-1] == pytest.approx(expected, abs=1e-4)
    assert len(names) == len(ids) + 1
    for place, top in enumerate(tops[:-1]):
        assert max(top.values()) == pytest.approx(float(scores[place].max()), abs=1e-4)
    for name, offset in zip(names, offsets, strict=True):
        assert name.startswith("bytes:") or whole[offset:].startswith(name)


def test_echo_alone_and_for_several_texts(client: Any) -> None:
    reply = client.completions.create(
        model="", prompt=["Once", "Paris"], echo=True, max_tokens=0, n=2, logprobs=0
    )
    assert [choice.text for choice in reply.choices] == ["Once", "Once", "Paris", "Paris"]
    assert all(len(c.logprobs.tokens) == len(c.logprobs.top_logprobs) for c in reply.choices)
    reply = client.completions.create(model="", prompt="Once", echo=True, max_tokens=3)
    assert reply.choices[0].text.startswith("Once")
    assert reply.choices[0].logprobs is None


def test_tokens_and_back(server: Server, http: httpx.Client) -> None:
    model, text = server.service.model, "Hello, 世界 <|im_end|>!"
    reply = http.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
    assert reply["tokens"] == model.render_text(text)
    assert (reply["count"], reply["max_model_len"]) == (len(reply["tokens"]), 512)
    assert len(reply["token_strs"]) == reply["count"]
    plain = http.post("/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
    assert plain["tokens"] == reply["tokens"][1:]
    assert http.post("/detokenize", json={"tokens": plain["tokens"]}).json() == {"prompt": text}
    chat = http.post("/tokenize", json={"messages": USER}).json()
    messages: Any = USER
    assert chat["tokens"] == render_prompt(model.tokenizer, messages)
    assert http.post("/tokenize", json={"prompt": "", "model": ""}).json()["count"] == 1


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": USER}, "prompt"),
        ("/tokenize", {"messages": [{"role": "user", "content": " "}]}, "messages"),
        ("/tokenize", {"prompt": "a", "model": "other"}, "model"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": [[]]}, "input[0]"),
        ("/v1/embeddings", {"input": ["a"] * 100}, "input"),
        ("/v1/embeddings", {"input": "Hello there! " * 900}, "input"),
        ("/v1/embeddings", {"input": "a", "dimensions": 8}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    http: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    error = http.post(path, json=body)
    assert error.status_code in (400, 404)
    assert error.json()["error"]["param"] == param


def test_embeddings_are_the_mean_of_the_last_hidden_states(server: Server, client: Any) -> None:
    model, texts = server.service.model, ["Hello", "你好, 世界", "x"]
    for encoding in ("float", "base64"):
        reply = client.embeddings.create(model="", input=texts, encoding_format=encoding)
        for text, item in zip(texts, reply.data, strict=True):
            with torch.no_grad():
                hidden = model.engine.model.model(torch.tensor([model.render_text(text)]))[0]
            mean = hidden.mean(0)  # (ids, hidden) -> (hidden,)
            vector = item.embedding
            if isinstance(vector, str):
                import base64

                vector = torch.frombuffer(bytearray(base64.b64decode(vector)), dtype=torch.float32)
                vector = vector.tolist()
            assert vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
            assert math.isclose(sum(x * x for x in vector), 1, abs_tol=1e-4)
    tokens = sum(len(model.render_text(text)) for text in texts)
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (tokens, tokens)
    by_ids = client.embeddings.create(model="", input=model.render_text("Hello"))
    assert by_ids.data[0].embedding == pytest.approx(
        client.embeddings.create(model="", input="Hello").data[0].embedding
    )


def test_embeddings_beside_answers(server: Server, client: Any) -> None:
    alone = client.embeddings.create(model="", input="Hello").data[0].embedding
    with client.chat.completions.create(
        model="", messages=USER, stream=True, max_tokens=200
    ) as stream:
        next(iter(stream))
        assert client.embeddings.create(model="", input="Hello").data[0].embedding == alone
    assert server.idle(10)
