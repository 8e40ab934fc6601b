"""Templates: those that are text are shown, the others dropped."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from data_process.wiki.text import words
from data_process.wiki.text.arguments import Arguments, or_gap
from data_process.wiki.text.braces import replace_templates
from data_process.wiki.text.known_templates import CHARACTERS, Renderer
from data_process.wiki.text.marks import GAP
from data_process.wiki.text.units import grouped

LANGUAGE = re.compile(r"lang-([a-z]{2,3}(?:-[a-z]+)?)(-short)?$")
FUNCTION = re.compile(r"(lc|uc|lcfirst|ucfirst|formatnum|subst|safesubst)\s*:\s*(.*)", re.DOTALL)
TITLE = ("pagename", "subjectpagename", "fullpagename", "basepagename", "rootpagename", "lemma")
SPANS = (" span", "-span", "範囲", "範囲2")
"""How English and Japanese templates end that mark the text which they are given as doubtful."""
WORD_RULES = ("noteta", "noteta/lua", "noteta-lite")


@dataclass
class TemplateCleaner:
    """Replaces the templates of one page."""

    wiki: str
    """The language of the wiki."""
    title: str
    renderers: dict[str, Renderer]
    word_rules: list[str] = field(default_factory=list)
    """What NoteTA says: words of the Chinese variants."""

    def clean(self, text: str) -> str:
        """A text without templates."""
        return replace_templates(text, self.render)

    def render(self, body: str) -> str:
        """What a template shows, by what stands between its braces."""
        name, _, rest = body.partition("|")
        name = name.strip().lower()
        if "_" in name:
            name = name.replace("_", " ")
        renderer = self.renderers.get(name)
        if renderer:
            return or_gap(renderer(self.wiki, Arguments.parse(rest)))
        if (character := CHARACTERS.get(name)) is not None:
            return character
        if name in WORD_RULES:
            given = Arguments.parse(rest)
            self.word_rules += [v for k, v in given.named.items() if k.isdecimal()]
            return ""
        return self.render_special(name, body, rest)

    def render_special(self, name: str, body: str, rest: str) -> str:
        """Names of languages, functions and variables; a gap for all that is not text."""
        if match := LANGUAGE.match(name):
            given = Arguments.parse(rest)
            return or_gap(words.named_language(self.wiki, match[1], given))
        if name in TITLE:
            return self.title
        if name.endswith(SPANS):
            return or_gap(Arguments.parse(rest).at(0))
        if ":" in name and (function := FUNCTION.match(body.strip())):
            return or_gap(self.call(function[1], function[2]))
        return GAP

    def call(self, function: str, value: str) -> str:
        """The value of a parser function."""
        if function.endswith("subst"):
            return self.render(value)
        value = value.strip()
        if function == "formatnum":
            return grouped(value.partition("|")[0])
        first, rest = value[:1], value[1:]
        changed = {
            "lc": value.lower(),
            "uc": value.upper(),
            "lcfirst": first.lower() + rest,
            "ucfirst": first.upper() + rest,
        }
        return changed[function]
