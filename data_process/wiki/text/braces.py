"""Pairs of braces, from the inside to the outside, in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable

BRACES = re.compile(r"\{\{+|\}\}+")
BRACKETS = re.compile(r"\[\[|\]\]")
MAX_DEPTH = 40
"""As in MediaWiki. What is nested deeper is dropped, so that no text is copied more often."""


def replace_templates(text: str, render: Callable[[str], str]) -> str:
    """Replaces each {{...}} by what render makes of its inside, in which that is done already.

    {{{name|default}}} becomes its default. Braces without a partner go, what follows them stays.
    """
    if "{{" not in text and "}}" not in text:
        return text
    pieces: list[str] = []
    stack: list[tuple[int, int]] = []  # place in pieces, number of braces
    position = 0
    for match in BRACES.finditer(text):
        start, end = match.span()
        pieces.append(text[position:start])
        position = end
        number = end - start
        if text[start] == "{":
            if number == 3 and start and text[start - 1] == "-":  # -{ and {{
                pieces.append("{")
                number = 2
            stack.append((len(pieces), number))
            pieces.append("{" * number)
            continue
        kept = number == 3 and text[end : end + 1] == "-"
        left = close(pieces, stack, number - kept, render)
        pieces.append("}" * (left % 2 + kept))
    for place, opened in stack:
        pieces[place] = "{" * (opened % 2)
    pieces.append(text[position:])
    return "".join(pieces)


def close(
    pieces: list[str], stack: list[tuple[int, int]], number: int, render: Callable[[str], str]
) -> int:
    """Closes what so many braces close; returns how many are left."""
    while number >= 2 and stack:
        place, opened = stack.pop()
        used = 3 if opened >= 3 and number >= 3 and opened != 4 else 2
        inside = pieces[place + 1 :]
        del pieces[place:]
        if opened - used:
            if opened - used > 1:
                stack.append((place, opened - used))
            pieces.append("{" * (opened - used))
        if len(stack) < MAX_DEPTH:
            body = "".join(inside)
            pieces.append(render(body) if used == 2 else body.partition("|")[2])
        number -= used
    return number


def replace_brackets(text: str, render: Callable[[str], str]) -> str:
    """Replaces each [[...]] by what render makes of its inside, in which that is done already."""
    pieces: list[str] = []
    stack: list[int] = []
    position = 0
    for match in BRACKETS.finditer(text):
        pieces.append(text[position : match.start()])
        position = match.end()
        if match[0] == "[[":
            stack.append(len(pieces))
            pieces.append("[[")
        elif stack:
            place = stack.pop()
            inside = pieces[place + 1 :]
            del pieces[place:]
            if len(stack) < MAX_DEPTH:
                pieces.append(render("".join(inside)))
    for place in stack:
        pieces[place] = ""
    pieces.append(text[position:])
    return "".join(pieces)
