"""Characters that stand in the text while it is cleaned: none can occur in XML, so none can occur
in a page."""

from __future__ import annotations

GAP = "\x01"
"""Something was dropped here: its punctuation may go too."""
PIPE = "\x02"
"""A | that parts no arguments."""
CAPTION, CAPTION_END = "\x03", "\x04"
"""Around a caption, which gets a paragraph of its own before the line that it stands in."""
LITERAL, LITERAL_END = "\x05", "\x06"
"""Around the number of a text that is shown as it was typed."""
BLOCK, BLOCK_END = "\x07", "\x08"
"""The same, for lines of code."""

ALL = "\0" + GAP + PIPE + CAPTION + CAPTION_END + LITERAL + LITERAL_END + BLOCK + BLOCK_END
DELETED = dict.fromkeys(map(ord, ALL))


def without_marks(text: str) -> str:
    """A text from elsewhere, which has none of them."""
    return text.translate(DELETED) if any(mark in text for mark in ALL) else text
