"""Punctuation around what was dropped: no empty brackets, no comma without a word before it."""

from __future__ import annotations

import re

from data_process.wiki.text.marks import GAP

OPEN, CLOSE = "(（", ")）"
IN_BRACKETS = re.compile(
    rf"([{OPEN}])([^{OPEN}{CLOSE}\n{GAP}]*{GAP}[^{OPEN}{CLOSE}\n]*)([{CLOSE}])"
)
SEPARATORS = ",;:，；：、/·•–—"
BLANK = " \t\xa0"
BEFORE_CLOSING = frozenset(",.;:!?)]，。；：、！？）」』”》")
"""Signs that stand next to the word before them."""
AFTER_NOTHING = "-.。!?！？"
MARKERS = "*#:; "
MEANINGLESS = re.compile(
    r"(?:pronounced|pronunciation|ipa|listen|or|and|also|from|born|in|the|see|local|locally|"
    r"usually|sometimes|often|phonetically|help|info|发音|發音|读音|讀音|国际音标|國際音標|"
    r"又|或|音标|原名|произношение|или|от|発音|または|[\W_])*",
    re.IGNORECASE,
)
"""What brackets hold when what they were made for is gone."""
QUOTED = re.compile(rf"{GAP}[\"”」》』\]]")
EMPTY_QUOTES = re.compile(rf"\"{GAP}+\"|“{GAP}+”|「{GAP}+」|《{GAP}+》|『{GAP}+』|\[{GAP}+\]")


def close_gaps(text: str) -> str:
    """Takes away the punctuation that belonged to what is gone."""
    if GAP not in text:
        return text
    lines = (closed(line) if GAP in line else line for line in text.split("\n"))
    return "\n".join(line for line in lines if line is not None)


def closed(line: str) -> str | None:
    """A line without gaps; None where nothing else was in it."""
    for _ in range(3):  # brackets in brackets
        if (fewer := IN_BRACKETS.sub(in_brackets, line)) == line:
            break
        line = fewer
    if QUOTED.search(line):
        line = EMPTY_QUOTES.sub(GAP, line)
    return joined(line.split(GAP)) or None


def in_brackets(match: re.Match[str]) -> str:
    """Brackets without the gaps in them; a gap if nothing of meaning is left."""
    opening, inside, closing = match.groups()
    inside = joined(inside.split(GAP))
    inside = inside.strip(BLANK).rstrip(SEPARATORS + BLANK)
    return GAP if MEANINGLESS.fullmatch(inside) else f"{opening}{inside}{closing}"


def joined(pieces: list[str]) -> str:
    """The pieces of a line between its gaps, with a space where there was one; of the commas
    around a gap one stays."""
    kept = [pieces[0]]
    at_start = not pieces[0].strip(MARKERS)
    spaced = False
    for piece in pieces[1:]:
        before = kept[-1].rstrip(BLANK)
        after = piece.lstrip(BLANK)
        spaced = spaced or len(before) < len(kept[-1]) or len(after) < len(piece)
        if at_start:
            after = after.lstrip(SEPARATORS + BLANK + AFTER_NOTHING)
        elif before[-1:] in SEPARATORS:
            after = after.lstrip(SEPARATORS + BLANK)
        if not after:
            continue
        if not at_start:
            kept[-1] = before.rstrip(SEPARATORS + BLANK) if after[0] in CLOSE else before
            if spaced and after[0] not in BEFORE_CLOSING and before[-1:] not in OPEN:
                kept.append(" ")
        kept.append(after)
        at_start = spaced = False
    if len(kept) == 1 and at_start:
        return ""
    kept[-1] = kept[-1].rstrip(BLANK)
    return "".join(kept)
