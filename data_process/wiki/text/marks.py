"""Marks that the passes put into a page for later ones, and what becomes of gaps and captions.

They are control characters, which cannot occur in XML, so none can occur in a page.
"""

from __future__ import annotations

import re

GAP = "\x01"
"""Something was dropped here: its punctuation may go too."""
CAPTION, CAPTION_END = "\x03", "\x04"
"""Around a caption, which gets a paragraph of its own before the line that it stands in."""
LITERAL, LITERAL_END = "\x05", "\x06"
"""Around the number of a text that is shown as it was typed."""
BLOCK, BLOCK_END = "\x07", "\x08"
"""The same, for lines of code."""
NOTHING = "\x0b"
"""Nothing, between apostrophes that do not belong together."""
NODE = "\x02"
"""What stands in braces, in a text that was made a tree."""
UNSET = "\x0e"
"""A parameter that a template was not given, and that has no default."""
HOLES = re.compile("[\ud800-\udfff]")
"""A gap where a template was dropped that cannot be shown: its number among them from U+D800 on.
Halves of surrogate pairs cannot occur in XML either."""
ALL = "".join(
    (GAP, CAPTION, CAPTION_END, LITERAL, LITERAL_END, BLOCK, BLOCK_END, NOTHING, NODE, UNSET, "\0")
)
DELETED = dict.fromkeys(map(ord, ALL))

SENTENCE_END = re.compile(r"[.!?。！？।॥؟۔።։][\"'”’»」』)）\]]*\s*$")
INNER_END = re.compile(r"[^\W\d_]{4}[.!?]\s+[^\W\d_a-z]")
SYLLABLE = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")
MIN_LETTERS = 40
"""Of a sentence; a Chinese, Japanese or Korean character counts as three."""
MARKED_PART = re.compile(f"{CAPTION}([^{CAPTION}{CAPTION_END}]*){CAPTION_END}")
CODE = re.compile(f"{BLOCK}[0-9]*{BLOCK_END}")

OPEN, CLOSE = "(（", ")）"
IN_BRACKETS = re.compile(
    rf"([{OPEN}])([^{OPEN}{CLOSE}\n{GAP}]*{GAP}[^{OPEN}{CLOSE}\n]*)([{CLOSE}])"
)
SEPARATORS = ",;:，；：、/·•–—"
BLANK = " \t\xa0"
BEFORE_CLOSING = frozenset(",.;:!?)]，。；：、！？）」』”》")
"""Signs that stand next to the word before them."""
AFTER_NOTHING = "-.。!?！？"
LINE_STARTS = "*#:; "
MEANINGLESS = re.compile(
    r"(?:pronounced|pronunciation|ipa|listen|or|and|also|from|born|in|the|see|local|locally|"
    r"usually|sometimes|often|phonetically|help|info|发音|發音|读音|讀音|国际音标|國際音標|"
    r"又|或|音标|原名|произношение|или|от|発音|または|[\W_])*",
    re.IGNORECASE,
)
"""What brackets hold when what they were made for is gone."""
QUOTED = re.compile(rf"{GAP}[\"”」》』\]]")
EMPTY_QUOTES = re.compile(rf"\"{GAP}+\"|“{GAP}+”|「{GAP}+」|《{GAP}+》|『{GAP}+』|\[{GAP}+\]")


def without_marks(text: str) -> str:
    """A text from elsewhere, which has none of them."""
    return text.translate(DELETED) if any(mark in text for mark in ALL) else text


def is_sentence(text: str, min_letters: int = MIN_LETTERS) -> bool:
    """Whether a caption or a cell of a table is prose and no mere name: it is long enough, and has
    the end of a sentence."""
    if not SENTENCE_END.search(text) and not INNER_END.search(text):
        return False
    return len(text) + 2 * len(SYLLABLE.findall(text)) >= min_letters


def place_captions(text: str) -> str:
    """Puts the captions before the lines that they stand in."""
    if CAPTION not in text:
        return text
    text = MARKED_PART.sub(in_one_line, text)
    return "\n".join(place_in(line) if CAPTION in line else line for line in text.split("\n"))


def in_one_line(match: re.Match[str]) -> str:
    """A caption without line breaks, and without lines of code, which cannot stand in it."""
    return f"{CAPTION}{' '.join(CODE.sub('', match[1]).split())}{CAPTION_END}"


def place_in(line: str) -> str:
    """A line without its captions, after them."""
    captions = MARKED_PART.findall(line)
    rest = MARKED_PART.sub("", line).replace(CAPTION, "").replace(CAPTION_END, "")
    return "\n\n".join(["", *captions, rest])


def place_blocks(text: str) -> str:
    """Puts what stands for lines of code in lines of its own."""
    if BLOCK not in text:
        return text
    return text.replace(BLOCK, f"\n\n{BLOCK}").replace(BLOCK_END, f"{BLOCK_END}\n\n")


def close_gaps(text: str) -> str:
    """Removes the punctuation that belonged to what was dropped: no empty brackets, no comma
    without a word before it."""
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
    at_start = not pieces[0].strip(LINE_STARTS)
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
