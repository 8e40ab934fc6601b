"""Kinds of pages and of links: redirects, disambiguation pages, files, categories, other languages.

The names by which they are recognised are listed in `kinds.json`. The other tables beside this
file are read here, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATE = re.compile(r"\{\{\s*([^|{}<>\[\]\n]{1,60}?)\s*(?:\||\}\})")
LANGUAGE_CODE = re.compile("[a-z]{2,3}")
MAGIC_WORD = "__DISAMBIG__"


@cache
def table_of(name: str) -> dict[str, Any]:
    """The content of `kinds.json`, `templates.json` or `words.json`."""
    table: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_bytes())
    return table


@cache
def redirect_pattern() -> re.Pattern[str]:
    """The beginning of a redirect, in any language."""
    words = "|".join(map(re.escape, table_of("kinds")["redirects"]))
    return re.compile(rf"\s*[#＃]\s*(?:{words})\s*:?\s*\[\[", re.IGNORECASE)


def is_redirect(text: str) -> bool:
    """Whether a page's wikitext only leads to another page."""
    return redirect_pattern().match(text) is not None


def is_disambiguation(text: str, language: str = "") -> bool:
    """Whether a page only lists the meanings of its title, by its templates.

    Args:
        text: the page's wikitext.
        language: the wiki's, such as zh; for an unknown one, the names of all count.
    """
    if MAGIC_WORD in text:
        return True
    names = disambiguation_templates(template_language(language))
    found = (match[1].replace("_", " ").lower() for match in TEMPLATE.finditer(text))
    return any(name.removeprefix("template:") in names for name in found)


def template_language(wiki: str) -> str:
    """The language of a wiki's templates: Simple English has those of English."""
    language = wiki.lower().split("-")[0]
    return "en" if language == "simple" else language


@cache
def disambiguation_templates(language: str) -> frozenset[str]:
    """The names of the templates that mark disambiguation pages."""
    by_language = table_of("kinds")["disambiguations"]
    if language not in by_language:
        return frozenset(name for names in by_language.values() for name in names)
    return frozenset([*by_language["all"], *by_language[language]])


class Namespaces:
    """Prefixes of links that are not text."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """names: those of the wiki's own namespaces by number, known beside those of common
        languages."""
        media, file, category = (names.get(number, "").lower() for number in (-2, 6, 14))
        self.files = {*table_of("kinds")["files"], media, file} - {""}
        self.templates = {*table_of("kinds")["templates"], names.get(10, "").lower()} - {""}
        self.categories = {*table_of("kinds")["categories"], category} - {""}

    def is_language(self, prefix: str) -> bool:
        """Whether a link's prefix leads to the same page in another language."""
        names = table_of("kinds")
        is_code = LANGUAGE_CODE.fullmatch(prefix) and prefix not in names["not_languages"]
        return bool(is_code) or prefix in names["languages"]
