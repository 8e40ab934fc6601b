"""Conversations as clients send them, which are not always well formed, go on; and what asks for
more than there is gets what there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import CONFIG, Server, running, tiny_model

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MOST = 40
Turn = dict[str, Any]


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    config = replace(CONFIG, sampling=replace(CONFIG.sampling, max_tokens=MOST, temperature=0.0))
    with running(tiny_model(tokenizer, model_config, context=128), config) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def turn(role: str, content: Any, **fields: Any) -> Turn:
    return {"role": role, "content": content, **fields}


def ask(client: httpx.Client, messages: list[Turn], **fields: Any) -> Any:
    """The answer, and the number of tokens that were read: the same for the same prompt."""
    body = {"messages": messages, "max_tokens": 6, **fields}
    reply = client.post(CHAT, json=body)
    assert reply.status_code == 200, reply.text
    page = reply.json()
    return page["choices"], page["usage"]["prompt_tokens"]


KIND, HELLO, HI, WHY = (
    turn("system", "Be kind."),
    turn("user", "Hello"),
    turn("assistant", "Hi!"),
    turn("user", "Why?"),
)
PARTS = [
    {"type": "text", "text": "Hel"},
    {"type": "text", "text": None},
    {"type": "input_text", "text": "lo", "cache_control": {"type": "ephemeral"}},
]
NULLS = dict.fromkeys(("refusal", "audio", "function_call", "tool_calls", "annotations", "parsed"))
SENT: dict[str, tuple[list[Turn], list[Turn]]] = {
    "an empty answer": (
        [HELLO, turn("assistant", ""), WHY],
        [turn("user", "Hello\n\nWhy?")],
    ),
    "an answer that is null": (
        [HELLO, turn("assistant", None), WHY],
        [turn("user", "Hello\n\nWhy?")],
    ),
    "an answer without content": ([HELLO, {"role": "assistant"}], [HELLO]),
    "an answer of no parts": ([HELLO, turn("assistant", []), turn("user", " ")], [HELLO]),
    "user after user": ([KIND, HELLO, WHY], [KIND, turn("user", "Hello\n\nWhy?")]),
    "assistant after assistant": (
        [HELLO, HI, turn("assistant", "Well?"), WHY],
        [HELLO, turn("assistant", "Hi!\n\nWell?"), WHY],
    ),
    "system after system": (
        [turn("developer", "Be kind."), turn("system", "Be brief."), HELLO],
        [turn("system", "Be kind.\n\nBe brief."), HELLO],
    ),
    "an empty system turn": ([turn("system", ""), HELLO], [HELLO]),
    "system in the middle": (
        [KIND, HELLO, HI, turn("system", "Be brief."), WHY],
        [KIND, HELLO, HI, turn("user", "Be brief.\n\nWhy?")],
    ),
    "system at the end": (
        [HELLO, HI, turn("system", "Be brief.")],
        [HELLO, HI, turn("user", "Be brief.")],
    ),
    "parts": (
        [turn("user", PARTS), turn("assistant", [PARTS[0]]), WHY],
        [HELLO, turn("assistant", "Hel"), WHY],
    ),
    "an answer of this server": (
        [HELLO, {**HI, **NULLS}, WHY],
        [HELLO, HI, WHY],
    ),
    "an answer of another server": (
        [HELLO, {**HI, "tool_calls": [], "annotations": [{}], "reasoning_content": "Hm."}, WHY],
        [HELLO, HI, WHY],
    ),
    "a refusal of another server": (
        [HELLO, turn("assistant", None, refusal="No."), WHY],
        [HELLO, turn("assistant", "No."), WHY],
    ),
    "names": ([{**HELLO, "name": "anna"}], [HELLO]),
    "unknown fields that are null": ([{**HELLO, "tool_call_id": None, "id": None}], [HELLO]),
}


@pytest.mark.parametrize(("sent", "meant"), SENT.values(), ids=SENT)
def test_a_conversation_goes_on(client: httpx.Client, sent: list[Turn], meant: list[Turn]) -> None:
    assert ask(client, sent) == ask(client, meant)


@pytest.mark.parametrize(
    "messages", [[HI, WHY], [KIND, HI, WHY], [KIND], [turn("assistant", "Hi")]], ids=str
)
def test_a_conversation_may_begin_with_anyone(client: httpx.Client, messages: list[Turn]) -> None:
    choices, _ = ask(client, messages)
    assert choices[0]["message"]["content"]


def test_an_answer_that_was_begun_is_continued(client: httpx.Client) -> None:
    whole = ask(client, [HELLO], max_tokens=12)[0][0]["message"]["content"]
    assert ask(client, [HELLO])[0][0]["finish_reason"] == "length"
    begun = turn("assistant", "The answer")
    continued, tokens = ask(client, [HELLO, begun])
    assert tokens == ask(client, [HELLO])[1] + len(client_tokens(client, "The answer")), (
        "the turn was left open"
    )
    assert continued[0]["message"]["content"] not in ("", whole)
    for flags in (
        {"continue_final_message": True, "add_generation_prompt": False},
        {"continue_final_message": None},
    ):
        assert ask(client, [HELLO, begun], **flags) == (continued, tokens)
    assert ask(client, [HELLO, {**begun, "prefix": True}]) == (continued, tokens)
    thought = {**turn("assistant", ""), "reasoning_content": "I think"}
    message = ask(client, [HELLO, thought])[0][0]["message"]
    assert message["reasoning_content"], "the thought goes on"
    # Fields of vLLM's as they are by default.
    plain = {"continue_final_message": False, "add_generation_prompt": True}
    assert ask(client, [HELLO], **plain) == ask(client, [HELLO])


def client_tokens(client: httpx.Client, text: str) -> range:
    """As many as a text has tokens."""
    counts = [
        client.post(TEXT, json={"prompt": prompt, "max_tokens": 1}).json()["usage"]["prompt_tokens"]
        for prompt in ("", text)
    ]
    return range(counts[1] - counts[0])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("most", [MOST + 1, 32_768, 10**12, -1, None, 1e5])
def test_an_answer_is_as_long_as_it_can_be(
    client: httpx.Client, name: str, most: float | None
) -> None:
    asked = {"messages": [turn("user", "Once upon")], name: most, "logprobs": True}
    page = client.post(CHAT, json=asked).json()
    (choice,) = page["choices"]
    assert len(choice["logprobs"]["content"]) <= MOST
    same = client.post(CHAT, json={**asked, name: MOST}).json()
    assert page["choices"] == same["choices"]


def test_an_answer_that_fills_the_context_says_so(client: httpx.Client) -> None:
    asked = {"prompt": [5] * 110, "max_tokens": 32_768}
    choice = client.post(TEXT, json=asked).json()["choices"][0]
    assert (choice["finish_reason"], choice["cut_by"]) == ("length", "context")


def test_the_smaller_of_two_limits_holds(client: httpx.Client) -> None:
    for limits in ((2, 3), (3, 2), (2, -1), (None, 2)):
        asked = dict(zip(("max_tokens", "max_completion_tokens"), limits, strict=True))
        page = client.post(CHAT, json={"messages": [HELLO], **asked}).json()
        assert page["usage"]["completion_tokens"] == 2


def test_as_many_texts_are_continued_as_have_room(server: Server, client: httpx.Client) -> None:
    most = CONFIG.slots + CONFIG.max_queue
    texts = [f"Once {number}" for number in range(most)]
    for asked in ({"prompt": texts}, {"prompt": texts[: most // 4], "n": 4, "best_of": 4}):
        page = client.post(TEXT, json={**asked, "max_tokens": 2}).json()
        assert [choice["index"] for choice in page["choices"]] == list(range(most))
    alone = client.post(TEXT, json={"prompt": texts[-1], "max_tokens": 2}).json()
    many = client.post(TEXT, json={"prompt": texts, "max_tokens": 2}).json()
    assert many["choices"][-1]["text"] == alone["choices"][0]["text"]
    reply = client.post(TEXT, json={"prompt": [*texts, "one more"], "max_tokens": 2})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "above_limit"
    assert f"{most}" in reply.json()["error"]["message"]


def test_a_long_conversation_of_short_messages_has_no_limit(client: httpx.Client) -> None:
    messages = [turn("user", "a") if n % 2 else turn("assistant", None) for n in range(41)]
    choices, tokens = ask(client, messages)
    assert (choices, tokens) == ask(client, [turn("user", "\n\n".join("a" * 20))])


ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0}, {"temperature": 0.0}),
    ({"temperature": 1, "seed": 3.0, "top_k": 5.0}, {"temperature": 1.0, "seed": 3, "top_k": 5}),
    ({"temperature": 2, "top_p": 0}, {"temperature": 0}),
    ({"temperature": 2, "seed": 1, "top_k": -1}, {"temperature": 2, "seed": 1, "top_k": 0}),
    ({"temperature": 1, "seed": -1}, {"temperature": 1, "seed": 2**63 - 1}),
    ({"temperature": 1, "seed": 2**64 - 1}, {"temperature": 1, "seed": 2**63 - 1}),
    ({"stop": ""}, {}),
    ({"stop": []}, {}),
    ({"stop": [None, ""]}, {}),
    ({"temperature": 1e-30, "top_p": 1e-30}, {"temperature": 0}),
    ({"prediction": {"type": "content", "content": "Hello"}}, {}),
    ({"model": ""}, {}),
    ({"stream_options": {"include_usage": True}}, {}),
    ({"logprobs": False, "top_logprobs": 0}, {}),
    ({"logprobs": True, "top_logprobs": None}, {"logprobs": True, "top_logprobs": 0}),
    ({"reasoning_effort": "low", "parallel_tool_calls": False, "tools": []}, {}),
    ({"tool_choice": "auto", "response_format": {"type": "text"}}, {}),
    ({"chat_id": "1", "session_id": "2", "metadata": {}, "user": "me"}, {}),
    ({"ignore_eos": None, "guided_json": None}, {}),
]


@pytest.mark.parametrize(("odd", "usual"), ODD, ids=str)
def test_odd_ways_to_ask_mean_what_they_mean(
    client: httpx.Client, odd: dict[str, Any], usual: dict[str, Any]
) -> None:
    assert ask(client, [HELLO], **odd) == ask(client, [HELLO], **usual)


def test_a_text_without_a_prompt_begins_anywhere(client: httpx.Client) -> None:
    texts = [
        client.post(TEXT, json={**asked, "max_tokens": 5}).json()["choices"]
        for asked in ({}, {"prompt": None}, {"prompt": ""}, {"prompt": [""], "logprobs": False})
    ]
    assert texts == [texts[0]] * 4
