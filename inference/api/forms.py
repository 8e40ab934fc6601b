"""How an answer is written down: whole or in pieces, as a chat or as a continuation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, get_args

from pydantic import BaseModel

from inference.api.calls import Ending, Update
from inference.api.logprobs import chat_logprobs, text_logprobs
from inference.api.replies import (
    AnswerMessage,
    Chat,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    Completion,
    CutBy,
    Delta,
    Finish,
    PromptDetails,
    TextChoice,
    Usage,
)
from inference.api.serving import Serving
from inference.engine.answers import Token


@dataclass
class Collected:
    """What has come of an answer."""

    tokens: list[Token] = field(default_factory=list)
    text: str = ""
    reused: int = 0
    ending: Ending | None = None

    def add(self, update: Update) -> None:
        """Takes news."""
        self.tokens += update.tokens
        self.text += update.text
        self.reused, self.ending = update.reused, update.ending


class Form(Protocol):
    """A way of writing answers down."""

    def whole(self, answers: Sequence[Collected], usage: Usage) -> BaseModel:
        """All answers, when they have ended."""

    def beginning(self, index: int) -> BaseModel | None:
        """What comes before the first piece of an answer."""

    def piece(self, update: Update) -> BaseModel | None:
        """What is new about an answer; None when it need not be told."""

    def ending(self, update: Update) -> BaseModel:
        """The end of an answer."""

    def usage(self, usage: Usage) -> BaseModel:
        """What all of it took, after the last piece."""


class ChatForm:
    """The form of /v1/chat/completions."""

    def __init__(self, serving: Serving, with_logprobs: bool) -> None:
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self.model, self.table = serving.name, serving.token_bytes
        self.with_logprobs = with_logprobs

    def whole(self, answers: Sequence[Collected], usage: Usage) -> BaseModel:
        """All answers, when they have ended."""
        choices = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=answer.text),
                logprobs=chat_logprobs(self.table, answer.tokens) if self.with_logprobs else None,
                finish_reason=finish_of(answer.ending),
                cut_by=cut_by(answer.ending),
            )
            for index, answer in enumerate(answers)
        ]
        return Chat(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage
        )

    def beginning(self, index: int) -> BaseModel:
        """Who speaks."""
        return self.chunk(index, Delta(role="assistant", content=""), ())

    def piece(self, update: Update) -> BaseModel | None:
        """What is new about an answer; None when it need not be told."""
        if not update.text and not (self.with_logprobs and update.tokens):
            return None
        return self.chunk(update.index, Delta(content=update.text), update.tokens)

    def ending(self, update: Update) -> BaseModel:
        """The end of an answer."""
        return self.chunk(update.index, Delta(), (), update.ending)

    def usage(self, usage: Usage) -> BaseModel:
        """What all of it took."""
        return ChatChunk(
            id=self.id, created=self.created, model=self.model, choices=[], usage=usage
        )

    def chunk(
        self, index: int, delta: Delta, tokens: Sequence[Token], ending: Ending | None = None
    ) -> ChatChunk:
        """An event of a stream."""
        told = chat_logprobs(self.table, tokens) if self.with_logprobs and tokens else None
        choice = ChatChunkChoice(
            index=index,
            delta=delta,
            logprobs=told,
            finish_reason=finish_of(ending) if ending else None,
            cut_by=cut_by(ending),
        )
        return ChatChunk(id=self.id, created=self.created, model=self.model, choices=[choice])


class CompletionForm:
    """The form of /v1/completions."""

    def __init__(self, serving: Serving, with_logprobs: bool) -> None:
        self.id, self.created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
        self.model, self.table = serving.name, serving.token_bytes
        self.with_logprobs = with_logprobs
        self.written: dict[int, int] = {}
        """Characters of each answer that were told."""

    def whole(self, answers: Sequence[Collected], usage: Usage) -> BaseModel:
        """All answers, when they have ended."""
        choices = [
            self.choice(index, answer.text, answer.tokens, answer.ending)
            for index, answer in enumerate(answers)
        ]
        return self.completion(choices, usage)

    def beginning(self, index: int) -> None:
        """Nothing comes before a text."""

    def piece(self, update: Update) -> BaseModel | None:
        """What is new about an answer; None when it need not be told."""
        if not update.text and not (self.with_logprobs and update.tokens):
            return None
        return self.completion([self.choice(update.index, update.text, update.tokens, None)])

    def ending(self, update: Update) -> BaseModel:
        """The end of an answer."""
        return self.completion([self.choice(update.index, "", (), update.ending)])

    def usage(self, usage: Usage) -> BaseModel:
        """What all of it took."""
        return self.completion([], usage)

    def completion(self, choices: list[TextChoice], usage: Usage | None = None) -> Completion:
        """A reply, whole or an event."""
        return Completion(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage
        )

    def choice(
        self, index: int, text: str, tokens: Sequence[Token], ending: Ending | None
    ) -> TextChoice:
        """An answer or a piece of one."""
        offset = self.written.get(index, 0)
        self.written[index] = offset + len(text)
        told = self.with_logprobs and (tokens or ending)
        return TextChoice(
            index=index,
            text=text,
            logprobs=text_logprobs(self.table, tokens, offset) if told and tokens else None,
            finish_reason=finish_of(ending) if ending else None,
            cut_by=cut_by(ending),
        )


def finish_of(ending: Ending | None) -> Finish:
    """OpenAI's word for what ended an answer."""
    return "stop" if ending == "stop" else "length"


def cut_by(ending: Ending | None) -> CutBy | None:
    """What cut an answer, where it was cut."""
    return next((word for word in get_args(CutBy) if word == ending), None)


def usage_of(prompt_tokens: int, answers: Sequence[Collected]) -> Usage:
    """What some answers took."""
    completion = sum(len(answer.tokens) for answer in answers)
    cached = min(prompt_tokens, sum(answer.reused for answer in answers[:1]))
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion,
        total_tokens=prompt_tokens + completion,
        prompt_tokens_details=PromptDetails(cached_tokens=cached),
    )
