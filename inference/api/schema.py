"""The JSON of requests and responses, field by field, as in OpenAI's API.

Names and ranges are OpenAI's (platform.openai.com/docs/api-reference); top_k, min_p and
repetition_penalty are additions. Values are not converted: "5" is not a number. Fields of OpenAI's
that change nothing here are accepted; those that would change an answer in a way that this server
cannot are accepted only where they ask for nothing, such as an empty list of tools. Null asks for
nothing, whatever the field.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from inference.engine.answers import CutBy

STOP_CHARACTERS = 1_000
TOP_LOGPROBS = 20
"""Most alternatives to a token, as in OpenAI's API."""


Nothing = Annotated[list[Any], Field(max_length=0)]
Limit = Literal[-1] | Annotated[int, Field(ge=1)]
"""Most tokens of an answer; -1: as many as fit, which some clients of llama.cpp send."""
StopText = Annotated[str, Field(max_length=STOP_CHARACTERS)]


# Requests


class Strict(BaseModel):
    """Values are not converted, and no field is ignored but one that is null."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, None]

    @model_validator(mode="before")
    @classmethod
    def whole_numbers(cls, fields: Any) -> Any:
        """5.0 is 5: JSON has one kind of numbers, and some languages write all with a point."""
        if not isinstance(fields, dict):
            return fields
        return {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in fields.items()
        }


class TextPart(Strict):
    """A part of a content; pictures and sound are not supported."""

    type: Literal["text", "input_text", "output_text"]
    text: str | None

    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    cache_control: dict[str, Any] | None = None


def joined(content: str | list[TextPart] | None) -> str:
    """A content as one text."""
    if isinstance(content, list):
        return "".join(part.text or "" for part in content)
    return content or ""


class CalledFunction(Strict):
    """What is called."""

    name: str = Field(min_length=1)
    arguments: str
    """An object in JSON."""


class ToolCall(Strict):
    """A call of a tool."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ChatMessage(Strict):
    """A turn of a conversation; what this API, or another one of its form, sent can be sent back.
    An empty one is left out."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    name: str | None = None
    annotations: list[Any] | None = None
    reasoning: str | None = None
    prefix: bool | None = None
    cache_control: dict[str, Any] | None = None

    audio: None = None
    function_call: None = None

    @property
    def text(self) -> str:
        """Its content, parts joined; where there is none, a refusal."""
        return joined(self.content) or self.refusal or ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        thinks = self.role == "assistant" and self.reasoning_content
        return not (self.text.strip() or thinks or self.tool_calls or self.role == "tool")

    def turn(self) -> dict[str, Any]:
        """As chat templates read it."""
        role = "system" if self.role == "developer" else self.role
        found: dict[str, Any] = {"role": role, "content": self.text}
        if self.reasoning_content and role == "assistant":
            found["reasoning_content"] = self.reasoning_content
        if self.tool_calls and role == "assistant":
            found["tool_calls"] = [
                call.model_dump(include={"id", "type", "function"}, exclude_none=True)
                for call in self.tool_calls
            ]
        if role == "tool":
            given = {"tool_call_id": self.tool_call_id, "name": self.name}
            found |= {name: value for name, value in given.items() if value}
        return found


class FunctionOptions(Strict):
    """A function that may be called."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool that may be called."""

    type: Literal["function"]
    function: FunctionOptions


class FunctionName(Strict):
    """The name of a function."""

    name: str


class NamedTool(Strict):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class StreamOptions(Strict):
    """What a stream sends beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextFormat(Strict):
    """Plain text."""

    type: Literal["text"]


class JsonObjectFormat(Strict):
    """A JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """A JSON schema."""

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = Field(
        None, description="true: what cannot be kept to is refused; else, left out of account."
    )


class JsonSchemaFormat(Strict):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat
"""What form an answer must have."""


class GenerateRequest(Strict):
    """Fields of both kinds of requests."""

    model: str | None = None
    response_format: ResponseFormat | None = None
    max_tokens: Limit | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="0 or -1: all tokens.")
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    n: int | None = Field(None, ge=1)
    stop: StopText | list[StopText | None] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    chat_id: str | None = None
    session_id: str | None = None

    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, given))


class ChatCompletionRequest(GenerateRequest):
    """A conversation to be answered."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Limit | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=TOP_LOGPROBS)

    continue_final_message: bool | None = Field(None, description="As in vLLM; found by itself.")
    add_generation_prompt: bool | None = Field(None, description="Its contrary.")
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Variables of the model's chat template, such as enable_thinking."
    )
    reasoning_effort: str | None = None
    prediction: dict[str, Any] | None = None

    functions: Nothing | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Literal["medium"] | None = None
    audio: None = None
    web_search_options: None = None


Texts = str | list[str] | list[int] | list[list[int]]
"""Texts, or token ids: one, or a list of them."""


class CompletionRequest(GenerateRequest):
    """A text to be continued, or several; as text or as token ids."""

    prompt: Texts | None = None
    max_tokens: Literal[0] | Limit | None = Field(None, description="0 is for echo.")
    logprobs: Annotated[int, Field(ge=0, le=TOP_LOGPROBS)] | Literal[False] | None = None

    echo: bool | None = Field(None, description="The prompt comes before the continuation.")

    suffix: Literal[""] | None = None
    best_of: int | None = Field(None, ge=1)

    @property
    def top_logprobs(self) -> int | None:
        """How many of the likeliest tokens to list; None: no log-probabilities."""
        return None if self.logprobs is False else self.logprobs

    @property
    def texts(self) -> Texts:
        """The prompt, or all of them."""
        return "" if self.prompt is None else self.prompt


def listed(texts: Texts) -> list[Any]:
    """Each text, or its list of token ids."""
    return [texts] if isinstance(texts, str) or (texts and isinstance(texts[0], int)) else texts


class TokenizeRequest(Strict):
    """A text, or a conversation, whose token ids are asked for; as in vLLM."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1)
    add_special_tokens: bool | None = Field(
        None, description="false: without the token before a text."
    )
    return_token_strs: bool | None = None


