"""Punctuation around what was dropped: no empty brackets, no comma without a word before it."""

from __future__ import annotations

import re

from data_process.wiki.marks import GAP

OPEN, CLOSE = "(（", ")）"
IN_BRACKETS = re.compile(
    rf"[ \t]*([{OPEN}])([^{OPEN}{CLOSE}\n{GAP}]*{GAP}[^{OPEN}{CLOSE}\n]*)([{CLOSE}])"
)
SEPARATORS = ",;:，；：、/·•–—"
EDGE = f" \t\xa0{SEPARATORS}{GAP}"
BETWEEN = re.compile(
    rf"[ \t]*([{SEPARATORS}])[ \t{GAP}]*{GAP}[ \t{GAP}]*[{SEPARATORS}]"
    rf"|[ \t]*[{SEPARATORS}][ \t]*{GAP}[ \t{GAP}]*(?=$)"
)
MEANINGLESS = re.compile(
    r"(?:pronounced|pronunciation|ipa|listen|or|and|also|from|born|in|the|see|local|locally|"
    r"usually|sometimes|often|phonetically|help|info|发音|發音|读音|讀音|国际音标|國際音標|"
    r"又|或|音标|原名|произношение|или|от|発音|または|[\W_])*",
    re.IGNORECASE,
)
"""What brackets hold when what they were made for is gone."""
BEFORE_MARK = re.compile(
    rf"[ \t]*{GAP}[ \t{GAP}]*(?=[,.;:!?)\]，。；：、！？）」』”]|$)", re.MULTILINE
)
AT_START = re.compile(rf"^([*#:;]*)[ \t]*{GAP}[ \t{GAP}]*[,;:，；：、.。]?[ \t]*", re.MULTILINE)
BETWEEN_WORDS = re.compile(rf"([ \t]?){GAP}[ \t{GAP}]*")
EMPTY_QUOTES = re.compile(
    rf"[ \t]*(?:\"{GAP}+\"|“{GAP}+”|「{GAP}+」|《{GAP}+》|『{GAP}+』|\[{GAP}+\])"
)


def close_gaps(text: str) -> str:
    """Takes away the punctuation that belonged to what is gone."""
    if GAP not in text:
        return text
    for _ in range(3):  # brackets in brackets
        if (closed := IN_BRACKETS.sub(in_brackets, text)) == text:
            break
        text = closed
    text = EMPTY_QUOTES.sub(GAP, text)
    text = AT_START.sub(r"\1", text)
    text = BEFORE_MARK.sub("", text)
    return BETWEEN_WORDS.sub(between_words, text)


def in_brackets(match: re.Match[str]) -> str:
    """Brackets without the gaps in them; a gap if nothing of meaning is left."""
    opening, inside, closing = match.groups()
    space = " " if match[0][0] in " \t" else ""
    inside = BETWEEN.sub(r"\1", inside).strip(EDGE)
    inside = BETWEEN_WORDS.sub(between_words, inside)
    if MEANINGLESS.fullmatch(inside):
        return space + GAP
    return f"{space}{opening}{inside}{closing}"


def between_words(match: re.Match[str]) -> str:
    """One space where there was one before or after."""
    return " " if match[0].strip(GAP) else ""
