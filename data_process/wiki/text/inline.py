"""Inline markup: links, HTML tags, apostrophes, magic words and entities."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.entities import html5

from data_process.wiki.text.kinds import Namespaces
from data_process.wiki.text.marks import CAPTION, CAPTION_END, GAP, NOTHING, is_sentence

BRACKETS = re.compile(r"\[\[|\]\]")
MAX_DEPTH = 40
"""Links in links; what is nested deeper is dropped, so that no text is copied more often."""
MAX_TYPED = 200
"""Characters before closing brackets in which single opening ones are looked for."""
PLAIN = re.compile(r"\[\[(?:[^\[\]|\n:]+\|([^\[\]|]+)|([^\[\]|\n:]+))\]\]")
"""A link whose target has no namespace: most links."""
EXTERNAL = re.compile(
    r"\[(?:(?:[a-z][a-z0-9+.-]{1,12}:)?//|(?:mailto|news|tel|sips?|sms|urn|geo|xmpp|magnet):)"
    r"[^\s\[\]<>]*(?:[ \t\xa0]+([^\[\]\n]*))?\]",
    re.IGNORECASE,
)
OPTION = re.compile(
    r"\s*(?:thumb(?:nail)?|frame(?:less|d)?|border|left|right|center|centre|none|baseline|middle|"
    r"sub|super|top|bottom|text-top|text-bottom|upright|[\dx ]+px|缩略图|縮圖|有框|無框|无框|左|右|"
    r"居中|置中|サムネイル|мини|мини\S*|дясно|ляво|[^\W\d]{2,20}\s*=.*)\s*",
    re.DOTALL | re.IGNORECASE,
)
"""The parts of a file's link that are not its caption."""
QUALIFIER = re.compile(r"\s*[(（][^()（）]*[)）]\s*$")

INLINE = (
    "abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|nobr|q|s|samp|small|"
    "span|strike|strong|sub|sup|tt|u|var|wbr|rb|rt|rp|ruby|rtc|time|nowiki|noinclude|onlyinclude|"
    "includeonly|section|translate|languages|tvar|ref|references|math|chem|ce|img|a|poem|noframes|"
    "gallery|timeline|score|imagemap|hiero|graph|mapframe|maplink|templatestyles|indicator|"
    "inputbox|categorytree|style|script|syntaxhighlight|source|pre|charinsert|templatedata"
)
BLOCKS = (
    "blockquote|br|caption|center|dd|div|dl|dt|h[1-6]|hr|ol|p|table|tbody|td|tfoot|th|thead|tr|ul|"
    "dir|menu|form|input|textarea|select|option|iframe|object|embed|article|aside|header|footer"
)

TAIL = r"(?:\s[^<>]*|/[^<>]*)?>"
INLINE_TAG = re.compile(rf"</?(?:{INLINE}){TAIL}", re.IGNORECASE)
BLOCK_TAG = re.compile(rf"</?(?:{BLOCKS}|/li){TAIL}|</li{TAIL}", re.IGNORECASE)
ITEM_TAG = re.compile(rf"<li{TAIL}\s*", re.IGNORECASE)
BREAK = re.compile(r"</?br *(?:\s[^<>]*)?/?> *\n?", re.IGNORECASE)
POWER = re.compile(r"<sup>\s*([-+−–]?)(\d+)\s*</sup>", re.IGNORECASE)
"""10<sup>5</sup> must not become 105."""
CUT_TAG = re.compile(r"</?(?:ref|br|references|nowiki|small|sup|sub)\b[^<>\n]*\n?", re.IGNORECASE)

