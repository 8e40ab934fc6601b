"""OpenAI's responses API: its requests are put as chat completions, its answers are lists of items.

The server keeps no conversations: `previous_response_id` is refused, and `store` changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from inference.api import schema
from inference.api.schema import Strict
from inference.api.service import OutputDelta
from inference.api.stream import NewParser, PartsForm, new_call_id
from inference.engine.answers import GenerationResult
from model.answer_parts import Part, PartKind

# Requests


class InputMessage(schema.ChatMessage):
    """A turn of a conversation."""

    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None


class FunctionCall(Strict):
    """A call that the assistant has made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionCallOutput(Strict):
    """What a call has given."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[schema.TextPart]
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """Its output, parts joined."""
        return schema.joined(self.output)


class ReasoningItem(Strict):
    """What the assistant has thought; it is not read again, as in OpenAI's API."""

    type: Literal["reasoning"]
    id: str | None = None
    status: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None


class FunctionTool(Strict):
    """A function that may be called."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Strict):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class SchemaFormat(schema.NamedSchema):
    """JSON of a schema."""

    type: Literal["json_schema"]


class TextOptions(Strict):
    """What form a text must have."""

    format: schema.TextFormat | schema.JsonObjectFormat | SchemaFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponsesRequest(Strict):
    """A conversation to be answered."""

    model: str | None = None
    input: str | list[InputMessage | FunctionCall | FunctionCallOutput | ReasoningItem]
    instructions: str | None = None
    max_output_tokens: schema.Limit | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    text: TextOptions | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    user: str | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    truncation: Literal["auto", "disabled"] | None = None

    background: Literal[False] | None = None
    conversation: None = None
    previous_response_id: None = None
    prompt: None = None
    top_logprobs: Literal[0] | None = None
    max_tool_calls: None = None

    def as_chat(self) -> schema.ChatCompletionRequest:
        """The same as a chat completion."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": list(self.turns()),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_output_tokens,
            "stream": self.stream,
            "response_format": self.format(),
            "tools": [as_tool(tool) for tool in self.tools or []],
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        if isinstance(self.tool_choice, NamedFunction):
            name = {"name": self.tool_choice.name}
            fields["tool_choice"] = {"type": "function", "function": name}
        return schema.ChatCompletionRequest.model_validate(fields)

    def turns(self) -> Iterator[dict[str, Any]]:
        """The messages, instructions first."""
        if self.instructions:
            yield {"role": "system", "content": self.instructions}
        if isinstance(self.input, str):
            yield {"role": "user", "content": self.input}
            return
        calls: list[dict[str, Any]] = []
        for item in self.input:
            if isinstance(item, FunctionCall):
                function = {"name": item.name, "arguments": item.arguments}
                calls.append({"id": item.call_id, "type": "function", "function": function})
                if len(calls) == 1:  # calls that follow each other are of one turn
                    yield {"role": "assistant", "content": None, "tool_calls": calls}
                continue
            calls = []
            if isinstance(item, InputMessage):
                yield {"role": item.role, "content": item.text}
            elif isinstance(item, FunctionCallOutput):
                yield {"role": "tool", "tool_call_id": item.call_id, "content": item.text}

    def format(self) -> dict[str, Any] | None:
        """Its format as chat completions have it."""
        wanted = self.text and self.text.format
        if not wanted:
            return None
        fields = wanted.model_dump(by_alias=True, exclude_none=True)
        if isinstance(wanted, SchemaFormat):
            return {"type": fields.pop("type"), "json_schema": fields}
        return fields


def as_tool(tool: FunctionTool) -> dict[str, Any]:
    """A tool as chat completions have it."""
    fields = tool.model_dump(exclude_none=True)
    return {"type": fields.pop("type"), "function": fields}


# Responses


Status = Literal["in_progress", "completed", "incomplete"]


