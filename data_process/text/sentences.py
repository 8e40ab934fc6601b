"""Where a text may be cut: after paragraphs, sentences, lines, clauses, words, characters.

A place to cut is a position in the text; white space belongs to what stands before it, and so do
closing quotes and brackets. The rules are for Chinese, Japanese and the languages written in Latin,
Greek, Cyrillic or Indic letters; in doubt there is no sentence border.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

Finder = Callable[[str, int, int], Iterator[int]]
"""Gives the places to cut in text[low : high + 1], in order; it may look a little around them."""

CLOSERS = "\"'”’」』）)\\]】》〉»›}｝］〕"
OPENERS = "\"'“‘「『（(\\[【《〈«‹{｛［〔"
WIDE_ENDS, NARROW_ENDS = "。！？｡", ".!?؟।॥։"
SPACE = r"[^\S\n]*(?:\n(?:[^\S\n]*\n)*)?"
"""White space up to the next line that says something; its indentation stays with it."""
SENTENCE_END = re.compile(
    rf"(?P<mark>[{WIDE_ENDS}{NARROW_ENDS}…‥]+)(?P<close>[{CLOSERS}]*)(?P<space>{SPACE})"
)
LINE_END = re.compile(r"\n(?:[^\S\n]*\n)*")
CLAUSE_END = re.compile(rf"(?:——+|……|--+|[，；：、]|[,;:—–](?=[\s—–]))[{CLOSERS}]*{SPACE}")
WORD_END = re.compile(rf"(?=\s){SPACE}")
WIDE = r"\u2e80-\u303f\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
WIDE_BORDER = re.compile(rf"(?<=[{WIDE}])(?=[{WIDE}])")
NOT_BEFORE = set("，。、；：！？…—～·ー々〜ぁぃぅぇぉっゃゅょァィゥェォッャュョ%％℃") | set(
    CLOSERS
) - {"\\"}
NOT_AFTER = set(OPENERS) - {"\\"}

REACH = 200
"""Characters looked at around a place: more than any abbreviation or run of marks that makes
sense."""
HEADING = 60
"""A paragraph of one line without an end mark, shorter than this in characters, is a heading."""

TITLES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "sr",
        "jr",
        "mt",
        "ft",
        "rev",
        "hon",
        "gen",
        "col",
        "maj",
        "capt",
        "cmdr",
        "lt",
        "sgt",
        "cpl",
        "pvt",
        "adm",
        "gov",
        "sen",
        "rep",
        "pres",
        "supt",
        "messrs",
        "mme",
        "mlle",
        "fr",
        "bros",
        "vs",
        "cf",
        "viz",
        "al",
        "fig",
        "figs",
        "eq",
        "no",
        "nos",
        "vol",
        "vols",
        "ch",
        "chap",
        "sec",
        "pp",
        "ed",
        "eds",
        "trans",
        "approx",
        "est",
        "dept",
        "univ",
        "assn",
        "inc",
        "ltd",
        "co",
        "corp",
        "ave",
        "blvd",
        "rd",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "mon",
        "tue",
        "tues",
        "wed",
        "thu",
        "thurs",
        "fri",
        "sat",
        "sun",
        "ca",
        "bzw",
        "usw",
        "z.b",
        "d.h",
        "nr",
        "str",
        "hr",
        "г",
        "ул",
        "стр",
        "им",
        "т.е",
        "т.д",
    ]
)
"""Words whose full stop says nothing about the sentence."""
STARTERS = frozenset(
    [
        "the",
        "a",
        "an",
        "he",
        "she",
        "it",
        "they",
        "we",
        "you",
        "this",
        "that",
        "these",
        "those",
        "there",
        "then",
        "but",
        "and",
        "so",
        "however",
        "in",
        "on",
        "at",
        "when",
        "while",
        "after",
        "before",
        "if",
        "his",
        "her",
        "its",
        "their",
        "our",
        "my",
        "as",
        "for",
        "although",
        "meanwhile",
        "what",
        "who",
        "why",
        "how",
        "where",
    ]
)
"""Words that begin a sentence when they are capital after `U.S.` or `p.m.`."""
ABBREVIATION = re.compile(r"(?:(?<=[^\w.])|^)((?:[^\W\d_]\.)*[^\W\d_]+)$")
NUMBER_OF_LINE = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,3}|[ivxIVX]{1,5}|[a-zA-Z])$")
SAID = (
    "said|says|asked|cried|replied|answered|shouted|whispered|exclaimed|muttered|added|called|"
    "continued|remarked|thought|laughed|sighed|returned|observed"
)
SPEAKER = re.compile(
    rf"(?:[A-Z]\S*|[Tt]he \w+)(?: \w+)? (?:{SAID})\b"
    r"|[^。！？，：；“”「」\s]{0,9}?[说說道问問喊叫答笑想嚷]"
)
"""Who spoke, after a quotation: it belongs to it."""


def sentence_ends(text: str, low: int, high: int) -> Iterator[int]:
    """Places after whole sentences."""
    for found in SENTENCE_END.finditer(text, max(0, low - REACH), high + REACH):
        place = found.end()
        if low <= place <= high and ends_sentence(text, found):
            yield place


def ends_sentence(text: str, found: re.Match[str]) -> bool:
    """Whether an end mark, with the closers and the space after it, ends a sentence."""
    mark, space, place = found["mark"], found["space"], found.end()
    if "\n" in space or place == len(text):
        return not is_number_of_line(text, found) or "\n" in space
    following = text[place]
    wide = mark[-1] in WIDE_ENDS
    if mark[-1] in "…‥" and not found["close"]:
        return False  # a pause: a clause at most
    if not wide and not space and not is_wide(following):
        return False  # 3.14, example.com, e.g.this
    if following.islower() or following in "，。、；：！？…—,;:.!?)）":
        return False
    if found["close"] and SPEAKER.match(text, place):
        return False
    return mark != "." or not is_abbreviation(text, found)


def is_abbreviation(text: str, found: re.Match[str]) -> bool:
    """Whether the full stop belongs to its word: `Mr.`, `J. R. R.`, `U.S.`, `3.` before an item."""
    if is_number_of_line(text, found):
        return True
    before = text[max(0, found.start() - 20) : found.start()]
    word = ABBREVIATION.search(before)
    if word is None:
        return False
    name = word.group(1)
    if name.lower() in TITLES:
        return True
    if "." in name or (len(name) == 1 and name.isupper() and name != "I"):
        next_word = re.compile(r"[^\W\d_]+").search(text, found.end(), found.end() + 20)
        return not (next_word and next_word.group().lower() in STARTERS and len(name) > 1)
    return False


def is_number_of_line(text: str, found: re.Match[str]) -> bool:
    """Whether the full stop stands behind the number of a list's item: `3. `."""
    if found["mark"] != "." or found["close"]:
        return False
    return NUMBER_OF_LINE.search(text[max(0, found.start() - 12) : found.start()]) is not None


