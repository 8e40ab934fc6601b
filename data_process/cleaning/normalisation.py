"""Clean Unicode: what was decoded wrongly, what nobody sees, and white space.

Full-width punctuation is Chinese writing and stays; only NFKC, which is not the default, would
change it.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from data_process.text.unwrapping import unwrapped


@dataclass(frozen=True)
class Normalisation:
    """How texts are written."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """NFC: one way to write each character. NFKC: also full-width letters and punctuation,
    ligatures and circled numbers become plain ones (this harms Chinese punctuation). none: as it
    is."""
    narrow_letters: bool = False
    """Full-width letters and digits become plain ones; punctuation stays."""
    keep_mojibake: bool = False
    """Leave text that was decoded wrongly, such as donâ€™t for don’t."""
    keep_spaces: bool = False
    """Leave runs of spaces inside lines and of blank lines as they are."""
    keep_wrapping: bool = False
    """Leave the lines of paragraphs that were wrapped at one width; else they are joined, and verse
    and lists stay."""


MOST_PASSES = 8
"""A rule may make work for another; hardly any text needs three passes."""
SUSPICIOUS = re.compile(r"[\u00c2-\u02ff\u0391-\u0491][^\x00-\x7f]|[ÂÃ]\s")
"""What text that was decoded wrongly has and most text has not; a quick look before a slow one."""
CHINESE_RUN = re.compile(r"[^\x00-\x7f\ufffd]{4,}")
UTF8_AS_GBK = re.compile("[锛銆鈥绗鐨浠涓浜鎴杩鏄鍦鍜鍙鍚鍒鑰澶鎵鍑瀛浣灏璇]")
"""Characters that the bytes of UTF-8 Chinese become in GBK: the beginnings of `，。“的一了我是`."""

ENTITY = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
LINE_END = re.compile("\r\n?|[\u2028\u2029\x85\x0b\x0c]")
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff\ue000-\uf8ff\U000f0000-\U0010ffff\ud800-\udfff]"
)
"""Control characters, zero-width ones, marks of direction, private use, halves of pairs."""
STRAY_JOINER = re.compile(
    r"(?<=[\x00-\u024f\u1680\u2000-\u200a\u2028-\u205f\u3000-\u9fff\uff00-\uffef])"
    r"[\u200c\u200d]+|^[\u200c\u200d]+"
)
"""Joiners mean something in emoji and in Arabic and Indic writing, not here."""
TERMINAL_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LOST_QUOTE = re.compile("â€(?:\ufffd|(?=\\s|$))")
"""A closing quotation mark whose last byte, which is no character in Windows-1252, was lost."""
ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
TAB_IN_LINE = re.compile(r"(?<=\S)[ \t\u3000]*\t[ \t\u3000]*")
SPACES_IN_LINE = re.compile(r"(?<=\S)[ \u3000]{2,}(?=\S)")
SPACES_AT_END = re.compile(r"(?<![ \t\u3000])[ \t\u3000]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")
FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF10, 0xFF5B) if chr(code).isalnum()}


def normalise(text: str, settings: Normalisation) -> str:
    """A text in clean Unicode; normalising it again changes nothing."""
    for _ in range(MOST_PASSES):  # text may have been decoded wrongly more than once
        before, text = text, normalised_once(text, settings)
        if text == before:
            break
    return text if settings.keep_wrapping else unwrapped(text)


def normalised_once(text: str, settings: Normalisation) -> str:
    """A text after one pass of all rules."""
    if not settings.keep_mojibake:
        text = mended(text)
    if "<" not in text:  # in a text about HTML, entities are its subject
        text = ENTITY.sub(unescaped, text)
    text = LINE_END.sub("\n", TERMINAL_ESCAPE.sub("", text))
    text = INVISIBLE.sub("", text)
    if "\u200c" in text or "\u200d" in text:
        text = STRAY_JOINER.sub("", text)
    if settings.unicode_form != "none":
        text = unicodedata.normalize(settings.unicode_form, text)
    if settings.narrow_letters:
        text = text.translate(FULL_WIDTH)
    return text if settings.keep_spaces else with_plain_spaces(text)


def unescaped(found: re.Match[str]) -> str:
    """The character of an HTML entity; an unknown one stays, and one that would begin markup or
    another entity."""
    character = html.unescape(found.group())
    return found.group() if character in ("<", ">", "&") else character


def with_plain_spaces(text: str) -> str:
    """One space between words, no space at line ends, at most one blank line; indentation stays."""
    text = ODD_SPACE.sub(" ", text)
    if "\t" in text:
        text = TAB_IN_LINE.sub(" ", text)
    if "  " in text or "\u3000" in text:
        text = SPACES_IN_LINE.sub(" ", text)
    if any(f"{space}\n" in text for space in " \t\u3000"):
        text = SPACES_AT_END.sub("", text)
    return BLANK_LINES.sub("\n\n", text).strip("\n ").rstrip()


def mended(text: str) -> str:
    """Undoes wrong decoding: UTF-8 read as Latin or Cyrillic (by ftfy), UTF-8 read as GBK."""
    if text.isascii():
        return text
    if SUSPICIOUS.search(text):
        import ftfy  # slow to import
        import ftfy.badness

        if ftfy.badness.is_bad(text):
            lines = LOST_QUOTE.sub("”", text).splitlines(keepends=True)
            text = "".join(ftfy.fix_encoding(line) for line in lines)
    if len(UTF8_AS_GBK.findall(text)) > 3:
        text = CHINESE_RUN.sub(mended_run, text)
    return text


def mended_run(found: re.Match[str]) -> str:
    """What a run of characters was before its UTF-8 bytes were read as GBK, if it was that: real
    Chinese is hardly ever UTF-8. Bytes that got lost in the reading are U+FFFD."""
    run = found.group()
    text = run.encode("gb18030", errors="replace").decode("utf-8", errors="replace")
    wrong, right = text.count("\ufffd"), sum("\u2000" <= c <= "\u9fff" for c in text)
    return text if right > wrong else run
