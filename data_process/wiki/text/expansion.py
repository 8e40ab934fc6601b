"""Wikitext as a tree of its braces: {{templates}} and {{{parameters}}}; what templates consist of,
and the arguments that they are called with.

The tree is made in one pass. What stands in braces is cut at its | and = only when it is needed,
and before anything in it is expanded, so that no value can be taken for markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from data_process.wiki.text.inline import is_typed
from data_process.wiki.text.marks import NODE, without_marks

BRACES = re.compile(r"\{\{(?!\{)([^{}]*)\}\}(?!\})|\{\{+|\}\}+")
"""A call without braces in it, the most frequent case, or one side of braces."""
MAX_DEPTH = 40
"""As in MediaWiki: no text is copied more often."""
SIGNS = re.compile(r"\[\[|\]\]|[|=]")
COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
LONE_COMMENT = re.compile(r"(?<=\n)[ \t]*<!--(?:(?!-->).)*-->[ \t]*\n", re.DOTALL)
"""One that has lines for itself takes their end with it."""
ONLY = re.compile(r"<onlyinclude\s*>(.*?)</onlyinclude\s*>", re.DOTALL | re.IGNORECASE)
LEFT_OUT = re.compile(
    r"<noinclude\s*>.*?(?:</noinclude\s*>|\Z)|</?(?:includeonly|noinclude|onlyinclude)\s*/?>",
    re.DOTALL | re.IGNORECASE,
)
LITERAL = re.compile(
    r"(<(nowiki|pre|math|chem|ce)\b[^<>/]*>)(.*?)(</\2\s*>)",
    re.DOTALL | re.IGNORECASE,
)
SHIELDED = {ord(sign): f"&#{ord(sign)};" for sign in "{|}[]='"}


class Fragment(NamedTuple):
    """A piece of wikitext."""

    text: str
    """With a NODE for each of:"""
    braces: Sequence[Braces] = ()

    def cut(self, begin: int, end: int, before: int) -> Fragment:
        """The piece of it between two places, with so many braces before it."""
        text = self.text[begin:end]
        count = text.count(NODE) if self.braces else 0
        return Fragment(text, self.braces[before : before + count] if count else ())


class Part(NamedTuple):
    """What stands between two | in braces."""

    whole: Fragment
    name: Fragment | None
    """What stands before its first =, if there is one."""
    value: Fragment


class Braces:
    """What stands in two or three braces."""

    __slots__ = ("_parts", "content", "depth", "is_parameter")

    def __init__(self, content: Fragment, is_parameter: bool) -> None:
        self.content, self.is_parameter = content, is_parameter
        inside = content.braces
        self.depth: int = 1 + max([inner.depth for inner in inside]) if inside else 1
        self._parts: list[Part] | None = None

    @property
    def head(self) -> Fragment:
        """Its first part; the others are not cut for it."""
        before, bar, _ = self.content.text.partition("|")
        if "[[" in before:
            return self.parts[0].whole
        return self.content.cut(0, len(before), 0) if bar else self.content

    @property
    def parts(self) -> list[Part]:
        """What its | separate, the name first."""
        if self._parts is None:
            self._parts = cut_parts(self.content)
        return self._parts


TOO_DEEP = Braces(Fragment("templates nested too deep"), is_parameter=False)
"""In the place of what is nested deeper: no template has this name, so it is counted."""


def cut_parts(content: Fragment) -> list[Part]:
    """Cuts at each | outside links."""
    text, size = content.text, len(content.text)
    if "|" not in text:
        return [Part(content, None, content)]
    if "[[" not in text and not content.braces:
        return [simple_part(piece) for piece in text.split("|")]
    found: list[tuple[int, str]] = []
    links: list[int] = []  # how many signs were found before each open link
    for match in SIGNS.finditer(text):
        sign = match[0]
        if sign == "[[":
            links.append(len(found))
        elif sign == "]]":
            if links:
                del found[links.pop() :]
        else:
            found.append((match.start(), sign))
    parts: list[Part] = []
    begin, equals, before = 0, -1, 0
    for place, sign in (*found, (size, "|")):
        if sign == "=":
            equals = place if equals < 0 and parts else equals
            continue
        whole = content.cut(begin, place, before)
        if equals < 0:
            parts.append(Part(whole, None, whole))
        else:
            name = content.cut(begin, equals, before)
            value = content.cut(equals + 1, place, before + len(name.braces))
            parts.append(Part(whole, name, value))
        begin, equals, before = place + 1, -1, before + len(whole.braces)
    return parts


def simple_part(text: str) -> Part:
    """A part without braces and links."""
    name, equals, value = text.partition("=")
    whole = Fragment(text)
    return Part(whole, Fragment(name), Fragment(value)) if equals else Part(whole, None, whole)


def parse(text: str, is_template: bool = False) -> Fragment:
    """The tree of a text without marks, in one pass. Braces without a partner go, what follows
    them stays.

    Args:
        text: the wikitext.
        is_template: it has parameters: -{{{1}}} is one behind a hyphen, as in MediaWiki. In an
            article it is a template in -{ }-, Chinese with variants.
    """
    if "{{" not in text and "}}" not in text:
        return Fragment(text)
    pieces: list[str | Braces] = []
    stack: list[tuple[int, int]] = []  # place in pieces, number of braces
    position = 0
    for match in BRACES.finditer(text):
        start, end = match.span()
        pieces.append(text[position:start])
        position = end
        number = end - start
        if match[1] is not None:
            simple = Braces(Fragment(match[1]), is_parameter=False)
            pieces.append(simple if len(stack) < MAX_DEPTH else TOO_DEEP)
            continue
        if text[start] == "{":
            if number == 3 and not is_template and start and text[start - 1] == "-":  # -{ and {{
                pieces.append("{")
                number = 2
            stack.append((len(pieces), number))
            pieces.append("{" * number)
            continue
        kept = number == 3 and not is_template and text[end : end + 1] == "-"
        left = close(pieces, stack, number - kept, is_template)
        is_code = left == number - kept > 1 and is_typed(text, start, "{", "}")
        pieces.append("}" * ((left if is_code else left % 2) + kept))
    for place, opened in stack:
        pieces[place] = "{" * (opened % 2)
    pieces.append(text[position:])
    return fragment_of(pieces)


def close(
    pieces: list[str | Braces], stack: list[tuple[int, int]], number: int, is_template: bool
) -> int:
    """Closes what so many braces close; returns how many are left. Four of them are a parameter in
    single braces in a template, and a template in a template in an article."""
    while number >= 2 and stack:
        place, opened = stack.pop()
        used = 3 if opened >= 3 and number >= 3 and (is_template or opened != 4) else 2
        inside = pieces[place + 1 :]
        del pieces[place:]
        if opened - used:
            if opened - used > 1:
                stack.append((place, opened - used))
            pieces.append("{" * (opened - used))
        if len(stack) < MAX_DEPTH:
            braces = Braces(fragment_of(inside), used == 3)
            pieces.append(braces if braces.depth <= MAX_DEPTH else TOO_DEEP)
        else:
            pieces.append(TOO_DEEP)
        number -= used
    return number


def fragment_of(pieces: Sequence[str | Braces]) -> Fragment:
    """A fragment of its pieces."""
    text = "".join([piece if isinstance(piece, str) else NODE for piece in pieces])
    return Fragment(text, [piece for piece in pieces if not isinstance(piece, str)])


def included(text: str) -> str:
    """What a template's page puts into others: without its documentation and comments, and with
    the signs in regions that are no wikitext as entities."""
    text = without_marks(text.replace("\r\n", "\n"))
    if "<" not in text:
        return text
    text = COMMENT.sub("", LONE_COMMENT.sub("", text))
    if only := ONLY.findall(text):
        text = "".join(only)
    text = LEFT_OUT.sub("", text)
    return LITERAL.sub(lambda m: m[1] + m[3].translate(SHIELDED) + m[4], text)


class Frame:
    """A call of a template: the names of all templates that it stands in, and its arguments, each
    expanded when it is first shown."""

    def __init__(
        self,
        names: tuple[str, ...],
        parts: Sequence[Part],
        expand: Callable[[Fragment], str],
    ) -> None:
        """
        Args:
            names: of the templates that contain one another, this one last.
            parts: the arguments.
            expand: expands what stands where the template is called.
        """
        self.names, self.expand = names, expand
        self.given: dict[str, tuple[Fragment, bool]] = {}
        self.values: dict[str, str] = {}
        number = 0
        for part in parts:
            if part.name is None:
                number += 1
                self.given[str(number)] = part.value, False
            else:
                self.given[expand(part.name).strip()] = part.value, True

    def get(self, name: str) -> str | None:
        """The value of an argument; None: it is not given."""
        if name not in self.values:
            if name not in self.given:
                return None
            value, is_named = self.given[name]
            text = self.expand(value)
            self.values[name] = text.strip() if is_named else text
        return self.values[name]