def is_wide(character: str) -> bool:
    """Whether a character is Chinese or Japanese, punctuation included."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\uffef"


def line_ends(text: str, low: int, high: int) -> Iterator[int]:
    """Places after lines."""
    for found in LINE_END.finditer(text, max(0, low - REACH), high + REACH):
        if low <= found.end() <= high:
            yield found.end()


def paragraph_ends(text: str, low: int, high: int) -> Iterator[int]:
    """Places after paragraphs: at a blank line that does not follow a heading, or at the end of a
    line that ends a sentence."""
    for found in LINE_END.finditer(text, max(0, low - REACH), high + REACH):
        place = found.end()
        if low <= place <= high and ends_paragraph(text, found):
            yield place


def ends_paragraph(text: str, found: re.Match[str]) -> bool:
    """Whether a line end is the end of a paragraph, and not within one or after a heading."""
    tail = text[max(0, found.start() - 20) : found.start()].rstrip().rstrip(CLOSERS)
    if tail and tail[-1] in WIDE_ENDS + NARROW_ENDS + "…":
        return True
    if found.group().count("\n") < 2:
        return False
    begin = text.rfind("\n", max(0, found.start() - HEADING), found.start())
    first_of_paragraph = begin <= 0 or text[begin - 1] == "\n"
    is_short = begin >= 0 or found.start() < HEADING
    return not (is_short and first_of_paragraph)


def clause_ends(text: str, low: int, high: int) -> Iterator[int]:
    """Places after clauses: commas, semicolons, colons, dashes."""
    for found in CLAUSE_END.finditer(text, max(0, low - REACH), high + REACH):
        if low <= found.end() <= high:
            yield found.end()


def word_ends(text: str, low: int, high: int) -> Iterator[int]:
    """Places after words, at white space."""
    for found in WORD_END.finditer(text, max(0, low - REACH), high + REACH):
        if low <= found.end() <= high:
            yield found.end()


def wide_borders(text: str, low: int, high: int) -> Iterator[int]:
    """Places between Chinese or Japanese characters where a line may be broken."""
    for found in WIDE_BORDER.finditer(text, low, high + 1):
        place = found.start()
        if text[place] not in NOT_BEFORE and text[place - 1] not in NOT_AFTER:
            yield place


FINDERS: tuple[Finder, ...] = (
    paragraph_ends,
    sentence_ends,
    line_ends,
    clause_ends,
    word_ends,
    wide_borders,
)
"""From the best kind of place to the worst."""


def is_character_border(text: str, place: int) -> bool:
    """Whether no character with its marks (UAX 29, a little stricter) is cut at a place.

    Accents, variation selectors, skin tones, joined emoji, flags, Hangul letters, the halves of a
    surrogate pair and CR LF stay together.
    """
    if place <= 0 or place >= len(text):
        return True
    before, after = text[place - 1], text[place]
    if after.isascii():
        return before != "\u200d" and not (before == "\r" and after == "\n")
    if unicodedata.category(after).startswith("M") or before == "\u200d":
        return False
    if after in "\u200c\u200d\uff9e\uff9f" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    if "\U000e0020" <= after <= "\U000e007f" or "\udc00" <= after <= "\udfff":
        return False
    if is_hangul(before) and is_hangul_letter(after):
        return False
    if unicodedata.category(before) == "Mn" and unicodedata.combining(before) == 9:
        return False  # an Indic virama joins the next consonant
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        return flags_before(text, place) % 2 == 0
    return True


def is_hangul(character: str) -> bool:
    """Whether a character is a Hangul letter or syllable."""
    return is_hangul_letter(character) or "\uac00" <= character <= "\ud7a3"


def is_hangul_letter(character: str) -> bool:
    """Whether a character is a Hangul letter that joins others to a syllable."""
    return (
        "\u1100" <= character <= "\u11ff"
        or "\ua960" <= character <= "\ua97f"
        or ("\ud7b0" <= character <= "\ud7fb")
    )


def flags_before(text: str, place: int) -> int:
    """How many regional indicators stand directly before a place; two make a flag."""
    begin = place
    while begin > max(0, place - REACH) and "\U0001f1e6" <= text[begin - 1] <= "\U0001f1ff":
        begin -= 1
    return place - begin