class ResponseObject(BaseModel):
    """An answer, with what was asked."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    model: str
    status: Status
    incomplete_details: dict[str, str] | None = None
    error: None = None
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool = True
    metadata: dict[str, Any] | None = None
    previous_response_id: None = None


class ResponseEvent(BaseModel):
    """An event of a stream; what else it has depends on its type."""

    model_config = {"extra": "allow"}

    type: str
    sequence_number: int


ITEMS: dict[PartKind, tuple[str, str]] = {
    "content": ("message", "msg"),
    "reasoning_content": ("reasoning", "rs"),
    "call": ("function_call", "fc"),
}
"""Types of items, and how their ids begin."""


class ResponseForm(PartsForm):
    """The form of /v1/responses."""

    id_prefix, prompt_field = "resp", "input"
    end = b""

    def __init__(self, model: str, body: ResponsesRequest, new_parser: NewParser) -> None:
        super().__init__(model, lambda _: b"", False, new_parser)
        self.head["created_at"] = self.head.pop("created")
        self.items: list[dict[str, Any]] = []
        self.sent = 0
        asked = body.model_dump(by_alias=True, exclude_none=True)
        self.head |= {
            "text": asked.get("text", {"format": {"type": "text"}}),
            "tools": asked.get("tools", []),
            "tool_choice": asked.get("tool_choice", "auto"),
        }
        for name in ("instructions", "max_output_tokens", "temperature", "top_p", "metadata"):
            self.head[name] = asked.get(name)

    def start(self, index: int) -> Iterator[BaseModel]:
        """The events before the first item."""
        for name in ("created", "in_progress"):
            yield self.new(f"response.{name}", response=self.response("in_progress"))

    def events(self, delta: OutputDelta) -> Iterator[BaseModel]:
        """See Form."""
        for part in self.parts_of(delta):
            is_next = self.items and self.items[-1]["type"] == ITEMS[part.kind][0]
            if part.kind == "call" or not is_next:
                yield from self.close()
                yield from self.add_item(part)
            yield from self.extend(part)
        result = delta.result
        if result and not self.items:
            yield from self.add_item(Part("content", ""))
        if result and result.finish_reason != "failed":
            yield from self.close(whole=result.finish_reason == "stop")
            status = status_of(result)
            yield self.new(f"response.{status}", response=self.response(status, result))

    def add_item(self, part: Part) -> Iterator[BaseModel]:
        """Begins an item."""
        kind, prefix = ITEMS[part.kind]
        item: dict[str, Any] = {"type": kind, "id": f"{prefix}_{secrets.token_hex(12)}"}
        item["status"] = "in_progress"
        if kind == "function_call":
            item |= {"call_id": new_call_id(), "name": part.name, "arguments": ""}
        elif kind == "reasoning":
            item |= {"summary": [], "content": []}
        else:
            item |= {"role": "assistant", "content": []}
        self.items.append(item)
        yield self.of_item("response.output_item.added", item=snapshot(item))
        if kind != "function_call":
            item["content"].append(empty_content(kind))
            yield self.of_item(
                "response.content_part.added", content_index=0, part=empty_content(kind)
            )

    def extend(self, part: Part) -> Iterator[BaseModel]:
        """Adds text to the newest item."""
        item = self.items[-1]
        if not part.text:
            return
        if part.kind == "call":
            item["arguments"] += part.text
            yield self.of_item("response.function_call_arguments.delta", delta=part.text)
            return
        item["content"][0]["text"] += part.text
        logprobs: dict[str, Any] = {"logprobs": []} if part.kind == "content" else {}
        name = f"response.{item['content'][0]['type']}.delta"
        yield self.of_item(name, content_index=0, delta=part.text, **logprobs)

    def close(self, whole: bool = True) -> Iterator[BaseModel]:
        """Ends the newest item, where it has not ended."""
        if not self.items or self.items[-1]["status"] != "in_progress":
            return
        item = self.items[-1]
        item["status"] = "completed" if whole else "incomplete"
        if item["type"] == "function_call":
            name, arguments = item["name"], item["arguments"]
            kind = "response.function_call_arguments.done"
            yield self.of_item(kind, name=name, arguments=arguments)
        else:
            content = dict(item["content"][0])
            logprobs: dict[str, Any] = {"logprobs": []} if item["type"] == "message" else {}
            name = f"response.{content['type']}.done"
            yield self.of_item(name, content_index=0, text=content["text"], **logprobs)
            yield self.of_item("response.content_part.done", content_index=0, part=content)
        yield self.of_item("response.output_item.done", item=snapshot(item))

    def of_item(self, kind: str, **fields: Any) -> BaseModel:
        """An event about the newest item."""
        place = {"output_index": len(self.items) - 1}
        if "item" not in fields:
            place["item_id"] = self.items[-1]["id"]
        return self.new(kind, **place, **fields)

    def new(self, kind: str, **fields: Any) -> BaseModel:
        """The next event."""
        self.sent += 1
        return ResponseEvent(type=kind, sequence_number=self.sent - 1, **fields)

    def full(self, results: Sequence[GenerationResult], usage: schema.Usage) -> BaseModel:
        """The whole response."""
        (result,) = results
        for _ in self.events(OutputDelta(0, result.tokens, result.text, result)):
            pass
        return self.response(
            "completed" if result.finish_reason == "stop" else "incomplete", result
        )

    def response(self, status: Status, result: GenerationResult | None = None) -> ResponseObject:
        """The response as far as it is known."""
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        output = [snapshot(item) for item in self.items]
        fields = {**self.head, "status": status, "incomplete_details": details, "output": output}
        return ResponseObject(**fields, usage=usage_of(result) if result else None)


def status_of(result: GenerationResult) -> Status:
    """How an answer has ended."""
    return "completed" if result.finish_reason == "stop" else "incomplete"


def empty_content(kind: str) -> dict[str, Any]:
    """The content of an item before its first text."""
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def snapshot(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is now."""
    return item | {name: [dict(c) for c in item[name]] for name in ("content",) if name in item}


def usage_of(result: GenerationResult) -> dict[str, Any]:
    """The token counts of an answer."""
    made = len(result.tokens)
    return {
        "input_tokens": result.prompt_tokens,
        "input_tokens_details": {"cached_tokens": result.cached_tokens},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": result.prompt_tokens + made,
    }
