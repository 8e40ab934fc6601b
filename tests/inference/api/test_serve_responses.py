"""The responses API says what chat completions say, in its own form: by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError
from pydantic import BaseModel

from tests.inference.http_server import NAME

PARTS = [{"type": "input_text", "text": "Who are"}, {"type": "input_text", "text": " you?"}]
HISTORY: list[dict[str, Any]] = [
    {"role": "developer", "content": "You are kind."},
    {"role": "user", "content": PARTS},
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Etude.", "annotations": [], "logprobs": []}],
    },
    {"type": "reasoning", "id": "rs_1", "summary": [], "content": None},
    {"role": "user", "content": "Where is Paris?"},
]


def chat(client: Any, max_tokens: int) -> Any:
    messages = [
        {"role": "system", "content": "Be brief.\n\nYou are kind."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Etude."},
        {"role": "user", "content": "Where is Paris?"},
    ]
    return client.chat.completions.create(
        model=NAME, messages=messages, temperature=0, max_tokens=max_tokens
    )


@pytest.mark.parametrize("max_tokens", [5, 200])
def test_an_answer_is_that_of_a_chat_completion(client: Any, max_tokens: int) -> None:
    expected = chat(client, max_tokens)
    asked = {"model": NAME, "input": HISTORY, "instructions": "Be brief.", "temperature": 0}
    response = client.responses.create(**asked, max_output_tokens=max_tokens)
    choice = expected.choices[0]
    assert response.output_text == choice.message.content
    whole = choice.finish_reason == "stop"
    assert response.status == ("completed" if whole else "incomplete")
    assert (response.incomplete_details is None) == whole
    assert response.usage.input_tokens == expected.usage.prompt_tokens
    assert response.usage.output_tokens == expected.usage.completion_tokens

    events = list(client.responses.create(**asked, max_output_tokens=max_tokens, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    ending = ["output_text.done", "content_part.done", "output_item.done", response.status]
    assert kinds[-4:] == ending
    assert set(kinds[4:-4]) <= {"output_text.delta"}
    deltas = "".join(event.delta for event in events[4:-4])
    assert deltas == events[-4].text == events[-1].response.output_text == response.output_text
    assert events[-2].item.id == events[-1].response.output[0].id == events[4].item_id
    usage = events[-1].response.usage
    assert usage.output_tokens == response.usage.output_tokens


def test_an_answer_parsed_into_a_class(client: Any) -> None:
    class Answer(BaseModel):
        ready: bool

    parsed = client.responses.parse(model=NAME, input="Hello", text_format=Answer).output_parsed
    assert isinstance(parsed, Answer)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": " "}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, None),
        ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(client: Any, fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(BadRequestError) as refusal:
        client.responses.create(**{"model": NAME, "input": "Hello", **fields})
    assert param is None or refusal.value.param == param