class DetokenizeRequest(Strict):
    """Token ids whose text is asked for."""

    model: str | None = None
    tokens: list[int]


class EmbeddingRequest(Strict):
    """Texts that are to become vectors."""

    model: str | None = None
    input: Texts
    encoding_format: Literal["float", "base64"] | None = None

    dimensions: None = None
    user: str | None = None


@cache
def field_names() -> frozenset[str]:
    """All names of fields, to tell them from the branches of unions in pydantic's errors."""
    models, found = [Strict], set()
    while models:
        model = models.pop()
        models += model.__subclasses__()
        found |= {field.alias or name for name, field in model.model_fields.items()}
    return frozenset(found)


NOT_SUPPORTED = frozenset(
    {
        *("logit_bias", "functions", "function_call"),
        *("modalities", "verbosity", "audio", "web_search_options"),
        *("suffix", "previous_response_id", "conversation", "background"),
    }
)
"""Fields whose only accepted values ask for nothing."""

# Responses

Finish = Literal["stop", "length", "tool_calls"]


class BaseResponse(BaseModel):
    """What all responses to a request begin with."""

    id: str
    object: str
    created: int
    model: str


class PromptTokensDetails(BaseModel):
    """More about the tokens of a prompt."""

    cached_tokens: int
    """Tokens whose keys and values were in the cache already."""


class Usage(BaseModel):
    """Token counts of a request and its answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TokenLogprob(BaseModel):
    """A token that could stand at a place, with its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenTokenLogprob(TokenLogprob):
    """A token of an answer, and the likeliest at its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """The tokens of an answer or of a part of it."""

    content: list[ChosenTokenLogprob]
    refusal: None = None


class MadeFunction(BaseModel):
    """What is called."""

    name: str
    arguments: str
    """An object in JSON."""


class MadeCall(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: MadeFunction


class AssistantMessage(BaseModel):
    """An answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    """Not OpenAI's, but vLLM's: what the model thought before."""
    tool_calls: list[MadeCall] | None = None


class ChatChoice(BaseModel):
    """One of the answers to a request."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    cut_by: CutBy | None
    """Not OpenAI's: what ended an answer of finish_reason length."""


class ChatCompletion(BaseResponse):
    """The response to a conversation."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: Usage


class CallDelta(MadeCall):
    """A call, in a stream: whole."""

    index: int


class Delta(TypedDict, total=False):
    """What is new since the last chunk."""

    role: Literal["assistant"]
    content: str
    reasoning_content: str
    tool_calls: list[CallDelta]


class ChatChunkChoice(BaseModel):
    """A piece of an answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: Finish | None = None
    cut_by: CutBy | None = None


class ChatCompletionChunk(BaseResponse):
    """An event of a stream."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class TextLogprobs(BaseModel):
    """The tokens of a continuation or of a piece of it."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    """None for the first token of a prompt."""
    text_offset: list[int]
    """Where each token's text begins, in characters."""
    bytes: list[list[int]]
    """Not OpenAI's: each token's bytes, since a token may be a part of a character."""


class TextChoice(BaseModel):
    """A continuation or a piece of one."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Finish | None = None
    cut_by: CutBy | None = None


class Completion(BaseResponse):
    """The response to a text, whole or an event of a stream."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]
    usage: Usage | None = None


class Model(BaseModel):
    """The model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["chat", "completion"]
    """Not OpenAI's: whether it answers messages, or only continues texts."""
    context_length: int
    """Not OpenAI's: most tokens of prompt and answer together."""
    title: str
    """Not OpenAI's: one line about it."""
    sampling: dict[str, Any]
    """Not OpenAI's: how tokens are chosen where a request does not say."""
    tools: bool
    """Not OpenAI's: whether its chat template writes which tools there are."""
    enable_thinking: bool
    """Not OpenAI's: whether its chat template has this variable."""


class Models(BaseModel):
    """All models: adapters, and last the base."""

    object: Literal["list"] = "list"
    data: list[Model]


class Tokens(BaseModel):
    """Token ids."""

    count: int
    max_model_len: int
    """Most tokens of prompt and answer together."""
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(BaseModel):
    """A text."""

    prompt: str


class Embedding(BaseModel):
    """The vector of a text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """Numbers, or the base64 of their float32 in little-endian order."""


class EmbeddingUsage(BaseModel):
    """Token counts of texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """The vectors of texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Health(BaseModel):
    """That a token could be made."""

    status: Literal["ok"] = "ok"
    model: str
