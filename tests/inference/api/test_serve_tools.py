"""Tools, by the official client: whatever a model has learned, what it calls is there to be called,
and its arguments keep to their schema; calls and results are read back in the model's own form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from config import ModelConfig
from inference.api import schema
from inference.api.tools import parser_for, tool_grammar
from inference.engine.answers import GenerationRequest
from inference.engine.constraint import Grammar
from inference.engine.loading import LoadedModel
from model.answer_parts import Part
from model.chat import render_prompt
from model.chat_template import ChatFormat
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import NAME, Server, running, sampled, tiny_model

USER = {"role": "user", "content": "What is 2 + 3?"}
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def tool(name: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    described = {"parameters": parameters} if parameters else {}
    return {"type": "function", "function": {"name": name, **described}}


TOOLS = [tool("add", NUMBERS), tool("now", None)]
WILD: dict[str, Any] = {"temperature": 1.5, "extra_body": {"top_k": 0, "top_p": 1}}


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    with running(tiny_model(tokenizer, model_config, context=1024)) as server:
        yield server


def check_call(function: Any) -> None:
    """A call is of a tool, with arguments of its schema."""
    arguments = json.loads(function.arguments)
    assert function.name in ("add", "now")
    if function.name == "add":
        assert {name: type(value) for name, value in arguments.items()} == {"a": int, "b": int}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_an_answer_that_must_call(client: Any, choice: Any, stream: bool) -> None:
    for seed in range(6):
        reply = client.chat.completions.create(
            model=NAME,
            messages=[USER],
            tools=TOOLS,
            tool_choice=choice,
            seed=seed,
            max_tokens=70,
            stream=stream,
            **WILD,
        )
        if stream:
            chunks = list(reply)
            calls = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []]
            ending = chunks[-1].choices[0].finish_reason
            assert not any(chunk.choices[0].delta.content for chunk in chunks)
            assert [call.index for call in calls] == [0]
        else:
            message, ending = reply.choices[0].message, reply.choices[0].finish_reason
            calls = message.tool_calls
            assert message.content is None
        (call,) = calls
        check_call(call.function)
        assert re.fullmatch("[0-9a-zA-Z]{9}", call.id)  # others Mistral's templates refuse
        assert ending in ("tool_calls", "length")
        if choice != "required":
            assert call.function.name == "add"


def test_an_answer_that_may_call_is_text_or_calls_of_tools(client: Any) -> None:
    for seed in range(4):
        asked = {"model": NAME, "messages": [USER], "tools": TOOLS, "seed": seed, "max_tokens": 30}
        whole = client.chat.completions.create(**asked, **WILD).choices[0].message
        chunks = list(client.chat.completions.create(**asked, **WILD, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == (whole.content or "")
        for call in whole.tool_calls or []:
            check_call(call.function)


def test_tools_and_json_together(client: Any) -> None:
    for seed in range(4):
        message = (
            client.chat.completions.create(
                model=NAME,
                messages=[USER],
                tools=TOOLS,
                seed=seed,
                max_tokens=60,
                response_format={"type": "json_object"},
                **WILD,
            )
            .choices[0]
            .message
        )
        for call in message.tool_calls or []:
            check_call(call.function)
        assert message.tool_calls or isinstance(json.loads(message.content), dict)


def test_calls_and_results_are_read_in_the_models_own_form(server: Server, client: Any) -> None:
    model = server.service.model
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns: list[Any] = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ]
    fields: dict[str, Any] = {"model": NAME, "max_tokens": 6, "temperature": 0, "logprobs": True}
    reply = client.chat.completions.create(
        messages=turns, tools=TOOLS, tool_choice="none", **fields
    )
    expected: list[Any] = [USER, turns[1] | {"content": ""}, turns[2]]
    prompt = render_prompt(model.tokenizer, expected, TOOLS)
    assert reply.usage.prompt_tokens == len(prompt)
    shown = model.tokenizer.decode(prompt)
    assert '"name": "now"' in shown
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>' in shown
    assert "<tool_response>\n5\n</tool_response>" in shown


def test_five_turns_with_a_tool(client: Any) -> None:
    """As programs do: call, answer the call, ask on."""
    turns: list[Any] = []
    for number in range(3):
        turns.append({"role": "user", "content": f"What is {number} + 3?"})
        asked = {"model": NAME, "tools": TOOLS, "max_tokens": 99, "seed": number}
        message = (
            client.chat.completions.create(**asked, messages=turns, tool_choice="required")
            .choices[0]
            .message
        )
        turns.append(message)
        turns += [
            {"role": "tool", "tool_call_id": call.id, "content": "5"} for call in message.tool_calls
        ]
        reply = client.chat.completions.create(**asked, messages=turns, tool_choice="none")
        turns.append(reply.choices[0].message)


def test_the_responses_api_calls_tools(client: Any) -> None:
    tools: Any = [{"type": "function", "name": "add", "parameters": NUMBERS}]
    asked: dict[str, Any] = {"model": NAME, "tools": tools, "tool_choice": "required"}
    first = client.responses.create(input="What is 2 + 3?", **asked, max_output_tokens=80)
    (call,) = first.output
    assert (call.type, call.name) == ("function_call", "add")
    check_call(call)
    history = [
        {"role": "user", "content": "What is 2 + 3?"},
        *first.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": "5"},
    ]
    second = client.responses.create(
        model=NAME, input=history, tools=tools, tool_choice="none", max_output_tokens=5
    )
    assert second.usage.input_tokens > first.usage.input_tokens
    events = list(client.responses.create(input="Hi", **asked, max_output_tokens=80, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert "function_call_arguments.delta" in kinds
    done = events[kinds.index("function_call_arguments.done")]
    assert json.loads(done.arguments) == json.loads(events[-1].response.output[0].arguments)


def test_tools_that_a_template_does_not_know_are_refused(
    tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    plain = ChatFormat("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    model = tiny_model(EtudeTokenizer(tokenizer.backend, plain), model_config)
    thinker = ChatFormat("{% if enable_thinking %}{% endif %}{{ tools }}")
    other = replace(model, name="thinker", tokenizer=EtudeTokenizer(tokenizer.backend, thinker))
    client: Any
    with running(model, others=[other]) as server:
        client = OpenAI(base_url=f"{server.address}/v1", api_key="-", max_retries=0)
        cards = {card.id: (card.tools, card.enable_thinking) for card in client.models.list()}
        assert cards == {NAME: (False, False), "thinker": (True, True)}
        with client, pytest.raises(BadRequestError, match="describe them in a message"):
            client.chat.completions.create(model=NAME, messages=[USER], tools=TOOLS)


FORMS = {
    "llama 3": "{{ tools }}<|python_tag|>",
    "mistral": "{{ tools }}[TOOL_CALLS]",
    "qwen 3": "{{ tools }}<tool_call></think>",
}


@pytest.mark.parametrize("name", FORMS)
def test_other_forms_of_calls(
    name: str, tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    model = tiny_model(EtudeTokenizer(tokenizer.backend, ChatFormat(FORMS[name])), model_config)
    body = schema.ChatCompletionRequest.model_validate(
        {"messages": [USER], "tools": TOOLS, "tool_choice": "required"}
    )
    text = tool_grammar(model, body, None)
    assert text
    sampling = replace(sampled(seed=1), max_tokens=70)
    output = generate(model, text, sampling)
    parser = parser_for(model, body, [])
    parts = [*parser.step(output.text), *parser.finish()]
    assert [part.kind for part in parts] == ["call"]
    check_call(Called(parts[0]))


class Called:
    """A part as a client would see it."""

    def __init__(self, part: Part) -> None:
        self.name, self.arguments = part.name, part.text


def generate(model: LoadedModel, text: str, sampling: Any) -> Any:
    request = GenerationRequest(
        [5], sampling, model.stop_ids, grammar=Grammar(model.vocabulary, text)
    )
    output = model.engine.submit(request)
    while model.engine.busy:
        model.engine.step()
    return output
