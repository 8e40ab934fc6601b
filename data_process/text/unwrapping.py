"""Texts that were wrapped by hand or by a program, as those of Project Gutenberg, one line a
paragraph again.

A break is a wrap when the first word of the next line had no room on its own: in wrapped prose that
is so for every line but the last of a paragraph, in verse, lists and dialogue for hardly any. Prose
also goes on in the middle of a sentence, while a verse mostly ends with a mark, or begins with a
capital.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

NARROWEST, WIDEST = 45, 120
"""Columns of the lines of wrapped texts; a Chinese character has two."""
PROSE = 56
"""Columns from which on paragraphs of a wrapped text are no verse."""
MOST_LONG = 0.05
"""Share of lines beyond the widest: what stands among wrapped lines, such as an address."""
NEAR, LEAST_NEAR = 0.6, 0.2
"""In a wrapped text this share of lines at least is this near to the width."""
ROOM = 8
"""A line may be shorter by this part of the width than it had to be: not every program fills lines,
and some count the bytes."""
IN_SENTENCE = 0.3
"""Least share of wraps in the middle of a sentence; in English and Chinese prose it is above 0.7,
in German, with its capitals, about a half, in verse hardly a tenth."""
ENOUGH = 3
"""When there are fewer wraps, all have to be in the middle of a sentence; in a paragraph of a text
that is known to be wrapped, and wide, none."""
MANY = 6
"""So many breaks, all of them wraps of a wide text or after sentences, need hardly any other sign:
names and titles begin with capitals."""
BLOCK = 1 << 16
"""Characters of a long text that are looked at together."""
LONGEST_WAITING = 1 << 22
"""Characters of a line that are held in memory."""
WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]"
)
CJK = re.compile("[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]")
"""Written without spaces, unlike Korean."""
FIRST_WORD = re.compile(
    "[\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60]|[^\\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60]+"
)
ITEM = re.compile(r"\s*(?:[-*•·▪●○◆■□–—>|#=]+\s|\d{1,3}[.)、．]|[(（]?\w{1,2}[)）]\s)|\u3000|\s*\|")
"""Begins an item of a list, or a paragraph: no line goes on so."""
OPENERS = "\"'“‘「『（(\\[《"
CLOSERS = "\"'”’」』）)]》"
END_MARKS = tuple(".!?。！？…:：")
HYPHEN = re.compile(r"\S(?:-|--|—)$")
PAUSES = (*END_MARKS, *",;，、；—")


class LineBreak(NamedTuple):
    """What the break between two lines that say something looks like."""

    is_full: bool = False
    """The next word had no room."""
    ends_sentence: bool = True
    """Or what follows is an item of a list."""
    in_sentence: bool = False
    """The line ends without a mark, and the next one does not begin with a capital or a digit."""


def unwrapped(text: str) -> str:
    """A text with one line a paragraph, if it was wrapped; else as it is."""
    if len(text) > WIDEST * (text.count("\n") + 1):
        return text
    lines = text.split("\n")
    if wrap_width(lines, columns) < NARROWEST:
        return text
    for measure in (columns,) if text.isascii() else (columns, characters):
        width = wrap_width(lines, measure)
        breaks = [line_break(*pair, width, measure) for pair in pairwise(lines)]
        found = list(filter(None, breaks))
        exact = width >= PROSE and len(found) >= MANY and all(map(is_explained, found))
        if is_wrapped(found, exact):
            return "".join(joined(lines, breaks, width >= PROSE))
    return text


def wrap_width(lines: Sequence[str], measure: Callable[[str], int]) -> int:
    """The width of the widest line, but for a few longer ones; 0 when these are too long to have
    been wrapped, or when hardly any line is near it."""
    widths = sorted(measure(line) for line in lines if line)
    width = widths[-1 - int(MOST_LONG * len(widths))] if widths else 0
    near = len(widths) - bisect_right(widths, NEAR * width)
    return width if width <= WIDEST and near >= LEAST_NEAR * len(widths) else 0


def joined(
    lines: Sequence[str], breaks: Sequence[LineBreak | None], is_wide: bool
) -> Iterator[str]:
    """The lines of a wrapped text and what stands between them; `is_wide`: no verse is as wide."""
    line, after = lines[0], iter(lines[1:])
    for between, group in groupby(breaks, bool):
        block = list(group)
        joins = between and is_wrapped([found for found in block if found], is_wide)
        for found, following in zip(block, after, strict=False):
            if joins and found and found.is_full:
                yield line.rstrip() + space_between(line, following)
                line = following.lstrip()
            else:
                yield line + "\n"
                line = following
    yield line


def characters(line: str) -> int:
    """How long a line is, without the space at its end."""
    return len(line.rstrip())


def columns(line: str) -> int:
    """How wide a line is, without the space at its end."""
    line = line.rstrip()
    return len(line) if line.isascii() else len(line) + len(WIDE.findall(line))


def line_break(
    line: str, following: str, width: int, measure: Callable[[str], int]
) -> LineBreak | None:
    """What a break looks like; None beside a blank line."""
    word = FIRST_WORD.search(following)
    if not word or not line or line.isspace():
        return None
    if indent(following) > max(1, indent(line)) or ITEM.match(following):
        return LineBreak()
    text = line.rstrip().rstrip(CLOSERS)
    ends_sentence = text.endswith(END_MARKS)
    if " " not in text.strip() and not CJK.search(text):  # an address, a path, a row of a table
        return LineBreak()
    room = 2 if ends_sentence else width // ROOM
    return LineBreak(
        is_full=measure(line) + 1 + measure(word.group()) > width - room,
        ends_sentence=ends_sentence,
        in_sentence=not text.endswith(PAUSES)
        and not begins_sentence(word.group().lstrip(OPENERS), text),
    )


def begins_sentence(word: str, before: str) -> bool:
    """Whether a word begins as sentences do, or rows of a list: with a capital or a digit."""
    return word[:1].isupper() or (word[:1].isdigit() and not CJK.search(before))


def indent(line: str) -> int:
    """How many spaces a line begins with."""
    return len(line) - len(line.lstrip())


def is_explained(found: LineBreak) -> bool:
    """Whether a break is a wrap, or stands where a paragraph may end."""
    return found.is_full or found.ends_sentence


def is_wrapped(breaks: Sequence[LineBreak], is_prose: bool = False) -> bool:
    """Whether most breaks of a text or a paragraph, but those after sentences, are wraps, and
    enough of these stand in the middle of a sentence; `is_prose`: it may be hardly any."""
    full = [found for found in breaks if found.is_full]
    others = sum(not found.is_full and not found.ends_sentence for found in breaks)
    in_sentence = sum(found.in_sentence for found in full)
    if len(full) < ENOUGH:
        needed = 0.0 if is_prose else len(full)
    else:
        needed = 1.0 if is_prose else IN_SENTENCE * len(full)
    return 2 * others <= len(full) > 0 and in_sentence >= needed


def space_between(line: str, following: str) -> str:
    """What stands between two lines that are joined: a space, but nothing in Chinese and Japanese,
    in a number among their characters, and after a hyphen or a dash that has no space before it."""
    if line[-1].isspace() or following[0].isspace():
        return " "
    is_cut_number = line[-1].isdigit() and following[0].isdigit() and CJK.search(line)
    if CJK.match(line[-1]) or CJK.match(following) or is_cut_number:
        return ""
    return "" if HYPHEN.search(line) else " "


def unwrapped_blocks(chunks: Iterable[str]) -> Iterator[str]:
    """A text that comes in chunks, unwrapped in blocks; a paragraph that a block cuts goes on in
    the next one."""
    waiting = ""
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > BLOCK:
            end = waiting.rfind("\n", 1, BLOCK)
            end = end if end > 0 else waiting.find("\n", 1)
            if end < 0:
                break
            head = unwrapped(waiting[:end])
            done = head.rfind("\n") + 1
            yield head[:done] or head
            waiting = (head[done:] if done else "") + waiting[end:]
        if len(waiting) > LONGEST_WAITING:  # one line: nothing to unwrap
            yield waiting
            waiting = ""
    yield unwrapped(waiting)
