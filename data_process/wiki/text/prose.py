"""What of an expanded template is prose: no table, no box, no note, no icon."""

from __future__ import annotations

import re

from data_process.wiki.text.inline import caption_of
from data_process.wiki.text.kinds import Namespaces, table_of
from data_process.wiki.text.marks import CAPTION, GAP, HOLES, UNSET

TABLE = re.compile(r"^[ \t:*]*(?:\{\||\|)|<t(?:able|r|d|h)\b", re.MULTILINE | re.IGNORECASE)
ELEMENT = re.compile(r"<([a-z][a-z0-9]*)\b([^<>]*)(?<!/)>", re.IGNORECASE)
CLASSES = re.compile(r"""\bclass\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|\brole\s*=\s*[\"']?(?:navigation|note|alert)",
    re.IGNORECASE,
)
FRAMED = re.compile(r"\bfloat\s*:|\bborder(?:-left)?\s*:|\bbackground\b|\balign\s*=", re.IGNORECASE)
"""The style of a <div> that is a box."""
SPACES = r"(?:&nbsp;|&#160;|&#32;|[ \t\xa0])*"
PICTURE = re.compile(rf"\[\[[ \t]*([^\[\]|:\n]+):([^\[\]]*)\]\]{SPACES}(?:</span>{SPACES})?")
"""A link to a file or category, the end of the element around it, and the space that keeps it off
the text after it."""
TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
LINE_SIGNS = "*#:;"
"""At the beginning of a template, as of a line, they are markup."""
HATNOTE = re.compile(r"\A\s*:+\s*(?:<(?:i|small|em)\b|'')", re.IGNORECASE)


def prose_of(text: str, namespaces: Namespaces) -> str | None:
    """What an expanded template shows inside a text; empty: it is a box, a note or nothing at all;
    None: all that it shows is what cannot be known."""
    text = without_boxes(text.replace(UNSET, GAP))
    if TABLE.search(text) or HATNOTE.match(text):
        return ""
    if "[[" in text:
        text = PICTURE.sub(lambda match: shown_picture(match, namespaces), text)
    bare = TAG.sub("", text).replace(GAP, "")
    if not HOLES.sub("", bare).strip():
        return None if HOLES.search(bare) else ("" if bare.strip() or not bare else bare)
    return text if text[:1] in LINE_SIGNS or "\n" in text.strip() else text.strip("\n")


def is_box(text: str) -> bool:
    """Whether the fixed text of a template makes it a box, whatever it is called with."""
    if TABLE.search(text):
        return True
    text = text.strip()
    match = ELEMENT.match(text)
    return bool(match and is_left_out(match[1], match[2]) and end_of(text, match) == len(text))


def without_boxes(text: str) -> str:
    """A text without elements that are boxes, notes, or hidden."""
    pieces: list[str] = []
    position = 0
    while match := ELEMENT.search(text, position):
        if is_left_out(match[1], match[2]):
            pieces.append(text[position : match.start()] + GAP)
            position = end_of(text, match)
        else:
            pieces.append(text[position : match.end()])
            position = match.end()
    pieces.append(text[position:])
    return "".join(pieces)


def is_left_out(name: str, attributes: str) -> bool:
    """Whether an element is no prose, by its attributes."""
    if not attributes:
        return False
    if HIDDEN.search(attributes) or (name.lower() == "div" and FRAMED.search(attributes)):
        return True
    found = CLASSES.search(attributes)
    words = (found[1] or found[2] or found[3] or "").lower().split() if found else ()
    return any(word.startswith(tuple(table_of("kinds")["boxes"])) for word in words)


def end_of(text: str, opening: re.Match[str]) -> int:
    """Where an element ends; one that is never closed goes on to the end."""
    depth = 1
    tags = re.compile(rf"<(/?){opening[1]}\b[^<>]*(?<!/)>", re.IGNORECASE)
    for tag in tags.finditer(text, opening.end()):
        depth += -1 if tag[1] else 1
        if not depth:
            return tag.end()
    return len(text)


def shown_picture(match: re.Match[str], namespaces: Namespaces) -> str:
    """The caption of a picture if it is a sentence; other links stay as they are."""
    kind = match[1].strip().lower().replace("_", " ")
    if kind in namespaces.files:
        caption = caption_of(match[2].partition("|")[2])
        return caption if CAPTION in caption else ""
    return "" if kind in namespaces.categories else match[0]
