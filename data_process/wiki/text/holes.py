"""Holes in sentences: templates that were dropped there because what they show is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from data_process.wiki.text.marks import GAP, HOLES, without_marks

AROUND = 80
"""Characters before and after a hole that its example shows."""


class Holes:
    """The holes of many pages."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How often each template was dropped inside a sentence."""
        self.examples: dict[str, str] = {}
        """Where it was dropped first."""
        self.blocks: Counter[str] = Counter()
        """How often each was dropped where no sentence is, as boxes are."""

    def note(self, text: str, holes: Mapping[str, str]) -> str:
        """Notes the holes of a page that have text beside them in their paragraph; returns the page
        with gaps in their places.

        Args:
            text: the page, whose paragraphs are lines.
            holes: the mark of each template's holes, by its name.
        """
        if not holes:
            return text
        names = {mark: name for name, mark in holes.items()}
        for line in filter(HOLES.search, text.split("\n")):
            is_sentence = any(map(str.isalnum, HOLES.sub("", line)))
            for match in HOLES.finditer(line):
                name = names[match[0]]
                (self.counts if is_sentence else self.blocks)[name] += 1
                if is_sentence and name not in self.examples:
                    self.examples[name] = example(line, match.start(), name)
        return HOLES.sub(GAP, text)


def example(line: str, place: int, name: str) -> str:
    """A piece of a line with the template in its place."""
    before, after = line[max(0, place - AROUND) : place], line[place + 1 : place + 1 + AROUND]
    pieces = (without_marks(HOLES.sub("", piece)) for piece in (before, after))
    return " ".join(f" {{{{{name}}}}}".join(pieces).split())
