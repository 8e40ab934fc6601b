"""Stopping on a signal without losing a step."""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPPING = ["SIGINT", "SIGTERM", "SIGHUP"]


def leave_on_interrupt() -> None:
    """Makes Ctrl-C end this process at once with code 130, until a StopRequest takes over.

    While numpy and torch are being loaded, Python's KeyboardInterrupt may come up inside their C
    code, which swallows it (the run goes on) or aborts; a process that leaves cannot be kept.
    """
    signal.signal(signal.SIGINT, leave)


def leave(number: int, _: FrameType | None) -> None:
    """Ends the process; what it was writing has another name until it is whole."""
    os.write(2, b"\nstopped\n")
    os._exit(128 + number)


class StopRequest:
    """Notes a stop signal; the loop looks at it between two steps, saves and leaves.

    SIGINT, SIGTERM and SIGHUP give the exit codes 130, 143 and 129. A second signal changes
    nothing: the save goes on. Under nohup, a SIGHUP changes nothing either.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.before: dict[int, signal.Handlers | object] = {}

    def __enter__(self) -> StopRequest:
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

    def note(self, number: int, _: FrameType | None) -> None:
        """Remembers the first signal."""
        self.signal_number = self.signal_number or number

    @property
    def exit_code(self) -> int | None:
        """The code to leave with, or None when no signal came."""
        return None if self.signal_number is None else 128 + self.signal_number
