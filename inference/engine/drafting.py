"""Guessing what follows from what was said before (prompt lookup decoding)."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST, SHORTEST = 4, 2
"""Lengths of the endings that are looked up."""
MOST = 6
"""Guesses a step."""


def draft(ids: Sequence[int], most: int) -> list[int]:
    """The tokens that followed the last time that the text ended as it does now.

    Args:
        ids: prompt and answer so far.
        most: no more guesses than this.
    """
    most = min(most, MOST)
    if most < 1:
        return []
    for length in range(LONGEST, SHORTEST - 1, -1):
        ending = list(ids[-length:])
        for at in range(len(ids) - length - 1, -1, -1):
            if ids[at + length - 1] == ending[-1] and list(ids[at : at + length]) == ending:
                return list(ids[at + length : at + length + most])
    return []
