"""Inline markup: links, HTML tags, apostrophes, magic words and entities."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.entities import html5

from data_process.wiki.text.kinds import Namespaces
from data_process.wiki.text.marks import CAPTION, CAPTION_END, GAP, is_sentence

BRACKETS = re.compile(r"\[\[|\]\]")
MAX_DEPTH = 40
"""Links in links; what is nested deeper is dropped, so that no text is copied more often."""
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
"""The parts of a file's link that are not its caption."""
QUALIFIER = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")

INLINE = (
    "abbr|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|"
    "strong|sub|sup|tt|u|var|wbr|rb|rt|rp|ruby|rtc|time|nowiki|noinclude|onlyinclude|includeonly|"
    "section|translate|languages|tvar|ref|references|math|chem|ce|ref|img|a|poem|noframes|"
    "gallery|timeline|score|imagemap|hiero|graph|mapframe|maplink|templatestyles|indicator|"
    "inputbox|categorytree|style|script|syntaxhighlight|source|pre|charinsert|templatedata"
)
BLOCKS = (
    "blockquote|br|caption|center|dd|div|dl|dt|h[1-6]|hr|ol|p|table|tbody|td|tfoot|th|thead|tr|ul|"
    "dir|menu|form|input|textarea|select|option|iframe|object|embed|article|aside|header|footer"
)
TAG_NAMES = f"{INLINE}|{BLOCKS}|li"

TAIL = r"(?:\s[^<>]*|/[^<>]*)?>"
INLINE_TAG = re.compile(rf"</?(?:{INLINE}){TAIL}", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"</?(?:{BLOCKS}|/li){TAIL}|</li{TAIL}", re.IGNORECASE)
ITEM_TAG = re.compile(rf"<li{TAIL}\s*", re.IGNORECASE)
BREAK = re.compile(r"</?br *(?:\s[^<>]*)?/?> *\n?", re.IGNORECASE)
POWER = re.compile(r"<sup>\s*([-+−–]?)(\d+)\s*</sup>", re.IGNORECASE)
"""10<sup>5</sup> must not become 105."""
CUT_TAG = re.compile(r"</?(?:ref|br|references|nowiki|small|sup|sub)\b[^<>\n]*\n?", re.IGNORECASE)

POSSESSIVE = re.compile(r"(?<=[^\W\d_])'{3,4}(?=s\b)")
QUOTES = re.compile(r"''+")
MAGIC = re.compile(
    r"__(?:(?:NO|FORCE)?TOC|NO(?:EDITSECTION|GALLERY|INDEX|TITLECONVERT|CONTENTCONVERT|TC|CC|"
    r"NEWSECTIONLINK)|NEWSECTIONLINK|HIDDENCAT|INDEX|STATICREDIRECT|DISAMBIG|START|END|"
    r"EXPECTUNUSEDCATEGORY|ARCHIVEDTALK|NOTALK|[\u3040-\u9fff]+)__",
    re.IGNORECASE,
)
SIGNATURE = re.compile(r"~~~+")
ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
SUPERSCRIPTS = str.maketrans("0123456789+-−–", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻")
LEFT_OUT = {0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF}
"""Characters without a form: soft hyphen, zero-width space, direction marks."""


def show_links(text: str, namespaces: Namespaces) -> str:
    """Replaces the links of a page by what they show."""
    if "[[" in text:
        text = PLAIN.sub(r"\1\2", text)
    if "[[" in text or "]]" in text:
        text = replace_brackets(text, lambda inside: show(inside, namespaces))
    return EXTERNAL.sub(lambda match: match[1] or GAP, text) if "[" in text else text


def show(inside: str, namespaces: Namespaces) -> str:
    """What a link shows, by what stands between its brackets."""
    target, has_label, text = inside.partition("|")
    target = target.strip()
    has_colon = target[:1] == ":"
    prefix, has_prefix, name = target.lstrip(":").partition(":")
    prefix = prefix.strip().replace("_", " ")
    if has_prefix and not has_colon:
        kind = prefix.lower()
        if kind in namespaces.files:
            return caption_of(text)
        if kind in namespaces.categories or namespaces.is_language(prefix):
            return GAP
    if text.strip():
        return text
    if has_label:  # the pipe trick
        return QUALIFIER.sub("", name if has_prefix else target)
    return target.lstrip(":")


def caption_of(text: str) -> str:
    """A picture's caption, if it is a sentence.

    Args:
        text: all that stands after the file's name.
    """
    for part in reversed(text.split("|")):
        if part.strip() and not OPTION.fullmatch(part):
            return f"{CAPTION}{part}{CAPTION_END}" if is_sentence(part) else GAP
    return GAP


def replace_brackets(text: str, render: Callable[[str], str]) -> str:
    """Replaces each [[...]] by what render makes of its inside, in which that is done already."""
    pieces: list[str] = []
    stack: list[int] = []
    position = 0
    for match in BRACKETS.finditer(text):
        pieces.append(text[position : match.start()])
        position = match.end()
        if match[0] == "[[":
            stack.append(len(pieces))
            pieces.append("[[")
        elif stack:
            place = stack.pop()
            inside = pieces[place + 1 :]
            del pieces[place:]
            if len(stack) < MAX_DEPTH:
                pieces.append(render("".join(inside)))
    for place in stack:
        pieces[place] = ""
    pieces.append(text[position:])
    return "".join(pieces)


def strip_markup(text: str) -> str:
    """A text without tags, the apostrophes of bold and italic, and magic words."""
    return strip_magic(strip_quotes(strip_tags(text)))


def strip_tags(text: str) -> str:
    """Replaces HTML tags by what they mean in plain text: nothing, a new line or a list item."""
    if "<" not in text:
        return text
    if "<sup" in text:
        text = POWER.sub(lambda match: superscript(match[1] + match[2]), text)
    text = INLINE_TAG.sub("", text)
    if "<" in text:
        text = BREAK.sub("\n", text)
        text = ITEM_TAG.sub("\n* ", text)
        text = BLOCK_TAG.sub("\n", text)
        text = CUT_TAG.sub("", text)
    return text


def superscript(number: str) -> str:
    """A number in raised digits."""
    return number.translate(SUPERSCRIPTS)


def strip_quotes(text: str) -> str:
    """Drops the apostrophes of bold and italic; those of a genitive stay."""
    if "''" not in text:
        return text
    if "'''s" in text:
        text = POSSESSIVE.sub("'", text)
    return QUOTES.sub("", text)


def strip_magic(text: str) -> str:
    """Drops magic words such as __NOTOC__, and signatures."""
    if "__" in text:
        text = MAGIC.sub(GAP, text)
    return SIGNATURE.sub("", text) if "~~~" in text else text


def decode_entities(text: str) -> str:
    """Replaces each entity by its character, once."""
    return ENTITY.sub(character, text) if "&" in text else text


def character(match: re.Match[str]) -> str:
    """The character that an entity names; the entity itself where it names none."""
    name = match[1]
    if name[0] != "#":
        found = html5.get(name + ";", match[0])
        return "" if found and ord(found[0]) in LEFT_OUT else found
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    if code in LEFT_OUT:
        return ""
    if code < 32 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        return "\n" if code in (10, 13) else " " if code == 9 else ""
    return chr(code)
