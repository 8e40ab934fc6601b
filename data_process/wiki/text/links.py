"""Links: internal, to files, categories and other languages, and external."""

from __future__ import annotations

import re

from data_process.wiki.text.braces import replace_brackets
from data_process.wiki.text.captions import is_sentence
from data_process.wiki.text.marks import CAPTION, CAPTION_END, GAP
from data_process.wiki.text.namespaces import Namespaces

PLAIN = re.compile(r"\[\[(?:[^\[\]|\n:]+\|([^\[\]|]+)|([^\[\]|\n:]+))\]\]")
"""A link whose target has no namespace: most links."""
EXTERNAL = re.compile(
    r"\[(?:(?:https?:|ftps?:|news:|irc:)?//|mailto:)[^\s\[\]<>]*(?:[ \t\xa0]+([^\[\]\n]*))?\]",
    re.IGNORECASE,
)
OPTION = re.compile(
    r"\s*(?:thumb(?:nail)?|frame(?:less|d)?|border|left|right|center|centre|none|baseline|middle|"
    r"sub|super|top|bottom|text-top|text-bottom|upright|[\dx ]+px|缩略图|縮圖|有框|無框|无框|左|右|"
    r"居中|置中|サムネイル|мини|мини\S*|дясно|ляво|"
    r"(?:alt|link|upright|thumb|page|lang|class|替代|链接)\s*=.*)\s*",
    re.DOTALL | re.IGNORECASE,
)
"""What in a file's link is no caption."""
QUALIFIER = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")


class LinkCleaner:
    """Replaces the links of a wiki by what they show."""

    def __init__(self, namespaces: Namespaces) -> None:
        self.namespaces = namespaces

    def clean(self, text: str) -> str:
        """A text without links."""
        if "[[" in text:
            text = PLAIN.sub(r"\1\2", text)
        if "[[" in text or "]]" in text:
            text = replace_brackets(text, self.show)
        if "[" in text:
            text = EXTERNAL.sub(label, text)
        return text

    def show(self, inside: str) -> str:
        """What a link shows, by what stands between its brackets."""
        target, has_label, text = inside.partition("|")
        target = target.strip()
        colon = target[:1] == ":"
        prefix, has_prefix, name = target.lstrip(":").partition(":")
        prefix = prefix.strip().replace("_", " ")
        if has_prefix and not colon:
            kind = prefix.lower()
            if kind in self.namespaces.files:
                return caption_of(text)
            if kind in self.namespaces.categories or self.namespaces.is_language(prefix):
                return GAP
        if text.strip():
            return text
        if has_label:  # the pipe trick
            return QUALIFIER.sub("", name if has_prefix else target)
        return target.lstrip(":") if target else ""


def caption_of(text: str) -> str:
    """A picture's caption, if it is a sentence.

    Args:
        text: all that stands after the file's name.
    """
    for part in reversed(text.split("|")):
        if part.strip() and not OPTION.fullmatch(part):
            return f"{CAPTION}{part}{CAPTION_END}" if is_sentence(part) else GAP
    return GAP


def label(match: re.Match[str]) -> str:
    """What an external link shows; a gap where that is a number alone."""
    return match[1] or GAP
