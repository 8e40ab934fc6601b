"""Templates: those that are text are shown, the others dropped (infoboxes, navigation, citations,
notes to editors, pronunciations).

A template is expanded as the dump's own page of it says, as long as it wraps, chooses or formats
text. For those that the dump does not hold, or that are programs in Lua, `templates.json` lists
names, in lower case: under `arguments`, those that show the first of the given arguments that is
not empty (a number is an unnamed argument, from 1; a string a named one); under `lists`, those that
join their unnamed arguments; under `functions`, those that a function of `renderers.py` renders;
under `characters`, those that are a fixed text; under `notes`, references and remarks to editors,
with which no prose is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from data_process.wiki.text import renderers
from data_process.wiki.text.expansion import Braces, Fragment, Frame, Part, parse
from data_process.wiki.text.kinds import Namespaces, table_of
from data_process.wiki.text.marks import GAP, HOLES, NODE, UNSET
from data_process.wiki.text.parser_functions import FUNCTIONS, PASSED_THROUGH, Call, magic_words
from data_process.wiki.text.prose import LINE_SIGNS, prose_of
from data_process.wiki.text.regions import Literals, extract_regions
from data_process.wiki.text.renderers import Arguments

MAX_NESTING = 60
"""Calls inside one another, arguments included (MediaWiki: 100)."""
MAX_EXPANDED = 2 << 20
CALL_COST, PART_COST = 50, 2
"""Characters that the templates of a page may be expanded to, as in MediaWiki; each call and each
of its arguments costs some more, so that time is bounded too."""
MAX_HOLES, FIRST_HOLE = 0x800, 0xD800
LANGUAGE = re.compile(r"lang-([a-z]{2,3}(?:-[a-z]+)?)(-short)?$")
PREFIXES = frozenset(("subst", "safesubst", "msg", "msgnw", "raw"))
"""Before the name of a template, without meaning here."""
TITLE = (
    "pagename",
    "subjectpagename",
    "articlepagename",
    "fullpagename",
    "basepagename",
    "rootpagename",
    "subpagename",
    "lemma",
    "pagenamee",
    "fullpagenamee",
)
HEAD_LINE = re.compile(
    r"[a-z]{2,3}-(?:noun|verb|adj|adv|proper noun|name|pron|prep|conj|interj|phrase|num)"
)
"""Templates of Wiktionary that show the word which a page is about."""
VARIABLES = {"!": "|", "=": "=", "namespacenumber": "0", "sitename": "Wikipedia", "revisionid": "-"}
VARIABLES |= dict.fromkeys(("namespace", "namespacee", "subjectspace", "dirmark", ""), "")
LANGUAGE_WORDS = ("contentlanguage", "contentlang", "pagelanguage")
SPANS = (" span", "-span", "範囲", "範囲2")
"""How the names of English and Japanese templates end that mark their argument as doubtful."""
WORD_RULES = ("noteta", "noteta/lua", "noteta-lite")
QUOTED = ("quotation", "block", "bullets", "captions")
"""Functions of the list that find text in what a wiki may draw as a box."""
BEFORE_DUMP = ("fraction",)
"""Those that show more than the dump's pages do."""

Renderer = Callable[[str, Arguments], str]
"""From the language of the wiki and the arguments to text; empty: a gap."""


@cache
def known_templates(project: str, wiki: str) -> dict[str, Renderer]:
    """What renders each template of a project of Wikimedia in a language, by its name in lower
    case."""
    table = table_of("templates")
    tables = [table, table["wikis"].get(wiki, {})]
    if project == "wiktionary":
        tables.append(table["wiktionary"])
    found: list[tuple[str, Renderer]] = []
    for table in tables:
        for render, section in ((renderers.chosen, "arguments"), (renderers.joined, "lists")):
            for rule in table.get(section, ()):
                found += [(name, partial(render, rule)) for name in rule["templates"]]
        for function, names in table.get("functions", {}).items():
            found += [(name, getattr(renderers, function)) for name in names]
        found += [
            (prefix.lower(), partial(renderers.ship, prefix)) for prefix in table.get("ships", ())
        ]
    return dict(found)


