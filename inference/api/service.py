"""A model that is served: its engine runs in a thread of its own, with asyncio on the other side.

    service = Service(config, model)
    service.start()                              # in the event loop that asks
    with service.admit(len(requests)):           # ApiError 503 when too many wait
        call = service.submit(requests, seconds)
        while not call.ended:
            for delta in await call.deltas(): ...
        call.cancel()                            # frees the slots of what has not ended

All methods are for the thread of the event loop. The engine belongs to the service's own thread;
what passes from one to the other are requests, a flag on each call, and deltas, which never change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import prometheus_client as prometheus

from config import SamplingConfig, UserError
from inference.api.errors import overloaded
from inference.engine.answers import GenerationOutput, GenerationRequest, GenerationResult, Token
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ServeConfig

MOST_RETRY_SECONDS = 60
FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKEN_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class OutputDelta:
    """What is new about an output."""

    index: int
    """Of its request, among those of the call."""
    tokens: tuple[Token, ...]
    text: str
    """Text finalised since the last delta."""
    result: GenerationResult | None
    """The whole, once it has ended."""
    prompt: tuple[Token, ...] = ()
    """With the first tokens, those of the prompt, where they are requested."""


class Call:
    """Some requests that are answered together; for the thread of the event loop."""

    def __init__(self, count: int, until: float, counted: bool) -> None:
        self.until = until
        """When it must have ended, by time.monotonic()."""
        self.counted = counted
        """Whether it is part of the metrics."""
        self.open = count
        """Outputs that have not ended."""
        self.cancelled = False
        self.arrived: list[OutputDelta] = []
        self.ready = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether all deltas have been taken."""
        return not self.open and not self.arrived

    async def deltas(self) -> list[OutputDelta]:
        """What is new, as soon as there is something."""
        await self.ready.wait()
        self.ready.clear()
        arrived, self.arrived = self.arrived, []
        return arrived

    def receive(self, delta: OutputDelta) -> None:
        """Called with each delta."""
        self.arrived.append(delta)
        self.open -= delta.result is not None
        self.ready.set()

    def cancel(self) -> None:
        """Ends what has not ended; the slots are free at the next step."""
        self.cancelled = True


class Job:
    """One output under way; for the engine's thread."""

    def __init__(self, call: Call, index: int, output: GenerationOutput) -> None:
        self.call, self.index, self.output = call, index, output
        self.sent = 0
        """Tokens that were sent to the event loop."""
        self.first = self.newest = time.monotonic()
        """When its first and its newest token came; before, when the request came."""

    def delta(self) -> OutputDelta:
        """What is new since the last one."""
        tokens = tuple(self.output.tokens[self.sent :])
        prompt = () if self.sent else tuple(self.output.prompt)
        self.sent += len(tokens)
        text = "".join(token.text for token in tokens) + self.output.tail
        result = self.output.result() if self.output.finish_reason else None
        return OutputDelta(self.index, tokens, text, result, prompt)


@dataclass(frozen=True)
class EmbeddingJob:
    """A text that is to become a vector."""

    ids: Sequence[int]
    adapter: str | None
    vector: Future[list[float]] = field(default_factory=Future)

    def run(self, engine: Engine) -> None:
        """Computes it, unless nobody waits any more; in the engine's thread."""
        if not self.vector.set_running_or_notify_cancel():
            return
        try:
            self.vector.set_result(engine.embed(self.ids, self.adapter).tolist())
        except UserError as error:
            self.vector.set_exception(error)


