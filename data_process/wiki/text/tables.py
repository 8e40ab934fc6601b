"""Tables: dropped, except for cells that hold prose."""

from __future__ import annotations

import re

from data_process.wiki.text.captions import is_sentence

BORDER = re.compile(r"\{\||\|\}(?!\})")
MAX_INDENT = 40
"""Signs that may stand before a border in its line."""
CELL = re.compile(r"^[ \t:]*(?:\{\||\|\}|\|-|\|\+|[|!])|\|\||!!", re.MULTILINE)
ATTRIBUTES = re.compile(r"\s*[^\[\]{}|\n=]*=[^\[\]{}|\n]*\|(?!\|)")
MIN_LETTERS = 120
"""Of a cell that is prose; tables are also made of labels and short remarks."""
HTML_BORDER = re.compile(r"<(/?)table\b[^<>]*>", re.IGNORECASE)


def drop_tables(text: str) -> str:
    """Drops each outermost table. Of one that is never closed, only lines that look like rows can
    go; that is the business of lines."""
    if "{|" in text:
        found = (border(text, match) for match in BORDER.finditer(text))
        text = drop_pairs(text, [place for place in found if place])
    if "<table" in text or "<TABLE" in text:
        tags = HTML_BORDER.finditer(text)
        text = drop_pairs(text, [(m.start(), m.end(), not m[1]) for m in tags])
    return text


def border(text: str, match: re.Match[str]) -> tuple[int, int, bool] | None:
    """Start and end of a border and whether it opens; None where it does not begin its line."""
    start = text.rfind("\n", max(0, match.start() - MAX_INDENT), match.start()) + 1
    if not start and match.start() > MAX_INDENT:
        return None
    if text[start : match.start()].strip(" \t:*#;"):
        return None
    return start, match.end(), match[0] == "{|"


def drop_pairs(text: str, borders: list[tuple[int, int, bool]]) -> str:
    """Drops all between outermost pairs of borders.

    Args:
        text: the page.
        borders: start, end, and whether it opens.
    """
    stack: list[int] = []
    spans: list[tuple[int, int]] = []
    for start, end, opens in borders:
        if opens:
            stack.append(start)
        elif stack:
            begin = stack.pop()
            while spans and spans[-1][0] > begin:
                spans.pop()
            spans.append((begin, end))
    pieces = []
    position = 0
    for begin, end in spans:
        pieces.append(text[position:begin])
        pieces += prose_in(text[begin:end])
        position = end
    return "\n".join([*pieces, text[position:]])


def prose_in(table: str) -> list[str]:
    """The cells of a table that are prose, as paragraphs."""
    cells = (without_attributes(cell).strip() for cell in CELL.split(table))
    return [f"\n{cell}\n" for cell in cells if is_sentence(cell, MIN_LETTERS)]


def without_attributes(cell: str) -> str:
    """A cell without what says how it looks."""
    match = ATTRIBUTES.match(cell)
    return cell[match.end() :] if match else cell
