"""Regions whose text is not wikitext: comments, references, nowiki, code, formulas, galleries.

What a page shows as it was typed (nowiki, code, formulas, signs of markup written as entities) is
kept aside, and put back when all passes are done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from data_process.wiki.text.inline import ENTITY, character, decode_entities
from data_process.wiki.text.marks import (
    BLOCK,
    BLOCK_END,
    CAPTION,
    CAPTION_END,
    GAP,
    LITERAL,
    LITERAL_END,
    NOTHING,
    is_sentence,
)

DROPPED = (
    "ref|references|timeline|score|imagemap|graph|mapframe|maplink|templatestyles|indicator|hiero|"
    "inputbox|categorytree|style|script|includeonly|templatedata|charinsert|"
    "pages|pagelist|pagequality"
)
SHOWN = "nowiki|pre|syntaxhighlight|source|math|chem|ce|gallery"
OPENING = re.compile(rf"<(?:!--|({DROPPED}|{SHOWN})\b([^<>]*)>([^<]*)(</\1\s*>)?)", re.IGNORECASE)
"""A region's beginning; where it holds no other tag, all of it."""
AFTER_NOTE = frozenset(",.;:")
STORED = re.compile(f"[{LITERAL}{BLOCK}]([0-9]+)[{LITERAL_END}{BLOCK_END}]")
BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")
NOWIKI_TAG = re.compile(r"</?nowiki\s*/?>", re.IGNORECASE)
LINE_SIGNS = frozenset("*#:;=|{-")
"""Signs that mean something at the beginning of a line; written as entities they do not."""


@dataclass
class Literals:
    """The texts of a page that are shown as they were typed."""

    latex: bool
    """Whether formulas are kept."""
    texts: list[str] = field(default_factory=list)

    def store(self, text: str) -> str:
        """Keeps a text that stands in a line; returns what stands for it."""
        if not text.strip():  # it only parts the markup on its two sides
            return f"{NOTHING}{text}{NOTHING}"
        self.texts.append(text)
        return f"{LITERAL}{len(self.texts) - 1}{LITERAL_END}"

    def store_block(self, text: str) -> str:
        """Keeps lines of code; returns what stands for them."""
        if not text.strip():
            return "\n"
        self.texts.append(BLANK_LINES.sub("", text).rstrip())
        return f"{BLOCK}{len(self.texts) - 1}{BLOCK_END}"

    def decode_entities(self, text: str) -> str:
        """Replaces each entity by its character, once; a sign that would then begin a list or a
        heading is stored."""
        return ENTITY.sub(self.show_character, text) if "&" in text else text

    def show_character(self, match: re.Match[str]) -> str:
        """What stands for an entity."""
        found = character(match)
        return self.store(found) if found in LINE_SIGNS else found

    def restore(self, text: str) -> str:
        """Puts the stored texts and blocks back."""
        return STORED.sub(lambda m: self.texts[int(m[1])], text) if self.texts else text


def extract_regions(text: str, literals: Literals) -> str:
    """Drops the regions that are not text, and stores those that are shown as they are.

    As in MediaWiki, a tag that is never closed begins no region, and an unclosed comment goes on to
    the end.
    """
    if "<" not in text:
        return text
    pieces: list[str] = []
    position = 0
    unclosed: set[str] = set()
    while match := OPENING.search(text, position):
        pieces.append(text[position : match.start()])
        name = match[1]
        if name is None:
            position = end_of_comment(text, match.start())
            continue
        name = name.lower()
        content, position = content_of(text, match, unclosed)
        if content is not None and (render := RENDERERS.get(name)):
            pieces.append(render(match[2], content, literals))
        elif name == "nowiki":
            pieces.append(NOTHING)
        before, after = text[match.start() - 1 : match.start()], text[position : position + 1]
        if before == " " and after in AFTER_NOTE:
            pieces.append(GAP)
    pieces.append(text[position:])
    return "".join(pieces)


def end_of_comment(text: str, start: int) -> int:
    """Where a comment ends; one that has a line for itself takes the line's end with it."""
    end = text.find("-->", start + 4)
    if end < 0:
        return len(text)
    alone = text[max(0, start - 1) : start] in ("", "\n") and text[end + 3 : end + 4] == "\n"
    return end + 3 + alone


def content_of(text: str, match: re.Match[str], unclosed: set[str]) -> tuple[str | None, int]:
    """A region's content (None: it has none) and where it ends.

    Args:
        text: the page.
        match: its beginning.
        unclosed: tags that are closed nowhere after here, so that each is looked for once.
    """
    if match[2].endswith("/"):
        return None, match.start(3)
    if match[4]:
        return match[3], match.end()
    if (name := match[1].lower()) not in unclosed:
        closing = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, match.start(3))
        if closing:
            return text[match.start(3) : closing.start()], closing.end()
        unclosed.add(name)
    return None, match.start(3)


def show_nowiki(_: str, content: str, literals: Literals) -> str:
    """Text without markup."""
    return literals.store(decode_entities(content))


def show_lines(_: str, content: str, literals: Literals) -> str:
    """Text in lines."""
    return literals.store_block(decode_entities(NOWIKI_TAG.sub("", content)))


def show_code(attributes: str, content: str, literals: Literals) -> str:
    """Code, in a line of text or in lines of its own."""
    if "inline" in attributes or ("\n" not in content and "enclose" in attributes):
        return literals.store(content.strip())
    return literals.store_block(content)


def show_formula(_: str, content: str, literals: Literals) -> str:
    """A formula between dollar signs, or a gap."""
    latex = " ".join(decode_entities(content).split())
    if not literals.latex or not latex:
        return GAP
    return literals.store(f"${latex}$")


def show_chemistry(attributes: str, content: str, literals: Literals) -> str:
    """A chemical formula, as mhchem's command."""
    return show_formula(attributes, rf"\ce{{{content}}}", literals)


def show_gallery(_: str, content: str, literals: Literals) -> str:
    """The captions that are sentences."""
    lines = (line.partition("|")[2].strip() for line in content.split("\n"))
    kept = (f"{CAPTION}{line}{CAPTION_END}" for line in lines if is_sentence(line))
    return "\n" + "\n".join(kept) + "\n"


RENDERERS: dict[str, Callable[[str, str, Literals], str]] = {  # the other regions are dropped
    "nowiki": show_nowiki,
    "pre": show_lines,
    "syntaxhighlight": show_code,
    "source": show_code,
    "math": show_formula,
    "chem": show_chemistry,
    "ce": show_chemistry,
    "gallery": show_gallery,
}
