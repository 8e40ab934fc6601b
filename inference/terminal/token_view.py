"""The tokens of an answer, with what else might have come: for a person, and for a script."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unicodedata import east_asian_width

from inference.engine.answers import Token
from inference.engine.token_bytes import token_text
from inference.terminal.console import CONTROL, paint

Spell = Callable[[int], bytes]
"""Gives the bytes of a token."""

WIDTH = 16
"""Columns for a token."""
BAR = 10
"""Columns for a probability."""


def view_tokens(tokens: Sequence[Token], spell: Spell) -> Iterator[str]:
    """Lines that show an answer's tokens: its text, tinted where it is surprising, then a line for
    each token with its probability and the alternatives."""
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
    """The colour of a surprise (SGR): none for a likely token, over yellow to red."""
    bits = -logprob / math.log(2)
    return "31" if bits > 6 else "33" if bits > 3 else "36" if bits > 1 else ""


def percent(logprob: float) -> str:
    """A probability for a person."""
    share = 100 * math.exp(logprob)
    return "<0.1 %" if share < 0.095 else f"{share:.{int(share < 9.95)}f} %"


def visible(data: bytes) -> str:
    """A token that stands alone: blanks can be seen, bytes that are no character are spelled."""
    text = token_text(data)
    if text.startswith("bytes:") and "\\x" in text:
        return f"<{data.hex(' ').upper()}>"
    return text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥").translate(CONTROL)


def padded(text: str, width: int) -> str:
    """A text filled up to some columns; Chinese characters take two."""
    taken = sum(1 + (east_asian_width(character) in "WF") for character in text)
    return text + " " * (width - taken)


def tokens_json(tokens: Sequence[Token], spell: Spell) -> list[dict[str, Any]]:
    """The tokens in the form of OpenAI's API."""
    return [
        {
            **told(token.id, token.logprob, spell),
            "top_logprobs": [told(other, value, spell) for other, value in token.alternatives],
        }
        for token in tokens
    ]


def told(token: int, logprob: float | None, spell: Spell) -> dict[str, Any]:
    """A token with its log-probability."""
    data = spell(token)
    return {"token": token_text(data), "bytes": list(data), "logprob": logprob}