class Metrics:
    """What a server counts, for Prometheus; each server has a registry of its own."""

    def __init__(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Takes the functions that count outputs with and without a slot."""
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # a time beside every number
        self.registry = prometheus.CollectorRegistry()
        counter = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        histogram = partial(prometheus.Histogram, registry=self.registry)
        gauge("etude_running_answers", "Answers that have a slot.").set_function(running)
        gauge("etude_waiting_answers", "Answers that wait for one.").set_function(waiting)
        text = "HTTP requests; status 499: the client went away."
        self.http_requests = counter("etude_http_requests", text, ("route", "method", "status"))
        self.answers = counter("etude_answers", "Answers by what ended them.", ("ending",))
        self.prompt_tokens = counter("etude_prompt_tokens", "Tokens of prompts.")
        text = "Tokens of prompts that did not have to be read again."
        self.cached_tokens = counter("etude_cached_prompt_tokens", text)
        self.generated_tokens = counter("etude_generated_tokens", "Tokens of answers.")
        name, text = "etude_time_to_first_token_seconds", "From a request to its first token."
        self.first_token_seconds = histogram(name, text, buckets=FIRST_TOKEN_SECONDS)
        name, text = "etude_token_seconds", "From token to token of an answer."
        self.token_seconds = histogram(name, text, buckets=TOKEN_SECONDS)

    def count(self, delta: OutputDelta, seconds: float, is_first: bool) -> None:
        """Counts what is new about an answer: tokens that came at once, some seconds after the
        request or the token before, and its end."""
        count, result = len(delta.tokens), delta.result
        self.generated_tokens.inc(count)
        if is_first:
            self.first_token_seconds.observe(seconds)
        else:
            for _ in range(count):
                self.token_seconds.observe(seconds / count)
        if result:
            self.answers.labels(result.cut_by or result.finish_reason).inc()
            self.prompt_tokens.inc(result.prompt_tokens)
            self.cached_tokens.inc(result.cached_tokens)


class Service:
    """Lets an engine answer what comes from an event loop."""

    def __init__(
        self, config: ServeConfig, model: LoadedModel, others: Sequence[LoadedModel] = ()
    ) -> None:
        """Not yet running: see `start`.

        Args:
            config: the limits.
            model: its engine belongs to this service from now on. Requests without a name mean it.
            others: further models in its engine.
        """
        self.config, self.model, self.engine = config, model, model.engine
        self.models = {
            (config.model_name if each.adapter is None else None) or each.name: each
            for each in (model, *others)
        }
        """By the names that clients call them."""
        self.name = next(iter(self.models))
        """That of the first one."""
        self.created = int(time.time())
        """In seconds since 1970."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called in the event loop when the engine has raised an error, which ends the service."""
        self.slots = len(self.engine.slots)
        self.metrics = Metrics(lambda: self.engine.running, lambda: self.waiting)
        self.admitted = 0
        self.seconds = 1.0
        """Usual time of an answer from its slot to its end, for the advice when to come back."""
        self.token_made = asyncio.Event()
        self.closing: float | None = None
        """When the answers that still run are ended, once the service is closing."""
        self.closed = self.failed = self.stopped = False
        self.inbox: list[Job] = []
        self.texts: deque[EmbeddingJob] = deque()
        """To become vectors, one between two steps."""
        self.jobs: dict[GenerationOutput, Job] = {}
        self.wake = threading.Condition()
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts answering what the running event loop asks."""
        self.loop = asyncio.get_running_loop()
        self.thread.start()

    @property
    def most_answers(self) -> int:
        """Most answers that there can be room for at once."""
        return self.slots + self.config.max_queue

    @property
    def waiting(self) -> int:
        """Answers that have no slot yet."""
        return len(self.engine.queue) + len(self.inbox)

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Room for some answers, for as long as the context is open.

        Raises:
            ApiError: there is no room now, or the service is closing.
        """
        self.check_open()
        excess = self.admitted + count - self.most_answers
        if excess > 0:
            wait = min(math.ceil(self.seconds * max(1.0, excess / self.slots)), MOST_RETRY_SECONDS)
            raise overloaded(f"too many requests are waiting: try again in {wait} s", wait)
        self.admitted += count
        try:
            yield
        finally:
            self.admitted -= count

    def check_open(self) -> None:
        """Raises ApiError when nothing new is accepted."""
        if self.closing is not None or self.failed:
            raise overloaded("the engine has failed" if self.failed else "the server is ending", 1)

    def submit(
        self, requests: Sequence[GenerationRequest], seconds: float, counted: bool = True
    ) -> Call:
        """Starts answering requests.

        Args:
            requests: one or more.
            seconds: how long it may take, waiting included; then the answers end as they are.
            counted: whether it is part of the metrics.

        Raises:
            UserError: a prompt leaves no room in the context; nothing is answered then.
            ApiError: the service is closing.
        """
        self.check_open()
        outputs = [self.engine.prepare(request) for request in requests]
        call = Call(len(requests), time.monotonic() + seconds, counted)
        with self.wake:
            if self.stopped:
                raise overloaded("the engine has stopped", 1)
            self.inbox += [Job(call, index, output) for index, output in enumerate(outputs)]
            self.wake.notify()
        return call

    async def embed(self, ids: Sequence[int], adapter: str | None) -> list[float]:
        """See Engine.embed.

        Raises:
            UserError: the text is longer than the context.
            ApiError: the service is closing.
        """
        self.check_open()
        job = EmbeddingJob(ids, adapter)
        with self.wake:
            if self.stopped:
                raise overloaded("the engine has stopped", 1)
            self.texts.append(job)
            self.wake.notify()
        return await asyncio.wrap_future(job.vector)

    async def make_token(self) -> bool:
        """Whether a token is made within config.health_seconds: one of its own, or, while others
        are answered, any."""
        self.token_made.clear()
        # Always the same four tokens: they keep to one slot, and leave other slots' caches alone.
        greedy = SamplingConfig(temperature=0, max_tokens=1)
        request = GenerationRequest([0] * min(4, self.engine.context - 1), greedy, ())
        seconds = self.config.health_seconds
        probe = self.submit([request], seconds, counted=False)
        try:
            await asyncio.wait_for(self.token_made.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        finally:
            probe.cancel()
        return not self.failed

    def close_within(self, seconds: float) -> None:
        """Accepts nothing new, and ends what has not ended by itself after some seconds."""
        if self.closing is None:
            self.closing = time.monotonic() + seconds

    def close(self) -> None:
        """Ends the thread; what is still under way ends as cut by the shutdown."""
        self.close_within(0)
        with self.wake:
            self.closed = True
            self.wake.notify()
        self.thread.join()

    # What follows runs in the engine's thread.

    def run(self) -> None:
        """Steps while there is anything to do."""
        try:
            while self.wait_for_work():
                self.cancel_expired()
                self.publish(self.engine.step())
        except Exception:  # whatever it is, nobody may wait for an answer that will not come
            logging.getLogger(__name__).exception("the engine has failed")
            self.failed = True
            self.loop.call_soon_threadsafe(self.on_failure)
        with self.wake:
            self.stopped = True
            rest = [*self.jobs.values(), *self.inbox]
            for text in self.texts:
                text.vector.set_exception(overloaded("the engine has stopped", 1))
        for job in rest:
            if self.failed:
                job.output.finish("failed")
            else:
                job.output.finish("length", "shutdown")
        self.send([(job.call, job.delta()) for job in rest])

    def wait_for_work(self) -> bool:
        """Queues new requests in the engine, and waits while there are none; False: end."""
        with self.wake:
            while not (self.inbox or self.texts or self.engine.busy or self.closed):
                self.wake.wait()
            arrived, self.inbox = self.inbox, []
            text = self.texts.popleft() if self.texts else None
        for job in arrived:
            self.jobs[job.output] = job
            self.engine.queue.append(job.output)
        if text:
            text.run(self.engine)
        return not self.closed

    def cancel_expired(self) -> None:
        """Cancels what nobody waits for, and what has taken too long."""
        now = time.monotonic()
        for output, job in self.jobs.items():
            if job.call.cancelled:
                output.cancel()
            elif now > job.call.until:
                output.cancel("time")
            elif self.closing is not None and now > self.closing:
                output.cancel("shutdown")

    def publish(self, outputs: Sequence[GenerationOutput]) -> None:
        """Sends the event loop what is new about some outputs."""
        news = []
        for output in outputs:
            job = self.jobs[output]
            delta = job.delta()
            if job.call.counted:
                self.measure(job, delta)
            news.append((job.call, delta))
            if delta.result:
                del self.jobs[output]
        self.send(news)

    def measure(self, job: Job, delta: OutputDelta) -> None:
        """Counts tokens and times."""
        now, is_first = time.monotonic(), 0 < len(delta.tokens) == job.sent
        self.metrics.count(delta, now - job.newest, is_first)
        if delta.tokens:
            job.newest = now
            job.first = now if is_first else job.first
        if delta.result:
            self.seconds += 0.1 * (now - job.first - self.seconds)

    def send(self, news: Sequence[tuple[Call, OutputDelta]]) -> None:
        """Hands deltas to the event loop, all of a step at once."""
        if news:
            self.loop.call_soon_threadsafe(self.deliver, news)

    def deliver(self, news: Sequence[tuple[Call, OutputDelta]]) -> None:
        """Hands deltas to their calls; in the event loop."""
        for call, delta in news:
            call.receive(delta)
        if any(delta.tokens for _, delta in news):
            self.token_made.set()
