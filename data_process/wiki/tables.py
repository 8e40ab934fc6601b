"""Tables: dropped, except for cells that hold prose."""

from __future__ import annotations

import re

BORDER = re.compile(r"^[ \t:*#;]*\{\||^[ \t]*\|\}(?!\})", re.MULTILINE)
HTML_BORDER = re.compile(r"<(/?)table\b[^<>]*>", re.IGNORECASE)


def drop_tables(text: str) -> str:
    """Drops each outermost table. Of one that is never closed, only lines that look like rows can
    go; that is the business of lines."""
    if "{|" in text:
        borders = [(m.start(), m.end(), m[0][-1] == "|") for m in BORDER.finditer(text)]
        text = drop_pairs(text, borders)
    if "<table" in text or "<TABLE" in text:
        found = HTML_BORDER.finditer(text)
        text = drop_pairs(text, [(m.start(), m.end(), not m[1]) for m in found])
    return text


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
        position = end
    return "\n".join([*pieces, text[position:]])
