"""A script and the terminal it runs in: output that work does not depend on, and Ctrl-C.

Hours of work must not end because a pager was left, a disk with a log of the screen is full, or a
terminal was closed: what cannot be written is dropped, for files hold what was done. A command
whose result is its output says so by `output_is_the_result`.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import IO, Any, NoReturn

PATIENCE_S = 1.0
"""How long a line waits for a terminal that is stopped, or a pipe whose reader does not read."""
GRACE_S = 0.6
"""Time to put things away after Ctrl-C, before the process leaves anyway."""
AT_ONCE = 4096
"""Bytes that a pipe takes without a wait once it takes any (PIPE_BUF of Linux)."""


class Screen(io.RawIOBase):
    """A standard stream whose failures are its own."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.is_the_result = False
        """Whether a failure is raised."""
        self.failure: OSError | None = None
        """What was raised."""
        self.patience_s = PATIENCE_S

    def write(self, data: Any) -> int:
        """Writes all, in pieces that do not block; what cannot be written is dropped."""
        view = memoryview(data).cast("B")
        try:
            for start in range(0, len(view), AT_ONCE):
                piece = view[start : start + AT_ONCE]
                while piece and self.can_take_more():
                    piece = piece[self.raw.write(piece) or 0 :]
        except OSError as error:
            if self.is_the_result:
                self.is_the_result, self.failure = False, error
                raise
        return len(view)

    def can_take_more(self) -> bool:
        """Waits until something can be written; False after a while in which nothing could."""
        if sys.platform == "win32":  # which has select for sockets alone
            return True
        patience = None if self.is_the_result else self.patience_s
        ready = bool(select.select([], [self.raw], [], patience)[1])
        self.patience_s = PATIENCE_S if ready else 0.0
        return ready

    def writable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def isatty(self) -> bool:
        """See io.RawIOBase."""
        return self.raw.isatty()

    def fileno(self) -> int:
        """See io.RawIOBase."""
        return self.raw.fileno()


def keep_output_from_failing() -> None:
    """Makes standard output and error UTF-8, seen line by line, and never a reason to end. One that
    is closed is opened as the null device, before a file of ours gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # As coreutils do it: the number is taken, and using it still fails.
            os.dup2(os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY), number)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # python -u has no buffer between
        if stream is getattr(sys, f"__{name}__") and isinstance(raw, io.RawIOBase):  # no test's own
            protected = io.BufferedWriter(Screen(raw))
            text = io.TextIOWrapper(protected, "utf-8", "backslashreplace", line_buffering=True)
            setattr(sys, name, text)


def screen_of(stream: IO[str]) -> Screen | None:
    """The screen beneath a standard stream; None where it was replaced, as in a test."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Screen) else None


def output_is_the_result() -> None:
    """From here on standard output must be written: the command is there for it."""
    if screen := screen_of(sys.stdout):
        screen.is_the_result = True


def failed_output() -> OSError | None:
    """Why a result could not be written, if so; flushes what is left of it."""
    with suppress(OSError):
        sys.stdout.flush()
    screen = screen_of(sys.stdout)
    return screen.failure if screen else None


def is_screen(stream: IO[str]) -> bool:
    """Whether a stream is a terminal that obeys control characters."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def has_colours(stream: IO[str]) -> bool:
    """Whether a stream shows colours, and they are not switched off (no-color.org)."""
    return is_screen(stream) and not os.environ.get("NO_COLOR")


class SignalThread:
    """Calls a function with each signal at once, from a thread: also while the main thread is in
    native code (a compiler, a backward pass), where Python's own handlers wait for its end.

    Only signals that have a handler in Python reach it.
    """

    def __init__(self, on_signal: Callable[[int], None]) -> None:
        self.on_signal = on_signal

    def __enter__(self) -> None:
        self.ours, self.signals = socket.socketpair()  # Windows wakes by sockets alone
        self.signals.setblocking(False)
        self.before = signal.set_wakeup_fd(self.signals.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self.listen, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self.before)
        self.signals.close()

    def listen(self) -> None:
        """The life of the thread, which ends when the signals' end is closed."""
        if hasattr(signal, "pthread_sigmask"):  # signals are the main thread's, which may block
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with self.ours:
            while number := self.ours.recv(1):
                self.on_signal(number[0])


def handle_interrupts() -> None:
    """Has Ctrl-C handled by `interrupt`."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


class Ending:
    """The exit code of a script, once it has earned one: then a Ctrl-C ends it at once with that,
    and so does its last exit function. Python's own end, which takes seconds with torch and
    ignores Ctrl-C, is left out. Made before modules that have exit functions are imported."""

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self.leave)

    def earn(self, code: int) -> None:
        """Sets the code."""
        self.code = code
        signal.signal(signal.SIGINT, self.leave)

    def leave(self, *_: object) -> None:
        """Ends the process, if there is a code."""
        if self.code is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, RuntimeError):
                    stream.flush()
            os._exit(self.code)

    def leave_soon(self, number: int) -> None:
        """Ends the process some time after a Ctrl-C that is still handled by `interrupt` (the main
        thread is in native code), or by which the script has ended and is not gone."""
        if number == signal.SIGINT:
            time.sleep(GRACE_S)
            if signal.getsignal(number) is interrupt:
                leave(number)
            self.leave()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C: raises KeyboardInterrupt, but never inside an import: numpy's and torch's C
    code swallows it there (the script would go on) or aborts."""
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            leave(number)
        frame = frame.f_back
    raise KeyboardInterrupt


def leave(number: int) -> NoReturn:
    """Ends the process at once; what it was writing has another name until it is whole."""
    say("stopped")
    os._exit(128 + number)


def say(words: str) -> None:
    """Answers a signal, on a line of its own."""
    with suppress(RuntimeError):  # the handler may stand inside another print
        print(f"\n{words}", file=sys.stderr)
