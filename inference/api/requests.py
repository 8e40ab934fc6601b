"""What clients may ask, field by field.

Names and ranges are OpenAI's (platform.openai.com/docs/api-reference); what is ours beside them are
top_k, min_p and repetition_penalty. Values are taken as they are, "5" is no number. Fields of
OpenAI's that change nothing here are accepted; those that would change an answer in a way that this
server cannot are accepted only where they ask for nothing, such as an empty list of tools.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

STOP_CHARACTERS = 1_000
TOP_LOGPROBS = 20
"""Most alternatives that are told, as OpenAI's."""

Nothing = Annotated[list[Any], Field(max_length=0)]
StopText = Annotated[str, Field(max_length=STOP_CHARACTERS)]


class Strict(BaseModel):
    """Values are not converted, and no field is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TextPart(Strict):
    """A piece of a content; pictures and sound are not understood."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """A turn of a conversation; a message that this API sent can be sent back."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Nothing | None = None
    annotations: Nothing | None = None

    @property
    def text(self) -> str:
        """Its content, parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(Strict):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(Strict):
    """Plain text."""

    type: Literal["text"]


class Sampled(Strict):
    """What both ways of asking have in common."""

    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="0 or -1: all tokens.")
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1)
    stop: StopText | list[StopText] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, given))


class ChatRequest(Sampled):
    """A conversation to be answered."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=TOP_LOGPROBS)

    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None

    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing | None = None
    function_call: Literal["none", "auto"] | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    audio: None = None
    prediction: None = None
    web_search_options: None = None


class CompletionRequest(Sampled):
    """A text to be continued, or several; as text or as token ids."""

    prompt: str | list[str] | list[int] | list[list[int]] = ""
    logprobs: int | None = Field(None, ge=0, le=TOP_LOGPROBS)

    suffix: Literal[""] | None = None
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1)


REQUESTS = (ChatRequest, CompletionRequest, ChatMessage, TextPart, StreamOptions, TextFormat)
FIELDS = frozenset(name for model in REQUESTS for name in model.model_fields)
"""All names of fields, to tell them from the branches of unions in pydantic's errors."""

NOT_SUPPORTED = frozenset(
    {
        *("logit_bias", "tools", "tool_choice", "functions", "function_call", "response_format"),
        *("modalities", "reasoning_effort", "verbosity", "audio", "prediction"),
        *("web_search_options", "suffix", "tool_calls", "annotations", "refusal"),
    }
)
"""Fields whose only accepted values ask for nothing."""
