"""HTML tags, apostrophes, magic words and entities."""

from __future__ import annotations

import re
from html.entities import html5

from data_process.wiki.text.marks import GAP

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


def strip_tags(text: str) -> str:
    """Replaces HTML tags by what they mean in plain text: nothing, a new line or a list item."""
    if "<" not in text:
        return text
    if "<sup" in text:
        text = POWER.sub(power, text)
    text = INLINE_TAG.sub("", text)
    if "<" in text:
        text = BREAK.sub("\n", text)
        text = ITEM_TAG.sub("\n* ", text)
        text = BLOCK_TAG.sub("\n", text)
        text = CUT_TAG.sub("", text)
    return text


def power(match: re.Match[str]) -> str:
    """A raised number: 10<sup>5</sup> must not become 105."""
    return superscript(match[1] + match[2])


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
