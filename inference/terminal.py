"""The terminal side of a chat: reads lines, writes answers, obeys commands and Ctrl-C.

Answers go to standard output; greetings and notes go to standard error, so that what is piped on is
the answers alone.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

from config import ChatConfig, UserError
from inference.session import Session, open_session, readable
from inference.speaker import Speaker

HELP = """\
/clear   begin a new conversation
/help    show this
/exit    leave (as does Ctrl-D, or Ctrl-C twice)
Ctrl-C   stop the answer"""

CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}
"""Characters that would move a terminal's cursor or ring its bell, as a badly trained model may."""


def run_chat(speaker: Speaker, config: ChatConfig) -> None:
    """A chat in the terminal; with a prompt, one answer.

    Raises:
        UserError: the flags do not fit the model, or the prompt does not fit the context.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it was replaced, as in a test
            stream.reconfigure(errors="replace")
    session = open_session(speaker, config)
    if config.prompt is not None:
        answer_once(session, config.prompt, speaker.is_chat)
        return
    greet(speaker)
    talk(session, echo=not speaker.is_chat)


def answer_once(session: Session, prompt: str, is_chat: bool) -> None:
    """Answers one prompt and nothing else; Ctrl-C ends the program."""
    if is_chat and not prompt.strip():
        raise UserError("--prompt is empty: write a message, or leave it out to chat")
    reply = session.ask(readable(prompt), show)
    print(flush=True)
    tell(*reply.notes)
    if "stopped" in reply.notes:
        raise KeyboardInterrupt


def greet(speaker: Speaker) -> None:
    """Says who is there and what can be done, to a person."""
    if sys.stdin.isatty():
        kind = "" if speaker.is_chat else "A pretrained model: it continues what you write. "
        tell(speaker.title, f"{kind}/help shows the commands, Ctrl-D leaves.")
        with suppress(ImportError):  # not on Windows
            import readline  # noqa: F401  # its import gives input() line editing and a history


def talk(session: Session, echo: bool) -> None:
    """Answers line after line, until the input ends or the user leaves.

    Args:
        session: what to talk to.
        echo: whether to show a text again before its continuation, so that it reads as one.
    """
    warned = False  # the last thing that happened was a Ctrl-C at the prompt
    while True:
        try:
            line = read_line()
            warned = False
            if line is None or line.strip() == "/exit":
                return
            answer_line(session, line, echo and sys.stdin.isatty())
        except KeyboardInterrupt:
            if warned:
                tell("")
                return
            warned = True
            tell("", "Ctrl-C again leaves, as does Ctrl-D.")


def read_line() -> str | None:
    """The next line of the user's; None at the end."""
    prompt = "\n> " if sys.stdin.isatty() else ""
    try:
        if sys.stdout.isatty():
            return readable(input(prompt))
        print(prompt, end="", file=sys.stderr, flush=True)
        return readable(input())
    except EOFError:
        if prompt:
            tell("")
        return None


def answer_line(session: Session, line: str, echo: bool) -> None:
    """Answers a line, or obeys it."""
    command = line.strip()
    if not command:
        return
    if command == "/clear":
        tell(session.clear())
    elif command == "/help":
        tell(*HELP.splitlines())
    elif command.startswith("/") and command[1:].isalpha():
        tell(f"there is no {command}; /help shows the commands")
    else:
        try:
            if echo:
                show(line)
            reply = session.ask(line, show)
        except UserError as error:
            tell(str(error))
            return
        print(flush=True)
        tell(*reply.notes)


def show(text: str) -> None:
    """Writes a piece of an answer at once."""
    sys.stdout.write(text.translate(CONTROL) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def tell(*lines: str) -> None:
    """Writes lines about the chat, dim on a terminal."""
    dim = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    for line in lines:
        print(f"\033[2m{line}\033[0m" if dim and line else line, file=sys.stderr, flush=True)
