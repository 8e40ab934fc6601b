"""Stopping on a signal without losing a step."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from terminal import SignalThread, leave, say

STOPPING = ["SIGINT", "SIGTERM", "SIGHUP"]
AGAIN_S = 0.5
"""A Ctrl-C this long after the first signal is a second one; before, it is the same one twice, from
a terminal and from a parent that passes it on."""


class StopRequest:
    """Notes a stop signal; the loop looks at it between two steps, saves and leaves.

    SIGINT, SIGTERM and SIGHUP give the exit codes 130, 143 and 129. The first one is answered at
    once, whatever the loop is doing, and where no step would be lost (the first one is being
    compiled) it ends the process. After that a Ctrl-C ends it without a save, but lets one that has
    begun come to its end; other signals change nothing. Under nohup, a SIGHUP never does.
    """

    def __init__(self, speaks: bool = True) -> None:
        """speaks: answer in words; of several processes, one does."""
        self.speaks = speaks
        self.signal_number: int | None = None
        self.answered_at: float | None = None
        self.unsaved = False
        """Whether this start has done a step."""
        self.is_saving = False
        self.before: dict[int, signal.Handlers | object] = {}
        self.thread = SignalThread(self.answer)

    def __enter__(self) -> StopRequest:
        self.thread.__enter__()
        for name in STOPPING:
            number: int | None = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None:
                continue
            if name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self.thread.__exit__()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Inside, no signal ends the process."""
        self.is_saving = True
        try:
            yield
        finally:
            self.is_saving = False

    def note(self, number: int, _: FrameType | None = None) -> None:
        """Remembers the first signal."""
        self.signal_number = self.signal_number or number

    def answer(self, number: int) -> None:
        """Says what a signal does, or does it; runs in a thread of its own."""
        self.note(number)
        now, is_saving = time.monotonic(), self.is_saving
        if self.answered_at is None:
            self.answered_at = now
            if not self.unsaved and not is_saving:
                leave(number)
            if self.speaks:
                again = "" if is_saving else "; Ctrl-C again to leave now, without saving"
                what = "save" if is_saving else "step"
                say(f"stopping after this {what}{again}")
        elif number == signal.SIGINT and not is_saving and now - self.answered_at > AGAIN_S:
            leave(number)

    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int | None:
        """The code to leave with, or None when no signal came."""
        return None if self.signal_number is None else 128 + self.signal_number
