"""What a template is given."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_process.wiki.text.marks import GAP, PIPE

LINK = re.compile(r"\[\[[^\[\]]*\]\]")


@dataclass(frozen=True)
class Arguments:
    """The arguments of one template, without the spaces around them."""

    unnamed: tuple[str, ...]
    named: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Arguments:
        """Parts arguments at each | that is in no link."""
        if "[[" in text and "|" in text:
            text = LINK.sub(lambda match: match[0].replace("|", PIPE), text)
        unnamed: list[str] = []
        named: dict[str, str] = {}
        for part in text.split("|"):
            name, is_named, value = part.partition("=")
            name = name.strip()
            if is_named and is_name(name):
                named[name] = value.replace(PIPE, "|").strip()
            else:
                unnamed.append(part.replace(PIPE, "|").strip())
        for number, value in enumerate(unnamed, 1):
            named.setdefault(str(number), value)
        while len(unnamed) < 20 and (extra := named.get(str(len(unnamed) + 1))) is not None:
            unnamed.append(extra)
        return cls(tuple(unnamed), named)

    def get(self, *names: str) -> str:
        """The first of these that is given and not empty; else the empty string."""
        for name in names:
            if value := self.named.get(name):
                return value
        return ""

    def at(self, place: int) -> str:
        """The unnamed argument at a place, from 0; empty where there is none."""
        return self.unnamed[place] if place < len(self.unnamed) else ""

    def words(self) -> list[str]:
        """The unnamed arguments that are not empty."""
        return [value for value in self.unnamed if value]


def is_name(name: str) -> bool:
    """Whether what stands before a = names an argument: no link, no tag, no sentence."""
    return len(name) < 40 and not any(sign in name for sign in "[]<>{}'\"&/:;,") and name != GAP


def or_gap(text: str) -> str:
    """A text, or a gap where it is empty."""
    return text or GAP
