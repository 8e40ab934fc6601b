"""A response that is generated while it is sent: whole or as server-sent events, as a chat or as a
completion. It frees the engine as soon as the client is gone."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from config import UserError
from inference.api.errors import ApiError, overloaded
from inference.api.schema import (
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatLogprobs,
    Completion,
    Delta,
    Finish,
    PromptTokensDetails,
    TextChoice,
    TextLogprobs,
    Usage,
)
from inference.api.service import Call, ClosedError, OutputDelta, OverloadedError, Service
from inference.engine.answers import (
    GenerationRequest,
    GenerationResult,
    Token,
    chat_logprobs,
    token_text,
)

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream
)
DONE = b"data: [DONE]\n\n"


class Form(ABC):
    """How results are written in JSON."""

    id_prefix: str
    prompt_field: str
    """The field of the request that holds the prompt."""

    def __init__(self, service: Service, with_logprobs: bool) -> None:
        name = f"{self.id_prefix}-{secrets.token_hex(12)}"
        now = int(time.time())
        self.head: dict[str, Any] = {"id": name, "created": now, "model": service.name}
        self.table, self.with_logprobs = service.model.token_bytes, with_logprobs

    @abstractmethod
    def full(self, results: Sequence[GenerationResult], usage: Usage) -> BaseModel:
        """The response with all answers."""

    @abstractmethod
    def start(self, index: int) -> BaseModel | None:
        """The event before the first text of an answer."""

    @abstractmethod
    def chunk(self, index: int, text: str, tokens: Sequence[Token]) -> BaseModel:
        """The event of a piece of text."""

    @abstractmethod
    def end(self, index: int, result: GenerationResult) -> BaseModel:
        """The event at the end of an answer."""

    @abstractmethod
    def usage(self, usage: Usage) -> BaseModel:
        """The event after all answers."""

    def events(self, delta: OutputDelta) -> Iterator[BaseModel]:
        """The events of a delta."""
        if delta.text or (self.with_logprobs and delta.tokens):
            yield self.chunk(delta.index, delta.text, delta.tokens)
        if delta.result and delta.result.finish_reason != "failed":
            yield self.end(delta.index, delta.result)


class ChatForm(Form):
    """The form of /v1/chat/completions."""

    id_prefix, prompt_field = "chatcmpl", "messages"

    def full(self, results: Sequence[GenerationResult], usage: Usage) -> BaseModel:
        """The response with all answers."""
        choices = [
            ChatChoice(
                index=index,
                message=AssistantMessage(content=result.text),
                logprobs=self.logprobs(result.tokens),
                finish_reason=finish_of(result),
                cut_by=result.cut_by,
            )
            for index, result in enumerate(results)
        ]
        return ChatCompletion(**self.head, choices=choices, usage=usage)

    def start(self, index: int) -> BaseModel:
        """The event that names the role."""
        return self.event(index, Delta(role="assistant", content=""))

    def chunk(self, index: int, text: str, tokens: Sequence[Token]) -> BaseModel:
        """The event of a piece of text."""
        return self.event(index, Delta(content=text), tokens)

    def end(self, index: int, result: GenerationResult) -> BaseModel:
        """The event at the end of an answer."""
        return self.event(index, Delta(), result=result)

    def usage(self, usage: Usage) -> BaseModel:
        """The event after all answers."""
        return ChatCompletionChunk(**self.head, choices=[], usage=usage)

    def event(
        self,
        index: int,
        delta: Delta,
        tokens: Sequence[Token] = (),
        result: GenerationResult | None = None,
    ) -> ChatCompletionChunk:
        """An event of a stream."""
        choice = ChatChunkChoice(
            index=index,
            delta=delta,
            logprobs=self.logprobs(tokens) if tokens else None,
            finish_reason=finish_of(result) if result else None,
            cut_by=result.cut_by if result else None,
        )
        return ChatCompletionChunk(**self.head, choices=[choice])

    def logprobs(self, tokens: Sequence[Token]) -> ChatLogprobs | None:
        """The log-probabilities of tokens, where they were requested."""
        if not self.with_logprobs:
            return None
        content = chat_logprobs(tokens, self.table.__getitem__)
        return ChatLogprobs.model_validate({"content": content})


class CompletionForm(Form):
    """The form of /v1/completions."""

    id_prefix, prompt_field = "cmpl", "prompt"

    def __init__(self, service: Service, with_logprobs: bool) -> None:
        super().__init__(service, with_logprobs)
        self.written: dict[int, int] = {}
        """Characters of each answer that were sent."""

    def full(self, results: Sequence[GenerationResult], usage: Usage) -> BaseModel:
        """The response with all answers."""
        choices = [self.choice(i, r.text, r.tokens, r) for i, r in enumerate(results)]
        return Completion(**self.head, choices=choices, usage=usage)

    def start(self, index: int) -> None:
        """Nothing comes before a text."""

    def chunk(self, index: int, text: str, tokens: Sequence[Token]) -> BaseModel:
        """The event of a piece of text."""
        return Completion(**self.head, choices=[self.choice(index, text, tokens)])

    def end(self, index: int, result: GenerationResult) -> BaseModel:
        """The event at the end of an answer."""
        return Completion(**self.head, choices=[self.choice(index, "", (), result)])

    def usage(self, usage: Usage) -> BaseModel:
        """The event after all answers."""
        return Completion(**self.head, choices=[], usage=usage)

    def choice(
        self, index: int, text: str, tokens: Sequence[Token], result: GenerationResult | None = None
    ) -> TextChoice:
        """An answer or a piece of one."""
        offset = self.written.get(index, 0)
        self.written[index] = offset + len(text)
        return TextChoice(
            index=index,
            text=text,
            logprobs=self.logprobs(tokens, offset) if self.with_logprobs and tokens else None,
            finish_reason=finish_of(result) if result else None,
            cut_by=result.cut_by if result else None,
        )

    def logprobs(self, tokens: Sequence[Token], offset: int) -> TextLogprobs:
        """The log-probabilities of the tokens of a piece that has so many characters before it."""
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        data = [self.table[token.id] for token in tokens]
        return TextLogprobs(
            tokens=[token_text(one) for one in data],
            token_logprobs=[token.logprob for token in tokens if token.logprob is not None],
            top_logprobs=[
                {token_text(self.table[other]): value for other, value in token.alternatives}
                for token in tokens
            ],
            text_offset=offsets,
            bytes=[list(one) for one in data],
        )


def finish_of(result: GenerationResult) -> Finish:
    """OpenAI's word for what ended an answer."""
    return "stop" if result.finish_reason == "stop" else "length"


