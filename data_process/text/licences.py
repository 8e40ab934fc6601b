"""The licence and the notes of Project Gutenberg, before and after the text of a book."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from data_process.text.files import blocks

RULE = "licence of Project Gutenberg"
BLOCK = 1 << 16
"""Characters that are looked at together; no header is as long."""
MARK = re.compile(
    r"^[ \t]*(?:"
    r"(?P<begin>\*+ ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)[^*]{0,300}\*\*\*.*"
    r"|\*END\*? ?THE SMALL PRINT!.*)"
    r"|(?P<end>\*+ ?END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)[^*]{0,300}\*\*\*.*"
    r"|End of (?:the |this )?Project Gutenberg(?:['’]s)?(?: E(?:book|text))?\b.{0,200}))$"
    r"(?:[ \t]*\n)*",
    re.MULTILINE | re.IGNORECASE,
)
"""The lines between which the text of a book stands, in all forms since 1991."""
CREDITS = re.compile(
    r"\s*^(?:Produced|E-?text prepared|This E-?text was (?:produced|prepared)|Transcribed)"
    r" by (?:the )?(?-i:[A-Z])(?:.+\n){1,6}(?=[ \t]*\n)",
    re.MULTILINE | re.IGNORECASE,
)
"""Who made the file, below the header."""
LEAST_TEXT = 200
"""Characters of what could be text at the end of a file."""
NAME = re.compile("gutenberg|small print", re.IGNORECASE)
NEAR = 3_000
"""Characters after the end of a book in which its licence names the project."""


def licence_apart(chunks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """A text that comes in chunks in pieces of whole lines, and whether each belongs to a licence;
    joined, they are the text."""
    waiting, is_licence, is_head = "", False, True
    for block, is_last in blocks(chunks, BLOCK):
        waiting += block
        while found := next_mark(waiting, len(waiting) - (0 if is_last else NEAR)):
            begins = found["begin"] is not None
            yield waiting[: found.start()], is_licence or (is_head and begins)
            end = found.end()
            if begins and (credit := CREDITS.match(waiting, end)):
                end = credit.end()
            yield waiting[found.start() : end], True
            waiting, is_head = waiting[end:], False
            is_licence = not begins and is_licence_begun(waiting)
        is_head = False
        done = len(waiting) if is_last else waiting.rfind("\n", 0, -NEAR) + 1
        yield waiting[:done], is_licence
        waiting = waiting[done:]


def next_mark(text: str, before: int) -> re.Match[str] | None:
    """Where the text of a book begins or ends next, before a place."""
    if not NAME.search(text):
        return None
    found = MARK.search(text)
    return found if found and found.start() < before else None


def is_licence_begun(text: str) -> bool:
    """Whether what stands after the end of a book is its licence: it names the project soon, or
    there is hardly anything."""
    return bool(NAME.search(text[:NEAR])) or len(text) < LEAST_TEXT


def licence_lines(text: str) -> Iterator[int]:
    """The numbers, from 0, of the lines of licences."""
    number = 0
    for piece, is_licence in licence_apart([text]) if NAME.search(text) else ():
        count = piece.count("\n")
        if is_licence and piece:
            yield from range(number, number + count + (not piece.endswith("\n")))
        number += count
