"""Text that is shown as it was typed.

Where a page shows markup (nowiki, code, formulas, entities), a space is put into it: `[ [`, `{ {`,
`< ref`. Nothing then takes it for markup, and it still reads as what it was.
"""

from __future__ import annotations

import re

from data_process.wiki.text.tags import ENTITY, TAG_NAMES, character

RARE = "[]{}|~_"
PAIRS = ("[[", "]]", "{{", "}}", "{|", "|}", "-{", "}-", "~~~", "__")
INSIDE = re.compile(
    r"(?<=\[)(?=\[)|(?<=\])(?=\])|(?<=\{)(?=[{|])|(?<=\})(?=[}-])|(?<=\|)(?=\})|(?<=-)(?=\{)"
    r"|(?<=~)(?=~)|(?<=_)(?=_[A-Za-z\u3040-\u9fff])"
)
LINK = re.compile(r"\[(?=(?:https?:|ftps?:|news:|irc:)?//|mailto:)", re.IGNORECASE)
QUOTES = re.compile("'(?=')")
TAG = re.compile(rf"<(?=!--|/?(?:{TAG_NAMES})\b)", re.IGNORECASE)


def kept_apart(text: str) -> str:
    """A text with a space in each piece of markup that it has."""
    if any(sign in text for sign in RARE):
        if any(pair in text for pair in PAIRS):
            text = INSIDE.sub(" ", text)
        if "[" in text:
            text = LINK.sub("[ ", text)
    if "''" in text:
        text = QUOTES.sub("' ", text)
    if "<" in text:
        text = TAG.sub("< ", text)
    return ENTITY.sub(apart, text) if "&" in text else text


def apart(match: re.Match[str]) -> str:
    """An entity that no one takes for one; what only looks like one stays."""
    return match[0] if character(match) == match[0] else f"& {match[1]};"