class GenerateResponse(Response):
    """The answers to a request."""

    def __init__(
        self,
        service: Service,
        plan: Callable[[], Sequence[GenerationRequest]],
        count: int,
        form: Form,
        stream: bool,
        with_usage: bool,
    ) -> None:
        """What to do, when it is sent.

        Args:
            service: the model.
            plan: makes the engine's requests, which may take time: it encodes the prompt.
            count: how many there will be.
            form: how answers are written.
            stream: send them as they come.
            with_usage: end the stream with token counts.
        """
        super().__init__()
        self.service, self.plan, self.count, self.form = service, plan, count, form
        self.stream, self.with_usage = stream, with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or stops when the client goes away.

        Raises:
            ApiError: nothing has been sent, and this is to be sent instead.
        """
        with admission(self.service, self.count):
            await run_until_disconnect(receive, self.answer(scope, receive, send))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the engine and sends what it generates."""
        requests = await asyncio.to_thread(self.plan)
        # The prompts of n answers are one; a request is counted as OpenAI does.
        prompts = {id(request.prompt): len(request.prompt) for request in requests}
        self.prompt_tokens = sum(prompts.values())
        try:
            call = self.service.submit(requests, self.service.config.answer_seconds)
        except UserError as error:
            field = self.form.prompt_field
            raise ApiError(400, str(error), field, "context_length_exceeded") from error
        except ClosedError as error:
            raise overloaded(str(error), 1) from error
        try:
            if self.stream:
                await self.send_stream(call, send)
            else:
                await (await self.full(call))(scope, receive, send)
        finally:
            call.cancel()

    async def full(self, call: Call) -> Response:
        """The response, when all answers have ended."""
        results: dict[int, GenerationResult] = {}
        while not call.ended:
            results |= {delta.index: delta.result for delta in await call.deltas() if delta.result}
        answers = [results[index] for index in range(self.count)]
        check_started(answers)
        body = self.form.full(answers, usage_of(self.prompt_tokens, answers))
        return Response(body.model_dump_json(), media_type="application/json")

    async def send_stream(self, call: Call, send: Send) -> None:
        """Sends pieces as they come; all that come at once, at once."""
        deltas = await call.deltas()
        check_started([delta.result for delta in deltas])
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        results: dict[int, GenerationResult] = {}
        events: list[BaseModel | None] = [self.form.start(n) for n in range(self.count)]
        while True:
            for delta in deltas:
                events += self.form.events(delta)
            results |= {delta.index: delta.result for delta in deltas if delta.result}
            if any(result.finish_reason == "failed" for result in results.values()):
                events.append(engine_failure().body)
                return await send(body_of(events, b"", more=False))
            if call.ended:
                if self.with_usage:
                    answers = [results[index] for index in range(self.count)]
                    events.append(self.form.usage(usage_of(self.prompt_tokens, answers)))
                return await send(body_of(events, DONE, more=False))
            await send(body_of(events, b"", more=True))
            deltas, events = await call.deltas(), []


@contextmanager
def admission(service: Service, count: int) -> Iterator[None]:
    """Room for some answers.

    Raises:
        ApiError: there is no room.
    """
    try:
        with service.admit(count):
            yield
    except OverloadedError as error:
        message = f"too many requests are waiting: try again in {error.seconds} s"
        raise overloaded(message, error.seconds) from error
    except ClosedError as error:
        raise overloaded(str(error), 1) from error


async def run_until_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Works until it is done or the client goes away, whichever comes first."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnect(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def disconnect(receive: Receive) -> None:
    """Ends when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def check_started(results: Sequence[GenerationResult | None]) -> None:
    """Refuses a request that has ended without a token, or that the engine has failed at.

    Args:
        results: of its answers; None for one that is under way.
    """
    if any(result and result.finish_reason == "failed" for result in results):
        raise engine_failure()
    endings = {result.cut_by if result and not result.tokens else None for result in results}
    if endings == {"time"}:
        raise overloaded("no answer could be started in time: try again later", 1)
    if endings == {"shutdown"}:
        raise overloaded("the server is ending", 1)


def engine_failure() -> ApiError:
    """The response when the engine has failed; the server's log has the reason."""
    return ApiError(500, "the engine has failed; the server's log says how", code="engine_failed")


def usage_of(prompt_tokens: int, results: Sequence[GenerationResult]) -> Usage:
    """The token counts of a request."""
    completion = sum(len(result.tokens) for result in results)
    cached = min(prompt_tokens, results[0].cached_tokens)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion,
        total_tokens=prompt_tokens + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
    )


def body_of(events: Sequence[BaseModel | None], end: bytes, more: bool) -> Message:
    """A piece of a stream of server-sent events."""
    written = [
        b"data: " + event.model_dump_json().encode("utf-8") + b"\n\n" for event in events if event
    ]
    return {"type": "http.response.body", "body": b"".join(written) + end, "more_body": more}
