"""A reply that is made while it is sent: it asks the engine, streams or waits, and lets go of the
engine as soon as the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from inference.api.calls import Call, ClosedError, OverloadedError, Update
from inference.api.errors import ApiError, overloaded
from inference.api.forms import Collected, Form, usage_of
from inference.api.serving import Serving
from inference.engine.answers import Request

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the stream
)
DONE = b"data: [DONE]\n\n"


class AnswerResponse(Response):
    """The answers to a request."""

    def __init__(
        self,
        serving: Serving,
        plan: Callable[[], Sequence[Request]],
        count: int,
        form: Form,
        stream: bool,
        with_usage: bool,
    ) -> None:
        """What to do, when it is sent.

        Args:
            serving: who answers.
            plan: makes the engine's requests, which may take time: it reads all of the prompt.
            count: how many there will be.
            form: how answers are written.
            stream: send them as they come.
            with_usage: end the stream with what it took.
        """
        super().__init__()
        self.serving, self.plan, self.count, self.form = serving, plan, count, form
        self.stream, self.with_usage = stream, with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or stops when the client goes away.

        Raises:
            ApiError: nothing has been sent, and this is to be sent instead.
        """
        with admission(self.serving, self.count):
            await unless_gone(receive, self.answer(scope, receive, send))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the engine and sends what it says."""
        requests = await asyncio.to_thread(self.plan)
        # The prompts of n answers are one; a request is counted as OpenAI does.
        prompts = {id(request.prompt): len(request.prompt) for request in requests}
        self.prompt_tokens = sum(prompts.values())
        try:
            call = self.serving.service.submit(requests, self.serving.config.answer_seconds)
        except ClosedError as error:
            raise overloaded(str(error), 1) from error
        try:
            if self.stream:
                await self.send_stream(call, send)
            else:
                await (await self.whole(call))(scope, receive, send)
        finally:
            call.cancel()

    async def whole(self, call: Call) -> Response:
        """The reply, when all answers have ended."""
        answers = [Collected() for _ in range(self.count)]
        while not call.ended:
            for update in await call.updates():
                answers[update.index].add(update)
        check_begun([(len(answer.tokens), answer.ending) for answer in answers])
        usage = usage_of(self.prompt_tokens, answers)
        return Response(
            self.form.whole(answers, usage).model_dump_json(), media_type="application/json"
        )

    async def send_stream(self, call: Call, send: Send) -> None:
        """Sends pieces as they come; all that come at once, at once."""
        updates = await call.updates()
        check_begun([(len(update.tokens), update.ending) for update in updates])
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        answers = [Collected() for _ in range(self.count)]
        events: list[BaseModel | None] = [self.form.beginning(n) for n in range(self.count)]
        while True:
            for update in updates:
                answers[update.index].add(update)
                events += self.pieces(update)
            if any(update.ending == "failed" for update in updates):
                events.append(failure().body)
                return await send(body_of(events, b"", more=False))
            if call.ended:
                if self.with_usage:
                    events.append(self.form.usage(usage_of(self.prompt_tokens, answers)))
                return await send(body_of(events, DONE, more=False))
            await send(body_of(events, b"", more=True))
            updates, events = await call.updates(), []

    def pieces(self, update: Update) -> Iterator[BaseModel | None]:
        """The events of an update."""
        yield self.form.piece(update)
        if update.ending and update.ending != "failed":
            yield self.form.ending(update)


@contextmanager
def admission(serving: Serving, count: int) -> Iterator[None]:
    """A place for some answers.

    Raises:
        ApiError: there is none.
    """
    try:
        with serving.service.admit(count):
            yield
    except OverloadedError as error:
        message = f"too many requests are waiting: try again in {error.seconds} s"
        raise overloaded(message, error.seconds) from error
    except ClosedError as error:
        raise overloaded(str(error), 1) from error


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Works until it is done or the client goes away, whichever comes first."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnection(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def disconnection(receive: Receive) -> None:
    """Ends when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def check_begun(answers: Sequence[tuple[int, str | None]]) -> None:
    """Refuses a request that was never begun, or that the engine has failed at.

    Args:
        answers: the tokens of each, and what ended it.
    """
    if any(ending == "failed" for _, ending in answers):
        raise failure()
    endings = {ending for count, ending in answers if not count}
    if len(endings) == 1 and not any(count for count, _ in answers):
        if "time" in endings:
            raise overloaded("no answer could be begun in time: try again later", 1)
        if "shutdown" in endings:
            raise overloaded("the server is ending", 1)


def failure() -> ApiError:
    """What is said when the engine has failed; the server's log has the reason."""
    return ApiError(500, "the engine has failed; the server's log says how", code="engine_failed")


def body_of(events: Sequence[BaseModel | None], end: bytes, more: bool) -> Message:
    """A piece of a stream of server-sent events."""
    written = [
        b"data: " + event.model_dump_json().encode("utf-8") + b"\n\n" for event in events if event
    ]
    return {"type": "http.response.body", "body": b"".join(written) + end, "more_body": more}
