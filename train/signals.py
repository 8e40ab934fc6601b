"""Stopping on a signal without losing a step."""

from __future__ import annotations

import signal
from types import FrameType

STOPPING = ["SIGINT", "SIGTERM", "SIGHUP"]


class StopRequest:
    """Notes a stop signal; the loop looks at it between two steps, saves and leaves.

    SIGINT, SIGTERM and SIGHUP give the exit codes 130, 143 and 129. A second signal changes
    nothing: the save goes on.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.before: dict[int, signal.Handlers | object] = {}

    def __enter__(self) -> StopRequest:
        for name in STOPPING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None:
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
