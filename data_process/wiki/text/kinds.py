"""Kinds of pages and of links: redirects, disambiguation pages, files, categories, other languages.

The names by which they are recognised are listed in `kinds.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATE = re.compile(r"\{\{\s*([^|{}<>\[\]\n]{1,60}?)\s*(?:\||\}\})")
MAGIC_WORD = "__DISAMBIG__"


@cache
def names_of(kind: str) -> Any:
    """The names of one kind in `kinds.json`."""
    return json.loads(Path(__file__).with_name("kinds.json").read_text(encoding="utf-8"))[kind]


@cache
def redirect_pattern() -> re.Pattern[str]:
    """The beginning of a redirect, in any language."""
    words = "|".join(map(re.escape, names_of("redirects")))
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
    names = disambiguation_templates(language.lower().split("-")[0])
    return any(
        match[1].replace("_", " ").lower().removeprefix("template:") in names
        for match in TEMPLATE.finditer(text)
    )


@cache
def disambiguation_templates(language: str) -> frozenset[str]:
    """The names of the templates that mark disambiguation pages."""
    by_language = names_of("disambiguations")
    if language not in by_language:
        return frozenset(name for names in by_language.values() for name in names)
    return frozenset([*by_language["all"], *by_language[language]])


class Namespaces:
    """Prefixes of links that are not text."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """names: those of the wiki's own namespaces by number, known beside those of common
        languages."""
        media, file, category = (names.get(number, "").lower() for number in (-2, 6, 14))
        self.files = {*names_of("files"), media, file} - {""}
        self.categories = {*names_of("categories"), category} - {""}

    def is_language(self, prefix: str) -> bool:
        """Whether a link's prefix leads to the same page in another language."""
        if prefix in names_of("languages"):
            return True
        code = prefix.isascii() and prefix.isalpha() and prefix.islower()
        return code and 2 <= len(prefix) <= 3 and prefix not in names_of("not_languages")
