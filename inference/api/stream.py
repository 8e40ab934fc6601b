"""A response that is generated while it is sent: whole or as server-sent events, as a chat or as a
completion. It frees the engine as soon as the client is gone."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from config import UserError
from inference.api import schema
from inference.api.errors import ApiError, overloaded
from inference.api.service import Call, OutputDelta, Service
from inference.engine.answers import (
    GenerationRequest,
    GenerationResult,
    Spell,
    Token,
    chat_logprobs,
    token_text,
)
from model.answer_parts import AnswerParser, Part

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream
)


NewParser = Callable[[Sequence[int]], AnswerParser]
"""Makes what takes apart the answer to a prompt, given its ids."""


class Form(ABC):
    """How results are written in JSON."""

    id_prefix: str
    prompt_field: str
    """The field of the request that holds the prompt."""
    end = b"data: [DONE]\n\n"
    """What a stream ends with."""

    def __init__(self, model: str, spell: Spell, with_logprobs: bool) -> None:
        """Takes what clients call the model, and what gives the bytes of its tokens."""
        name, now = f"{self.id_prefix}-{secrets.token_hex(12)}", int(time.time())
        self.head: dict[str, Any] = {"id": name, "created": now, "model": model}
        self.spell, self.with_logprobs = spell, with_logprobs

    def begin(self, requests: Sequence[GenerationRequest]) -> None:
        """Takes the requests, before any answer."""
        return

    def start(self, index: int) -> Iterator[BaseModel]:
        """The events of a stream before the text of an answer."""
        yield from ()

    @abstractmethod
    def events(self, delta: OutputDelta) -> Iterator[BaseModel]:
        """The events of a delta."""

    @abstractmethod
    def full(self, results: Sequence[GenerationResult], usage: schema.Usage) -> BaseModel:
        """The response with all answers."""

    def counts(self, usage: schema.Usage) -> Iterator[BaseModel]:
        """The event with token counts, where one was asked for."""
        yield from ()


class PartsForm(Form):
    """A form that takes answers apart: what is said, thought and called."""

    def __init__(
        self, model: str, spell: Spell, with_logprobs: bool, new_parser: NewParser
    ) -> None:
        """new_parser: makes what takes apart the answer to a prompt."""
        super().__init__(model, spell, with_logprobs)
        self.new_parser = new_parser
        self.parsers: list[AnswerParser] = []

    def begin(self, requests: Sequence[GenerationRequest]) -> None:
        """See Form."""
        self.parsers = [self.new_parser(request.prompt) for request in requests]

    def parts_of(self, delta: OutputDelta) -> Iterator[Part]:
        """The parts of an answer that a delta brings."""
        yield from self.parsers[delta.index].step(delta.text)
        if delta.result and delta.result.finish_reason != "failed":
            yield from self.parsers[delta.index].finish()


class ChoiceForm(Form):
    """The form of completions: an event has choices, pieces of answers."""

    chunk: type[schema.ChatCompletionChunk] | type[schema.Completion]
    """The type of a stream's events."""

    @abstractmethod
    def choices(self, delta: OutputDelta) -> Iterator[Any]:
        """The choices of a delta."""

    def events(self, delta: OutputDelta) -> Iterator[BaseModel]:
        """See Form."""
        yield from map(self.event, self.choices(delta))

    def counts(self, usage: schema.Usage) -> Iterator[BaseModel]:
        """See Form."""
        yield self.chunk(**self.head, choices=[], usage=usage)

    def event(self, choice: Any) -> BaseModel:
        """An event with a choice."""
        return self.chunk(**self.head, choices=[choice])


