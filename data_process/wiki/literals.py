"""Text that is shown as it was typed.

Where a page shows markup (nowiki, code, formulas, entities), a space is put into it: `[ [`, `{ {`,
`< ref`. Nothing then takes it for markup, and it still reads as what it was.
"""

from __future__ import annotations

import re

from data_process.wiki.tags import TAG_NAMES

TOKENS = ("[[", "]]", "{{", "}}", "{|", "|}", "-{", "}-", "''", "~~~", "<", "&", "__", "://")
"""One of these is in every piece of markup that a pass looks for inside a line."""
INSIDE = re.compile(
    r"(?<=\[)(?=\[|(?:https?:|ftps?:|mailto:|news:|irc:)?//|mailto:)|(?<=\])(?=\])"
    r"|(?<=\{)(?=[{|])|(?<=\})(?=[}-])|(?<=\|)(?=\})|(?<=-)(?=\{)"
    r"|(?<=')(?=')|(?<=~)(?=~)|(?<=<)(?=!--|/?(?:" + TAG_NAMES + r")\b)"
    r"|(?<=&)(?=\#?\w+;)|(?<=_)(?=_[A-Z\u3040-\u9fff])",
    re.IGNORECASE,
)
"""Places inside markup."""


def kept_apart(text: str) -> str:
    """A text with a space in each piece of markup that it has."""
    if any(token in text for token in TOKENS) or "[//" in text or "[mailto:" in text:
        return INSIDE.sub(" ", text)
    return text
