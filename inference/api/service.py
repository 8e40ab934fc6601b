"""An engine that many use at once: a thread of its own that lets it step, and asyncio on the other
side.

    service = Service(engine, max_queue=64)
    service.start()                              # in the event loop that asks
    with service.admit(len(requests)):           # Overloaded when too many wait
        call = service.submit(requests, seconds)
        while not call.ended:
            for update in await call.updates(): ...
        call.cancel()                            # frees the slots of what has not ended

All methods are for the thread of the event loop. The engine belongs to the service's own thread;
what goes from one to the other are requests, a flag on each call, and updates that never change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from config import SamplingConfig
from inference.api.calls import Call, ClosedError, Ending, Job, OverloadedError, Update
from inference.api.metrics import ServiceMetrics
from inference.engine.answers import Answer, Request
from inference.engine.engine import Engine, check_prompt

MOST_RETRY_SECONDS = 60


class Service:
    """Lets an engine answer what comes from an event loop."""

    def __init__(
        self, engine: Engine, max_queue: int, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        """Not yet running: see `start`.

        Args:
            engine: it belongs to this service from now on.
            max_queue: answers that may wait for a slot.
            on_failure: called in the event loop when the engine has raised an error, after which
                nothing can be answered any more.
        """
        self.engine, self.on_failure = engine, on_failure
        self.slots, self.context = len(engine.slots), engine.context
        self.capacity = self.slots + max_queue
        self.metrics = ServiceMetrics()
        self.admitted = 0
        self.seconds = 1.0
        """Usual time of an answer from its slot to its end, for the advice when to come back."""
        self.listeners: list[asyncio.Event] = []
        self.closing: float | None = None
        """When the answers that still run are ended, once the service is to end."""
        self.closed = self.failed = self.stopped = False
        self.inbox: list[Job] = []
        self.jobs: dict[Answer, Job] = {}
        self.wake = threading.Condition()
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)

    def start(self) -> None:
        """Begins to answer what the running event loop asks."""
        self.loop = asyncio.get_running_loop()
        self.thread.start()

    @property
    def running(self) -> int:
        """Answers that have a slot."""
        return self.engine.running

    @property
    def waiting(self) -> int:
        """Answers that have none yet."""
        return self.engine.waiting + len(self.inbox)

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """A place for some answers, for as long as the context is open.

        Raises:
            OverloadedError: there is none now.
            ClosedError: there will be none.
        """
        self.check_open()
        if self.admitted + count > self.capacity:
            waves = (self.admitted + count - self.capacity) / self.slots
            seconds = math.ceil(self.seconds * max(1.0, waves))
            raise OverloadedError(min(seconds, MOST_RETRY_SECONDS))
        self.admitted += count
        try:
            yield
        finally:
            self.admitted -= count

    def check_open(self) -> None:
        """Raises ClosedError when nothing new is taken."""
        if self.closing is not None or self.failed:
            raise ClosedError("the engine has failed" if self.failed else "the server is ending")

    def submit(self, requests: Sequence[Request], seconds: float, counted: bool = True) -> Call:
        """Begins to answer requests.

        Args:
            requests: one or more.
            seconds: how long it may take, waiting included; then the answers end as they are.
            counted: whether the metrics tell of it.

        Raises:
            UserError: a prompt leaves no room in the context; nothing is answered then.
            ClosedError: the service is ending.
        """
        self.check_open()
        for request in requests:
            check_prompt(request.prompt, self.context)
        call = Call(len(requests), time.monotonic() + seconds, counted)
        with self.wake:
            if self.stopped:
                raise ClosedError("the engine has stopped")
            self.inbox += [Job(call, index, request) for index, request in enumerate(requests)]
            self.wake.notify()
        return call

    async def make_token(self, seconds: float) -> bool:
        """Whether a token is made within some seconds: one of its own, or, while others are
        answered, any."""
        listener = asyncio.Event()
        self.listeners.append(listener)
        # The same four tokens always: they keep to one slot, and leave what other slots remember.
        greedy = SamplingConfig(temperature=0, max_tokens=1)
        probe = self.submit(
            [Request([0] * min(4, self.context - 1), greedy, ())], seconds, counted=False
        )
        try:
            await asyncio.wait_for(listener.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        finally:
            probe.cancel()
            self.listeners.remove(listener)
        return not self.failed

    def close_within(self, seconds: float) -> None:
        """Takes nothing new, and ends what has not ended by itself after some seconds."""
        if self.closing is None:
            self.closing = time.monotonic() + seconds

    def close(self) -> None:
        """Ends the thread; what is still under way is told that it was cut."""
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
                self.end_what_must_end()
                self.publish(self.engine.step())
        except Exception:  # whatever it is, nobody may wait for an answer that will not come
            logging.getLogger(__name__).exception("the engine has failed")
            self.failed = True
            self.loop.call_soon_threadsafe(self.on_failure)
        with self.wake:
            self.stopped = True
            rest = [*self.jobs.values(), *self.inbox]
        ending: Ending = "failed" if self.failed else "shutdown"
        self.send([(job.call, Update(job.index, (), "", 0, ending)) for job in rest])

    def wait_for_work(self) -> bool:
        """Hands new requests to the engine, and waits while there are none; False: end."""
        with self.wake:
            while not (self.inbox or self.engine.busy or self.closed):
                self.wake.wait()
            arrived, self.inbox = self.inbox, []
        for job in arrived:
            self.jobs[self.engine.submit(job.request)] = job
        return not self.closed

    def end_what_must_end(self) -> None:
        """Cancels what nobody waits for, and what has taken too long."""
        now = time.monotonic()
        for answer, job in self.jobs.items():
            if answer.cancelled:
                continue
            if job.call.cancelled:
                job.ending = "cancelled"
            elif now > job.call.until:
                job.ending = "time"
            elif self.closing is not None and now > self.closing:
                job.ending = "shutdown"
            if job.ending:
                answer.cancel()

    def publish(self, answers: Sequence[Answer]) -> None:
        """Tells the event loop what is new about some answers."""
        news = []
        for answer in answers:
            job = self.jobs[answer]
            tokens = tuple(answer.tokens[job.sent :])
            text = "".join(token.text for token in tokens) + answer.tail
            ending = self.ending_of(answer, job) if answer.finish_reason else None
            self.measure(answer, job, len(tokens), ending)
            job.sent += len(tokens)
            news.append((job.call, Update(job.index, tokens, text, answer.reused, ending)))
            if ending:
                del self.jobs[answer]
        self.send(news)

    def ending_of(self, answer: Answer, job: Job) -> Ending:
        """Why an answer ended."""
        if answer.finish_reason == "stop":
            return "stop"
        if answer.finish_reason == "cancelled":
            return job.ending or "cancelled"
        full = len(answer.tokens) >= answer.request.sampling.max_tokens
        return "max_tokens" if full else "context"

    def measure(self, answer: Answer, job: Job, count: int, ending: Ending | None) -> None:
        """Counts what an answer took."""
        if not job.call.counted:
            return
        now = time.monotonic()
        if count:
            self.metrics.add_tokens(now - job.time, count, is_first=not job.sent)
            job.time = now
            job.begun = job.begun if job.sent else now
        if ending:
            self.metrics.add_answer(ending, len(answer.request.prompt), answer.reused)
            self.seconds += 0.1 * (now - job.begun - self.seconds)

    def send(self, news: Sequence[tuple[Call, Update]]) -> None:
        """Hands updates to the event loop, all of a step at once."""
        if news:
            self.loop.call_soon_threadsafe(hand_over, news, list(self.listeners))


def hand_over(news: Sequence[tuple[Call, Update]], listeners: Sequence[asyncio.Event]) -> None:
    """Gives updates to those who wait for them."""
    for call, update in news:
        call.receive(update)
    if any(update.tokens for _, update in news):
        for listener in listeners:
            listener.set()
