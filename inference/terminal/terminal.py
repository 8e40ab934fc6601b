"""A chat in the terminal: message after message, or one answer and no more; text, or JSON for
scripts."""

from __future__ import annotations

import json
import sys

from config import UserError
from inference.terminal.commands import ALTERNATIVES, Talk, is_command, obey
from inference.terminal.console import ReadLine, open_input, prepare_streams, show, tell
from inference.terminal.session import Reply, open_session, readable
from inference.terminal.settings import TerminalConfig
from inference.terminal.speaker import Speaker
from inference.terminal.token_view import tokens_json


def run_chat(speaker: Speaker, config: TerminalConfig) -> None:
    """A chat in the terminal; with a prompt, one answer.

    Raises:
        UserError: the flags do not fit the model, or the prompt does not fit the context.
    """
    prepare_streams()
    person = sys.stdin.isatty() and config.prompt is None and not config.json
    # Probabilities cost a little; a script that did not ask for them does not see them.
    top_logprobs = ALTERNATIVES if person else config.logprobs
    talk = Talk(open_session(speaker, config), top_logprobs)
    answer = answer_in_json if config.json else answer_in_text
    if config.prompt is not None:
        if speaker.is_chat and not config.prompt.strip():
            raise UserError("--prompt is empty: write a message, or leave it out to chat")
        answer(talk, readable(config.prompt))
        if talk.last and talk.last.speech.finish_reason == "cancelled":
            raise KeyboardInterrupt
        return
    if person:
        kind = "" if speaker.is_chat else "A pretrained model: it continues what you write. "
        tell(speaker.title, f"{kind}/help shows the commands, Ctrl-D leaves.")
    converse(talk, open_input(), config.json)


def converse(talk: Talk, read: ReadLine, as_json: bool) -> None:
    """Answers message after message, until the input ends or the user leaves."""
    warned = False  # the last thing that happened was a Ctrl-C at the prompt
    while True:
        try:
            text = read()
            warned = False
            if text is None or text.strip() == "/exit":
                return
            respond(talk, text, as_json)
        except KeyboardInterrupt:
            if warned:
                tell("")
                return
            warned = True
            tell("", "Ctrl-C again leaves, as does Ctrl-D.")


def respond(talk: Talk, text: str, as_json: bool) -> None:
    """Answers a message, or obeys it."""
    line = text.strip()
    try:
        if is_command(line):
            obey(talk, line)
        elif line and as_json:
            answer_in_json(talk, text)
        elif line:
            if not talk.session.speaker.is_chat and sys.stdin.isatty():
                show(text)  # so that it reads as one with its continuation
            answer_in_text(talk, text)
    except UserError as error:
        if as_json:  # a script waits for a line a message
            print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
        else:
            tell(str(error))


def answer_in_text(talk: Talk, text: str) -> None:
    """Writes an answer as it comes."""
    talk.last = talk.session.ask(text, show, talk.top_logprobs)
    print(flush=True)
    tell(*talk.last.notes)


def answer_in_json(talk: Talk, text: str) -> None:
    """Writes an answer as a line of JSON when it is complete."""
    talk.last = talk.session.ask(text, lambda _: None, talk.top_logprobs)
    print(reply_json(talk.last, talk.session.speaker), flush=True)


def reply_json(reply: Reply, speaker: Speaker) -> str:
    """An answer for a script, on one line."""
    speech = reply.speech
    told = {
        "text": reply.text,
        "finish_reason": speech.finish_reason,
        "usage": {
            "prompt_tokens": speech.prompt_tokens,
            "cached_tokens": speech.cached_tokens,
            "completion_tokens": speech.completion_tokens,
            "total_tokens": speech.prompt_tokens + speech.completion_tokens,
        },
        "seconds": round(speech.seconds, 4),
        "tokens_per_second": round(speech.tokens_per_second, 1),
        "notes": reply.notes,
    }
    if speech.tokens:
        told["tokens"] = tokens_json(speech.tokens, speaker.spell)
    return json.dumps(told, ensure_ascii=False)
