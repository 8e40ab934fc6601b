"""Both ends of a terminal: what a person types, and what they are shown.

Answers go to standard output; greetings and notes go to standard error, so that what is piped on is
the answers alone.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from inference.terminal.session import readable

CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}
"""Characters that would move a terminal's cursor or ring its bell, as a badly trained model may."""

PROMPT = "\n> "
MORE = "… "
"""Stands before the further lines of a message."""

ReadLine = Callable[[], str | None]
"""Gives the user's next message; None at the end of the input."""


def prepare_streams() -> None:
    """Lets no text fail for want of an encoding."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was replaced, as in a test
            stream.reconfigure(errors="replace")


def show(text: str) -> None:
    """Writes a piece of an answer at once."""
    sys.stdout.write(text.translate(CONTROL) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def tell(*lines: str, style: str = "2") -> None:
    """Writes lines about the chat, on a terminal dim or in another style."""
    for line in lines:
        print(paint(line, style), file=sys.stderr, flush=True)


def paint(text: str, style: str) -> str:
    """A text in a style of the terminal's (ECMA-48, SGR); as it is where standard error is none, or
    where colours are not wanted (no-color.org)."""
    if not text or not style or not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{style}m{text}\033[0m"


def open_input() -> ReadLine:
    """How messages are read: with editing and a history where a person types, else line by line."""
    if not sys.stdin.isatty():
        return read_pipe
    if sys.stdout.isatty():
        with suppress(ImportError):
            return open_editor(history_file())
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401  # its import gives input() line editing
    return read_typed


def read_pipe() -> str | None:
    """The next line of a pipe or a file."""
    try:
        return readable(input())
    except EOFError:
        return None


def read_typed() -> str | None:
    """The next message of a person; a backslash at the end of a line says that another follows."""
    lines: list[str] = []
    try:
        while True:
            print(MORE if lines else PROMPT, end="", file=sys.stderr, flush=True)
            lines.append(readable(input()))
            if not lines[-1].endswith("\\"):
                return "\n".join(lines)
            lines[-1] = lines[-1][:-1]
    except EOFError:
        tell("")
        return None


def history_file() -> Path:
    """Where the messages that were typed are kept, readable by their writer alone (XDG Base
    Directory Specification)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "etude" / "chat_history"


def open_editor(history: Path) -> ReadLine:
    """Reads with prompt_toolkit: editing, a history, messages of several lines.

    Raises:
        ImportError: it is not installed.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    # Enter sends, also where it arrives as a line feed because it was pressed too early.
    for key in ("enter", "c-j"):
        keys.add(key)(lambda event: event.current_buffer.validate_and_handle())
    keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
    kept: History = InMemoryHistory()
    with suppress(OSError):
        history.parent.mkdir(parents=True, exist_ok=True)
        history.touch(mode=0o600)
        kept = FileHistory(str(history))
    session: PromptSession[str] = PromptSession(
        history=kept,
        key_bindings=keys,
        multiline=True,
        reserve_space_for_menu=0,
        prompt_continuation=lambda width, number, wrapped: MORE,
    )

    def read() -> str | None:
        print()
        try:
            return readable(session.prompt(PROMPT.lstrip("\n")))
        except EOFError:
            return None

    return read