QUOTES = re.compile("(''+)")
BOLD, ITALIC, BOTH = 3, 2, 5
"""Apostrophes of each."""
MAGIC = re.compile(
    r"__(?:(?:NO|FORCE)?TOC|NO(?:EDITSECTION|GALLERY|INDEX|TITLECONVERT|CONTENTCONVERT|TC|CC|"
    r"NEWSECTIONLINK)|NEWSECTIONLINK|HIDDENCAT|INDEX|STATICREDIRECT|DISAMBIG|START|END|"
    r"EXPECTUNUSEDCATEGORY|ARCHIVEDTALK|NOTALK|[^\W\d_a-z]+)__"
    r"|^__[^\W\d_][^\W\d]+__$",
    re.IGNORECASE | re.MULTILINE,
)
"""Those of English anywhere, and of languages that are not written in Latin letters; others, such
as __SOMMAIRE__, in a line of their own."""
SIGNATURE = re.compile(r"~~~+")
ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
SUPERSCRIPTS = str.maketrans("0123456789+-−–", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻")
LEFT_OUT = {0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF}
"""Characters without a form: soft hyphen, zero-width space, direction marks."""


def show_links(text: str, namespaces: Namespaces) -> str:
    """Replaces the links of a page by what they show."""
    if "[[" in text:
        text = PLAIN.sub(r"\1\2", text)
    text = show_external(text)  # those in captions
    if "[[" in text or "]]" in text:
        text = show_external(replace_brackets(text, lambda inside: show(inside, namespaces)))
    return text


def show_external(text: str) -> str:
    """Replaces links to other sites by their labels."""
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
    """A picture's caption, if it is a sentence; no option of any language is one.

    Args:
        text: all that stands after the file's name.
    """
    for part in reversed(text.split("|")):
        if is_sentence(part) and not OPTION.fullmatch(part):
            return f"{CAPTION}{part}{CAPTION_END}"
    return GAP


def replace_brackets(text: str, render: Callable[[str], str]) -> str:
    """Replaces each [[...]] by what render makes of its inside, in which that is done already. Of
    ]]] the first one closes a [ inside; closing brackets of single ones stay."""
    pieces: list[str] = []
    stack: list[int] = []
    position = 0
    while match := BRACKETS.search(text, position):
        pieces.append(text[position : match.start()])
        position = match.end()
        if match[0] == "[[":
            stack.append(len(pieces))
            pieces.append("[[")
        elif stack:
            place = stack.pop()
            inside = "".join(pieces[place + 1 :])
            del pieces[place:]
            if text[position : position + 1] == "]" and "[" in inside:
                inside, position = inside + "]", position + 1
            if len(stack) < MAX_DEPTH:
                pieces.append(render(inside))
        elif is_typed(text, match.start(), "[", "]"):
            pieces.append("]]")
    for place in stack:
        pieces[place] = ""
    pieces.append(text[position:])
    return "".join(pieces)


def is_typed(text: str, place: int, opening: str, closing: str) -> bool:
    """Whether brackets that close nothing close single ones of their line, as in a[b[0]]."""
    before = text[max(0, text.rfind("\n", 0, place), place - MAX_TYPED) : place]
    return before.count(opening) > before.count(closing)


def strip_markup(text: str) -> str:
    """A text without tags, the apostrophes of bold and italic, and magic words."""
    return strip_magic(strip_tags(strip_quotes(text)))


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
    """Drops the apostrophes of bold and italic; the others stay."""
    if "''" in text:
        lines = text.split("\n")
        text = "\n".join(without_quotes(line) if "''" in line else line for line in lines)
    return text.replace(NOTHING, "")


def without_quotes(line: str) -> str:
    """A line without the apostrophes that are bold and italic, by the rules of MediaWiki's parser
    (`doQuotes`): of four, and of more than five, the first ones are text; where both bold and
    italic are left open, one bold is an apostrophe and an italic: the first behind a single letter,
    else behind a word, else behind a space."""
    pieces = QUOTES.split(line)
    kinds: list[int] = []
    for place in range(1, len(pieces), 2):
        number = len(pieces[place])
        kinds.append(number if number < 4 else BOLD if number == 4 else BOTH)
        pieces[place] = "'" * (number - kinds[-1])
    bolds, italics = (kinds.count(kind) + kinds.count(BOTH) for kind in (BOLD, ITALIC))
    if bolds % 2 and italics % 2 and BOLD in kinds:
        places = [2 * number + 1 for number, kind in enumerate(kinds) if kind == BOLD]
        befores = [pieces[place - 1] + pieces[place] for place in places]
        ranks = [2 if b[-1:] == " " else b[-2:-1] != " " for b in befores]
        pieces[places[ranks.index(min(ranks))]] += "'"
    return "".join(pieces)


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
