"""Captions of pictures, and cells of tables: those that are sentences are kept, each in a paragraph
of its own."""

from __future__ import annotations

import re

from data_process.wiki.text.marks import BLOCK, BLOCK_END, CAPTION, CAPTION_END

SENTENCE_END = re.compile(r"[.!?。！？][\"'”’»」』)）\]]*\s*$")
INNER_END = re.compile(r"[^\W\d_]{4}[.!?]\s+[^\W\d_a-z]")
HAN = re.compile("[\u3040-\u9fff]")
MIN_LETTERS = 40
"""A Chinese or Japanese character counts as three."""
MARKED_PART = re.compile(f"{CAPTION}([^{CAPTION}{CAPTION_END}]*){CAPTION_END}")
CODE = re.compile(f"{BLOCK}[0-9]*{BLOCK_END}")


def is_sentence(text: str, min_letters: int = MIN_LETTERS) -> bool:
    """Whether a text is prose and no mere name: it is long enough, and has the end of a
    sentence."""
    if not SENTENCE_END.search(text) and not INNER_END.search(text):
        return False
    return len(text) + 2 * len(HAN.findall(text)) >= min_letters


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
