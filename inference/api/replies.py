"""What clients are told, in OpenAI's form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

Finish = Literal["stop", "length"]
CutBy = Literal["max_tokens", "context", "time", "shutdown"]


class PromptDetails(BaseModel):
    """More about a prompt."""

    cached_tokens: int
    """Tokens that did not have to be read again."""


class Usage(BaseModel):
    """What an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Alternative(BaseModel):
    """A token that could have stood at a place."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Alternative):
    """A token of an answer."""

    top_logprobs: list[Alternative]


class ChatLogprobs(BaseModel):
    """The tokens of an answer or of a piece of it."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerMessage(BaseModel):
    """An answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One of the answers to a request."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish
    cut_by: CutBy | None
    """Ours: what ended an answer of finish_reason length."""


class Chat(BaseModel):
    """The reply to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(TypedDict, total=False):
    """What came since the last piece; what is not there has not come."""

    role: Literal["assistant"]
    content: str


class ChatChunkChoice(BaseModel):
    """A piece of an answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None
    cut_by: CutBy | None


class ChatChunk(BaseModel):
    """An event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class TextLogprobs(BaseModel):
    """The tokens of a continuation or of a piece of it."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]
    """Where each token's text begins, in characters."""
    bytes: list[list[int]]
    """Ours: each token's bytes, since a token may be a part of a character."""


class TextChoice(BaseModel):
    """A continuation or a piece of one."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Finish | None
    cut_by: CutBy | None


class Completion(BaseModel):
    """The reply to a text, whole or an event of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class Model(BaseModel):
    """The model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["chat", "completion"]
    """Ours: whether it answers messages, or only continues texts."""
    context_length: int
    """Ours: most tokens of prompt and answer together."""
    title: str
    """Ours: one line about it."""
    sampling: dict[str, Any]
    """Ours: how tokens are chosen where a request does not say."""


class Models(BaseModel):
    """All models, of which there is one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """That a token could be made."""

    status: Literal["ok"] = "ok"
    model: str