class ChatForm(PartsForm, ChoiceForm):
    """The form of /v1/chat/completions."""

    id_prefix, prompt_field, chunk = "chatcmpl", "messages", schema.ChatCompletionChunk

    def __init__(
        self, model: str, spell: Spell, with_logprobs: bool, new_parser: NewParser
    ) -> None:
        super().__init__(model, spell, with_logprobs, new_parser)
        self.calls: Counter[int] = Counter()
        """Calls of tools in each answer."""

    def start(self, index: int) -> Iterator[BaseModel]:
        """The event that names the role."""
        delta = schema.Delta(role="assistant", content="")
        yield self.event(schema.ChatChunkChoice(index=index, delta=delta))

    def choices(self, delta: OutputDelta) -> Iterator[schema.ChatChunkChoice]:
        """The choices of a delta: its parts, and its end."""
        new = [self.delta_of(delta.index, part) for part in self.parts_of(delta)]
        logprobs = self.logprobs(delta.tokens) if delta.tokens else None
        if logprobs and not new:
            new = [schema.Delta(content="")]
        for one in new:
            yield schema.ChatChunkChoice(index=delta.index, delta=one, logprobs=logprobs)
            logprobs = None
        result = delta.result
        if result and result.finish_reason != "failed":
            fields = ending(result, self.calls[delta.index])
            yield schema.ChatChunkChoice(index=delta.index, delta=schema.Delta(), **fields)

    def delta_of(self, index: int, part: Part) -> schema.Delta:
        """A part of an answer in a stream."""
        if part.kind == "content":
            return schema.Delta(content=part.text)
        if part.kind == "reasoning_content":
            return schema.Delta(reasoning_content=part.text)
        self.calls[index] += 1
        call = made_call(part)
        number = self.calls[index] - 1
        return schema.Delta(tool_calls=[schema.CallDelta(index=number, **dict(call))])

    def full(
        self, results: Sequence[GenerationResult], usage: schema.Usage
    ) -> schema.ChatCompletion:
        """The response with all answers."""
        choices = []
        for index, result in enumerate(results):
            message = self.message(index, result)
            choices.append(
                schema.ChatChoice(
                    index=index,
                    message=message,
                    logprobs=self.logprobs(result.tokens),
                    **ending(result, len(message.tool_calls or ())),
                )
            )
        return schema.ChatCompletion(**self.head, choices=choices, usage=usage)

    def message(self, index: int, result: GenerationResult) -> schema.AssistantMessage:
        """A whole answer."""
        parts = list(self.parts_of(OutputDelta(index, (), result.text, result)))
        texts = {
            kind: "".join(part.text for part in parts if part.kind == kind)
            for kind in ("content", "reasoning_content")
        }
        calls = [made_call(part) for part in parts if part.kind == "call"]
        return schema.AssistantMessage(
            content=texts["content"] or (None if calls else ""),
            reasoning_content=texts["reasoning_content"] or None,
            tool_calls=calls or None,
        )

    def logprobs(self, tokens: Sequence[Token]) -> schema.ChatLogprobs | None:
        """The log-probabilities of tokens, where they were requested."""
        if not self.with_logprobs:
            return None
        content = chat_logprobs(tokens, self.spell)
        return schema.ChatLogprobs.model_validate({"content": content})


class CompletionForm(ChoiceForm):
    """The form of /v1/completions."""

    id_prefix, prompt_field, chunk = "cmpl", "prompt", schema.Completion

    def __init__(
        self, model: str, spell: Spell, with_logprobs: bool, implicit: int = 0, alone: bool = False
    ) -> None:
        """How texts are continued.

        Args:
            model: see Form.
            spell: see Form.
            with_logprobs: see Form.
            implicit: tokens before each prompt that the client does not know of.
            alone: the prompts are wanted without their continuations.
        """
        super().__init__(model, spell, with_logprobs)
        self.implicit, self.alone = implicit, alone
        self.written: Counter[int] = Counter()
        """Characters of each answer that were sent."""

    def choices(self, delta: OutputDelta) -> Iterator[Any]:
        """The choices of a delta: its text, and its end."""
        delta = self.with_prompt(delta)
        if delta.text or (self.with_logprobs and delta.tokens):
            yield self.choice(replace(delta, result=None))
        if delta.result and delta.result.finish_reason != "failed":
            yield self.choice(replace(delta, tokens=(), text=""))

    def with_prompt(self, delta: OutputDelta) -> OutputDelta:
        """A delta with the prompt, where it has one, before its text."""
        prompt = delta.prompt[self.implicit :]
        tokens, text = ((), "") if self.alone else (delta.tokens, delta.text)
        text = "".join(token.text for token in prompt) + text
        return replace(delta, tokens=(*prompt, *tokens), text=text, prompt=())

    def choice(self, delta: OutputDelta) -> schema.TextChoice:
        """A choice: a text or a piece of one, and, with a result, its end."""
        offset = self.written[delta.index]
        self.written[delta.index] += len(delta.text)
        with_logprobs = self.with_logprobs and delta.tokens
        return schema.TextChoice(
            index=delta.index,
            text=delta.text,
            logprobs=self.logprobs(delta.tokens, offset) if with_logprobs else None,
            **ending(delta.result),
        )

    def full(self, results: Sequence[GenerationResult], usage: schema.Usage) -> BaseModel:
        """The response with all answers."""
        deltas = [
            self.with_prompt(OutputDelta(i, result.tokens, result.text, result, result.prompt))
            for i, result in enumerate(results)
        ]
        return self.chunk(**self.head, choices=[*map(self.choice, deltas)], usage=usage)

    def logprobs(self, tokens: Sequence[Token], offset: int) -> schema.TextLogprobs:
        """The log-probabilities of the tokens of a piece that has so many characters before it."""
        lengths = [len(token.text) for token in tokens]
        data = [self.spell(token.id) for token in tokens]
        return schema.TextLogprobs(
            tokens=[token_text(one) for one in data],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[
                None
                if token.logprob is None
                else {token_text(self.spell(other)): value for other, value in token.alternatives}
                for token in tokens
            ],
            text_offset=list(accumulate(lengths[:-1], initial=offset)),
            bytes=[list(one) for one in data],
        )


