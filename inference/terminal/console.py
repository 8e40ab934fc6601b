"""Both ends of a terminal: what a person types, and what they are shown.

Answers go to standard output; greetings and notes go to standard error, so that a pipe gets the
answers alone.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast
from unicodedata import east_asian_width

from config import UserError
from inference.engine.answers import Spell, Token, token_text
from terminal import has_colours, is_screen

CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}
"""Characters that would move a terminal's cursor or ring its bell, as a badly trained model may."""

PROMPT = "> "
MORE = "… "
"""Stands before the further lines of a message."""

WIDTH = 16
"""Columns for a token."""
BAR = 10
"""Columns for a probability."""

ReadLine = Callable[[], str | None]
"""Gives the user's next message; None at the end of the input."""


def prepare_streams() -> None:
    """Makes standard streams replace what their encoding cannot hold, in place of raising."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was replaced, as in a test
            stream.reconfigure(errors="replace")


def readable(text: str) -> str:
    """A text without half surrogate pairs, which stand for bytes that were not UTF-8 on a command
    line."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def show(text: str) -> None:
    """Writes a piece of an answer at once."""
    sys.stdout.write(text.translate(CONTROL) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def show_note(text: str) -> None:
    """Writes a piece of what is no answer, such as a thought, at once; on a terminal dim."""
    print(paint(text.translate(CONTROL), "2"), end="", file=sys.stderr, flush=True)


def notify(*lines: str, style: str = "2") -> None:
    """Writes lines about the chat, on a terminal dim or in another style."""
    for line in lines:
        print(paint(line, style), file=sys.stderr, flush=True)


def paint(text: str, style: str) -> str:
    """A text in a style of the terminal's (ECMA-48, SGR); unchanged where standard error is not a
    terminal, or colours are switched off (no-color.org)."""
    if not text or not style or not has_colours(sys.stderr):
        return text
    return f"\033[{style}m{text}\033[0m"


def open_input() -> ReadLine:
    """How messages are read: with editing and a history where a person types, else line by line."""
    if not sys.stdin.isatty():
        return open_pipe()
    return open_editor(history_file(), on_stderr=not sys.stdout.isatty())


def open_pipe() -> ReadLine:
    """Reads a pipe or a file line by line: UTF-8, or UTF-16 with a byte-order mark, as PowerShell
    writes it."""

    def read() -> str | None:
        line = sys.stdin.readline()
        return readable(line).removesuffix("\n") if line else None

    try:
        if isinstance(sys.stdin, io.TextIOWrapper):  # else it was replaced, as in a test
            start = cast(io.BufferedReader, sys.stdin.buffer).peek(2)[:2]
            encoding = (
                "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
            )
            sys.stdin.reconfigure(encoding=encoding, errors="replace")
    except OSError as error:
        raise UserError(
            f"standard input cannot be read ({error.strerror}): give a message with --prompt"
        ) from error
    return read


@contextmanager
def hidden_keys() -> Iterator[None]:
    """Keeps keys that are pressed while the model answers off the screen: they wait for the next
    prompt."""
    try:
        import termios
    except ImportError:  # Windows shows only what a program reads
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    hidden = [*before]
    hidden[3] &= ~(termios.ECHO | termios.ICANON)  # the local modes; Ctrl-C stays a signal ...
    hidden[3] |= termios.NOFLSH  # ... that does not cost what was typed before it
    termios.tcsetattr(sys.stdin, termios.TCSANOW, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def history_file() -> Path:
    """Where typed messages are kept, readable by their writer alone (XDG Base
    Directory Specification)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "etude" / "chat_history"


def open_editor(history: Path, on_stderr: bool = False) -> ReadLine:
    """Reads with prompt_toolkit: editing, a history, messages of several lines.

    Args:
        history: the file of earlier messages; without one that can be written, none are kept.
        on_stderr: show what is typed on standard error, where answers are redirected.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.output import create_output
    from prompt_toolkit.output.plain_text import PlainTextOutput

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
    shown = sys.stderr if on_stderr else sys.stdout
    output = create_output(shown) if is_screen(shown) else PlainTextOutput(shown)
    with create_app_session(output=output):  # not given: then a dumb terminal gets plain lines
        session: PromptSession[str] = PromptSession(
            history=kept,
            key_bindings=keys,
            multiline=True,
            reserve_space_for_menu=0,
            prompt_continuation=lambda width, number, wrapped: "" if wrapped else MORE,
        )

    def read() -> str | None:
        notify("")
        try:
            return readable(session.prompt(PROMPT))
        except EOFError:
            return None

    return read


def view_tokens(tokens: Sequence[Token], spell: Spell) -> Iterator[str]:
    """Lines that show an answer's tokens: its text, coloured by surprise, then a line for each
    token with its probability and the alternatives."""
    yield from tinted(tokens).split("\n")
    yield ""
    for token in tokens:
        logprob = token.logprob or 0.0
        bar = "▇" * round(BAR * math.exp(logprob))
        others = [
            f"{visible(spell(other))} {percent(value)}"
            for other, value in token.alternatives
            if other != token.id
        ]
        name = padded(visible(spell(token.id)), WIDTH)
        line = f"{percent(logprob):>6} {bar:<{BAR}} {paint(name, style(logprob))} "
        yield line + paint("  ".join(others), "2")


def tinted(tokens: Sequence[Token]) -> str:
    """The text, each token in the colour of its surprise."""
    parts = []
    for token in tokens:
        lines = token.text.translate(CONTROL).split("\n")
        parts.append("\n".join(paint(line, style(token.logprob or 0.0)) for line in lines))
    return "".join(parts)


def style(logprob: float) -> str:
    """The colour of a token's surprise (SGR): none for a likely token, cyan, yellow, red."""
    bits = -logprob / math.log(2)
    return "31" if bits > 6 else "33" if bits > 3 else "36" if bits > 1 else ""


def percent(logprob: float) -> str:
    """A probability in per cent, rounded."""
    share = 100 * math.exp(logprob)
    return "<0.1 %" if share < 0.095 else f"{share:.{int(share < 9.95)}f} %"


def visible(data: bytes) -> str:
    """A token on its own: blanks as symbols, bytes that are no character in hexadecimal."""
    text = token_text(data)
    if text.startswith("bytes:") and "\\x" in text:
        return f"<{data.hex(' ').upper()}>"
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥").translate(CONTROL)


def padded(text: str, width: int) -> str:
    """A text filled up to some columns; Chinese characters take two."""
    taken = sum(1 + (east_asian_width(character) in "WF") for character in text)
    return text + " " * (width - taken)
