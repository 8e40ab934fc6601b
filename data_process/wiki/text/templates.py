"""Templates: those that are text are rendered, the others dropped (infoboxes, navigation,
citations, notes to editors, pronunciations).

`templates.json` lists the names of the known ones, in lower case: under `arguments`, those that
show the first of the given arguments that is not empty (a number is an unnamed argument, from 1; a
string a named one); under `lists`, those that join their unnamed arguments; under `functions`,
those that a function of `renderers.py` renders; under `characters`, those that are a fixed text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

from data_process.wiki.text import renderers
from data_process.wiki.text.inline import is_typed
from data_process.wiki.text.kinds import table_of
from data_process.wiki.text.marks import GAP
from data_process.wiki.text.renderers import Arguments

BRACES = re.compile(r"\{\{+|\}\}+")
MAX_DEPTH = 40
"""As in MediaWiki. What is nested deeper is dropped, so that no text is copied more often."""
LANGUAGE = re.compile(r"lang-([a-z]{2,3}(?:-[a-z]+)?)(-short)?$")
FUNCTION = re.compile(r"(lc|uc|lcfirst|ucfirst|formatnum|subst|safesubst)\s*:\s*(.*)", re.DOTALL)
TITLE = ("pagename", "subjectpagename", "fullpagename", "basepagename", "rootpagename", "lemma")
HEAD_LINE = re.compile(
    r"[a-z]{2,3}-(?:noun|verb|adj|adv|proper noun|name|pron|prep|conj|interj|phrase|num)"
)
"""Templates of Wiktionary that show the word which a page is about."""
SPANS = (" span", "-span", "範囲", "範囲2")
"""How the names of English and Japanese templates end that mark their argument as doubtful."""
WORD_RULES = ("noteta", "noteta/lua", "noteta-lite")

Renderer = Callable[[str, Arguments], str]
"""From the language of the wiki and the arguments to text; empty: a gap."""


@cache
def known_templates(project: str = "wikipedia") -> dict[str, Renderer]:
    """What renders each template of a project of Wikimedia, by its name in lower case."""
    table = table_of("templates")
    tables = [table, table["wiktionary"]] if project == "wiktionary" else [table]
    found: list[tuple[str, Renderer]] = []
    for table in tables:
        for render, section in ((renderers.chosen, "arguments"), (renderers.joined, "lists")):
            for rule in table[section]:
                found += [(name, partial(render, rule)) for name in rule["templates"]]
        for function, names in table["functions"].items():
            found += [(name, getattr(renderers, function)) for name in names]
        found += [(prefix.lower(), partial(renderers.ship, prefix)) for prefix in table["ships"]]
    return dict(found)


@dataclass
class TemplateCleaner:
    """Replaces the templates of one page."""

    wiki: str
    """The language of the wiki."""
    title: str
    project: str = "wikipedia"
    """Of Wikimedia, to which the wiki belongs."""
    word_rules: list[str] = field(default_factory=list)
    """The rules of NoteTA: words of the Chinese variants."""

    def clean(self, text: str) -> str:
        """A text without templates."""
        return replace_templates(text, self.render)

    def render(self, body: str) -> str:
        """What a template shows, by what stands between its braces."""
        name, _, rest = body.partition("|")
        name = name.strip().lower().replace("_", " ")
        if renderer := known_templates(self.project).get(name):
            return renderer(self.wiki, Arguments.parse(rest)) or GAP
        if (character := table_of("templates")["characters"].get(name)) is not None:
            return character
        if name in WORD_RULES:
            named = Arguments.parse(rest).named
            self.word_rules += [rule for key, rule in named.items() if key.isdecimal()]
            return ""
        return self.render_special(name, body, rest) or GAP

    def render_special(self, name: str, body: str, rest: str) -> str:
        """Names of languages, functions and variables; empty for all that is not text."""
        if match := LANGUAGE.match(name):
            return renderers.named_language(match[1], self.wiki, Arguments.parse(rest))
        if name in TITLE or (self.project == "wiktionary" and HEAD_LINE.fullmatch(name)):
            return self.title
        if self.project == "wiktionary" and name.endswith(" of"):  # {{plural of|en|coin}}
            return f"{name} {Arguments.parse(rest).get(3, 2)}"
        if name.endswith(SPANS):
            return Arguments.parse(rest).get(1)
        if ":" in name and (function := FUNCTION.match(body.strip())):
            return self.call(function[1], function[2])
        return ""

    def call(self, function: str, value: str) -> str:
        """The value of a parser function."""
        if function.endswith("subst"):
            return self.render(value)
        value = value.strip()
        if function == "formatnum":
            return renderers.grouped(value.partition("|")[0])
        change = str.lower if function.startswith("lc") else str.upper
        return change(value[:1]) + value[1:] if function.endswith("first") else change(value)


def replace_templates(text: str, render: Callable[[str], str]) -> str:
    """Replaces each {{...}} by what render makes of its inside, in one pass from the inside to the
    outside.

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
        is_code = left == number - kept > 1 and is_typed(text, start, "{", "}")
        pieces.append("}" * ((left if is_code else left % 2) + kept))
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