def new_call_id() -> str:
    """The id of a call: nine letters and digits, since Mistral's templates refuse others."""
    return secrets.token_hex(5)[:9]


def made_call(part: Part) -> schema.MadeCall:
    """A call, with an id of its own."""
    function = schema.MadeFunction(name=part.name, arguments=part.text)
    return schema.MadeCall(id=new_call_id(), function=function)


def ending(result: GenerationResult | None, calls: int = 0) -> dict[str, Any]:
    """The fields for what ended an answer with so many calls, in OpenAI's words; None: it goes
    on."""
    if result is None:
        return {}
    reason = "stop" if result.finish_reason == "stop" else "length"
    reason = "tool_calls" if calls and reason == "stop" else reason
    return {"finish_reason": reason, "cut_by": result.cut_by}


class GenerateResponse(Response):
    """The answers to a request."""

    def __init__(
        self,
        service: Service,
        form: Form,
        plan: Callable[[], Sequence[GenerationRequest]],
        count: int,
        stream: bool,
        with_usage: bool = False,
    ) -> None:
        """What to do, when it is sent.

        Args:
            service: the model.
            form: how answers are written.
            plan: makes the engine's requests, which may take time: it encodes the prompt.
            count: how many there will be.
            stream: whether pieces are sent as they come.
            with_usage: whether a stream ends with token counts.
        """
        super().__init__()
        self.service, self.form, self.plan, self.count = service, form, plan, count
        self.stream, self.with_usage = stream, with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or stops when the client goes away.

        Raises:
            ApiError: nothing has been sent, and this is to be sent instead.
        """
        with self.service.admit(self.count):
            await run_until_disconnect(receive, self.answer(scope, receive, send))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the engine and sends what it generates."""
        requests = await asyncio.to_thread(self.plan)
        self.form.begin(requests)
        # The prompts of n answers are one; a request is counted as OpenAI does.
        prompts = {id(request.prompt): len(request.prompt) for request in requests}
        self.prompt_tokens = sum(prompts.values())
        try:
            call = self.service.submit(requests, self.service.config.answer_seconds)
        except UserError as error:
            field = self.form.prompt_field
            raise ApiError(400, str(error), field, "context_length_exceeded") from error
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
        events = [event for n in range(self.count) for event in self.form.start(n)]
        while True:
            events += [event for delta in deltas for event in self.form.events(delta)]
            results |= {delta.index: delta.result for delta in deltas if delta.result}
            if any(result.finish_reason == "failed" for result in results.values()):
                events.append(engine_failure().body)
                return await send(body_of(events, b"", more=False))
            if call.ended:
                if self.with_usage:
                    answers = [results[index] for index in range(self.count)]
                    events += self.form.counts(usage_of(self.prompt_tokens, answers))
                return await send(body_of(events, self.form.end, more=False))
            await send(body_of(events, b"", more=True))
            deltas, events = await call.deltas(), []


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


def usage_of(prompt_tokens: int, results: Sequence[GenerationResult]) -> schema.Usage:
    """The token counts of a request."""
    completion = sum(len(result.tokens) for result in results)
    cached = min(prompt_tokens, results[0].cached_tokens)
    return schema.Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion,
        total_tokens=prompt_tokens + completion,
        prompt_tokens_details=schema.PromptTokensDetails(cached_tokens=cached),
    )


def body_of(events: Sequence[BaseModel], end: bytes, more: bool) -> Message:
    """A piece of a stream of server-sent events."""
    written = "".join(f"{kind_of(event)}data: {event.model_dump_json()}\n\n" for event in events)
    body = written.encode("utf-8") + end
    return {"type": "http.response.body", "body": body, "more_body": more}


def kind_of(event: BaseModel) -> str:
    """The line that names the type of an event, where it has one."""
    kind = getattr(event, "type", None)
    return f"event: {kind}\n" if kind else ""
