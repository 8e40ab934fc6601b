"""Templates of places: coordinates in running text, without which the sentence has a hole."""

from __future__ import annotations

import re

from data_process.wiki.text.arguments import Arguments

ANGLE = re.compile(r"[-+]?\d+(?:\.\d+)?")
COMPASS = frozenset(("N", "S", "E", "W"))
SIGNS = ("°", "′", "″")
IN_TEXT = frozenset(("inline", "i", "it", "ti"))
"""Values of display that show the coordinates where the template stands."""


def coordinates(_: str, given: Arguments) -> str:
    """{{coord|13|19|N|169|9|W}}: 13°19′N 169°9′W; nothing if they stand beside the title alone."""
    display = given.get("display").lower().replace(" ", "")
    if display and not IN_TEXT & set(display.split(",")):
        return ""
    shown: list[str] = []
    angles: list[str] = []
    for word in given.words():
        if word in COMPASS and angles:
            shown.append("".join(map(str.__add__, angles, SIGNS)) + word)
            angles = []
        elif ANGLE.fullmatch(word):
            angles.append(word)
        else:
            break  # type:city_region:FR and the like
    if not shown and len(angles) == 2:
        return f"{decimal(angles[0], 'NS')} {decimal(angles[1], 'EW')}"
    return " ".join(shown) if len(shown) == 2 else ""


def decimal(angle: str, halves: str) -> str:
    """-71.5 of "EW": 71.5°W."""
    return f"{angle.lstrip('+-')}°{halves[angle.startswith('-')]}"
