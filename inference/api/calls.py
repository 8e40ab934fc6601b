"""What passes between an event loop and the thread of an engine: calls and news of their
answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from inference.engine.answers import Request, Token

Ending = Literal["stop", "max_tokens", "context", "time", "shutdown", "cancelled", "failed"]
"""What ended an answer: a stop token or text, one of its limits, or its owner."""


class OverloadedError(Exception):
    """More wait than may wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"come back in {seconds} s")
        self.seconds = seconds


class ClosedError(Exception):
    """The service ends, or its engine has failed."""


@dataclass(frozen=True)
class Update:
    """What is new about an answer."""

    index: int
    """Of its request, among those of the call."""
    tokens: tuple[Token, ...]
    text: str
    """What became certain since the last update."""
    reused: int
    """Tokens of the prompt that were in the cache."""
    ending: Ending | None
    """Why it ended; None while it goes on."""


class Call:
    """Some requests that are answered together; for the thread of the event loop."""

    def __init__(self, count: int, until: float, counted: bool) -> None:
        self.until = until
        """When it must have ended, by time.monotonic()."""
        self.counted = counted
        """Whether it is part of the metrics."""
        self.open = count
        """Answers that have not ended."""
        self.cancelled = False
        self.arrived: list[Update] = []
        self.ready = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether everything has been told."""
        return not self.open and not self.arrived

    async def updates(self) -> list[Update]:
        """What is new, as soon as there is something."""
        await self.ready.wait()
        self.ready.clear()
        arrived, self.arrived = self.arrived, []
        return arrived

    def receive(self, update: Update) -> None:
        """Takes news."""
        self.arrived.append(update)
        self.open -= update.ending is not None
        self.ready.set()

    def cancel(self) -> None:
        """Ends what has not ended; the slots are free at the next step."""
        self.cancelled = True


class Job:
    """One request on its way; for the engine's thread."""

    def __init__(self, call: Call, index: int, request: Request) -> None:
        self.call, self.index, self.request = call, index, request
        self.sent = 0
        """Tokens that were told."""
        self.ending: Ending | None = None
        """Why it was cancelled, where it was."""
        self.begun = self.time = time.monotonic()
        """When its first and its newest token came; before, when the request came."""