@cache
def listed_names(section: str, *functions: str) -> frozenset[str]:
    """The templates of a section of the list, or of some of its functions."""
    found = table_of("templates")[section]
    return frozenset(name for function in functions for name in found[function]) or frozenset(found)


@dataclass(frozen=True)
class Template:
    """A template of the dump."""

    name: str
    """Where its redirects lead."""
    body: Fragment | None
    """What it puts into pages; None: the dump does not hold that page."""
    is_box: bool = False


Library = Callable[[str], Template | None]
"""The templates of a dump by their names; None: it holds no such template."""


def no_templates(_: str) -> Template | None:
    """The library of a dump of articles alone."""
    return None


class TemplateCleaner:
    """Replaces the templates of one page."""

    def __init__(
        self,
        wiki: str,
        title: str,
        project: str,
        namespaces: Namespaces,
        literals: Literals,
        library: Library,
    ) -> None:
        """
        Args:
            wiki: the language of the wiki.
            title: of the page.
            project: of Wikimedia, to which the wiki belongs.
            namespaces: of the wiki.
            literals: of the page.
            library: the templates of the dump.
        """
        self.wiki, self.title, self.project = wiki, title, project
        self.namespaces, self.literals, self.library = namespaces, literals, library
        self.variables = {
            **VARIABLES,
            **dict.fromkeys(LANGUAGE_WORDS, wiki),
            **dict.fromkeys(TITLE, title),
        }
        self.word_rules: list[str] = []
        """The rules of NoteTA: words of the Chinese variants."""
        self.holes: dict[str, str] = {}
        """The mark in the place of each template that cannot be shown, by its name."""
        self.blocks = Counter[str]()
        """Those that are written in several lines, as boxes are: how often each was dropped."""
        self.page = Frame((), (), lambda fragment: fragment.text)
        self.spent = self.nesting = 0

    def clean(self, text: str) -> str:
        """A text without templates."""
        return self.expand(parse(text), self.page)

    def expand(self, fragment: Fragment, frame: Frame) -> str:
        """A fragment with the values of its braces."""
        if not fragment.braces:
            return fragment.text
        pieces = fragment.text.split(NODE)
        for place, braces in enumerate(fragment.braces):
            pieces[place] += self.value_of(braces, frame)
        return "".join(pieces)

    def value_of(self, braces: Braces, frame: Frame) -> str:
        """What stands in the place of braces; in a template, within the limits."""
        if frame is self.page:
            return self.render(braces, frame)
        if self.spent > MAX_EXPANDED or self.nesting > MAX_NESTING:
            return self.hole(frame.names[0])
        self.nesting += 1
        try:
            value = self.render(braces, frame)
        finally:
            self.nesting -= 1
        self.spent += CALL_COST + PART_COST * len(braces.parts) + len(value)
        return value

    def render(self, braces: Braces, frame: Frame) -> str:
        """What a template, function or parameter shows."""
        head = self.expand(braces.head, frame).strip()
        if braces.is_parameter:
            return self.parameter(head, braces.parts[1:], frame)
        name, function, first = self.named(head)
        expand = partial(self.expand, frame=frame)
        call = Call(self.wiki, self.title, first, braces, expand, self.exists)
        if function in FUNCTIONS:
            shown = self.computed(function, call, frame)
            name = frame.names[-1] if frame.names else function
        else:
            shown = self.shown(name, call, frame)
            name = function if function.startswith("#") else name
        if shown is None:
            # What stands in a sentence is written in one line.
            if frame is self.page and "\n" in braces.content.text:
                self.blocks[spelled(name)] += 1
                return GAP
            return self.hole(name)
        return shown or (GAP if frame is self.page else "")

    def parameter(self, name: str, parts: Sequence[Part], frame: Frame) -> str:
        """The value of {{{name|default}}}."""
        value = frame.get(name)
        if value is None and parts:
            return self.expand(parts[0].whole, frame)
        return (UNSET if frame.names else "") if value is None else value

    def named(self, head: str) -> tuple[str, str, str]:
        """What is called: its name, and the parts of that around a colon, the first in lower
        case."""
        while True:
            before, colon, after = head.partition(":")
            if not colon:
                return head, "", ""
            before, after = before.strip().lower(), after.strip()
            before = magic_words(self.wiki).get(before.replace("_", " "), before)
            if before not in PREFIXES and before not in self.namespaces.templates:
                return head, before, after
            head = after

    def exists(self, title: str) -> bool:
        """Whether a page exists, as far as it is known: of other pages most do."""
        name, _, _ = self.named(title)
        return self.library(name) is not None if name != title else True

    def computed(self, function: str, call: Call, frame: Frame) -> str | None:
        """The value of a parser function; None: it depends on what cannot be known."""
        if function not in PASSED_THROUGH:
            if HOLES.search(call.first):
                return None
            call.first = call.first.replace(GAP, "").strip()
        value = FUNCTIONS[function](call)
        if value is None or frame is not self.page or "<" not in value:
            return value
        shown = self.on_page(value)
        return value if shown is None else shown

    def shown(self, name: str, call: Call, frame: Frame) -> str | None:
        """What a template shows; empty: a box, or nothing; None: it cannot be known."""
        known = name.lower().replace("_", " ")
        if (text := self.magic(known, call)) is not None:
            return text
        template = None if known in listed_names("functions", *BEFORE_DUMP) else self.library(name)
        if template is None:
            return self.listed(known, call)
        text = self.transcluded(template, call, frame)
        if text is None:
            text = self.listed(known, call)
            return self.listed(template.name.lower(), call) if text is None else text
        if not text and known in listed_names("functions", *QUOTED):
            return self.listed(known, call)
        return text

    def magic(self, name: str, call: Call) -> str | None:
        """The variables of MediaWiki, and the word rules of a page."""
        if name in WORD_RULES:
            named = call.arguments().named
            self.word_rules += [rule for key, rule in named.items() if key.isdecimal()]
            return ""
        return self.variables.get(magic_words(self.wiki).get(name, name))

    def listed(self, name: str, call: Call) -> str | None:
        """What a template of the list shows; None: it is not in it."""
        if renderer := known_templates(self.project, self.wiki).get(name):
            return renderer(self.wiki, call.arguments())
        if name in listed_names("notes") or name.startswith("cite "):
            return ""
        character: str | None = table_of("templates")["characters"].get(name)
        if character is not None:
            return character
        if match := LANGUAGE.match(name):
            return renderers.named_language(match[1], self.wiki, call.arguments())
        if self.project == "wiktionary":
            if HEAD_LINE.fullmatch(name):
                return self.title
            if name.endswith(" of"):  # {{plural of|en|coin}}
                return f"{name} {call.arguments().get(3, 2)}"
        return call.arguments().get(1) if name.endswith(SPANS) else None

    def transcluded(self, template: Template, call: Call, frame: Frame) -> str | None:
        """What the dump's page of a template shows; None: it cannot be known."""
        if template.is_box:
            return ""
        is_loop = template.name in frame.names
        if template.body is None or is_loop or self.spent > MAX_EXPANDED:
            return None
        expand = partial(self.expand, frame=frame)
        inner = Frame((*frame.names, template.name), call.parts, expand)
        text = self.expand(template.body, inner)
        self.spent += len(text)
        if frame is self.page:
            shown = self.on_page(text)
            return f"\n{shown}" if shown and shown[0] in LINE_SIGNS else shown
        return None if HOLES.search(text) and not HOLES.sub("", text).strip() else text

    def on_page(self, text: str) -> str | None:
        """What expanded wikitext shows in a page: see `prose_of`."""
        if "<" in text:
            text = extract_regions(text, self.literals)
        return prose_of(text, self.namespaces)

    def hole(self, name: str) -> str:
        """The mark in the place of a template that cannot be shown."""
        name = spelled(name)
        if name not in self.holes and len(self.holes) < MAX_HOLES:
            self.holes[name] = chr(FIRST_HOLE + len(self.holes))
        return self.holes.get(name, GAP)


def spelled(name: str) -> str:
    """The name of a template as its page has it."""
    name = " ".join(name.replace("_", " ").split())
    return name[:1].upper() + name[1:]
