"""Where a text may be cut: after paragraphs, sentences, lines, clauses, words, characters.

A place to cut is a position in the text; white space belongs to what stands before it, and so do
closing quotes and brackets. The rules are for Chinese, Japanese and the languages written in Latin,
Greek, Cyrillic or Indic letters; in doubt there is no sentence border.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from data_process.text.files import word_list

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
NOT_BEFORE = f"，。、；：！？…—～·ー々〜ぁぃぅぇぉっゃゅょァィゥェォッャュョ%％℃{CLOSERS}"
WIDE_BORDER = re.compile(rf"(?<=[{WIDE}])(?<![{OPENERS}])(?=[{WIDE}])(?![{NOT_BEFORE}])")
"""Between Chinese or Japanese characters where a line may be broken."""

JOINING = re.compile(
    "[\u200c\u200d\udc00-\udfff\uff9e\uff9f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
)
"""What belongs to the character before it, beside marks."""
HANGUL_LETTER = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7fb]")
HANGUL = re.compile("[\u1100-\u11ff\ua960-\ua97f\uac00-\ud7a3\ud7b0-\ud7fb]")
"""Letters that join to syllables; and these letters or syllables."""

FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Regional indicators; two make a flag."""

REACH = 200
"""Characters looked at around a place: more than any abbreviation or run of marks that makes
sense."""
HEADING = 60
"""A paragraph of one line without an end mark, shorter than this in characters, is a heading."""

ABBREVIATIONS = Path(__file__).with_name("abbreviations.txt")
"""Words whose full stop does not end a sentence."""
STARTERS = Path(__file__).with_name("sentence_starters.txt")
"""Words that begin a sentence when they are capital after `U.S.` or `p.m.`."""
LAST_WORD = re.compile(r"(?:(?<=[^\w.])|^)((?:[^\W\d_]\.)*[^\W\d_]+)$")
NEXT_WORD = re.compile(r"[^\W\d_]+")
NUMBER_OF_LINE = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,3}|[ivxIVX]{1,5}|[a-zA-Z])$")
SAID = (
    "said|says|asked|cried|replied|answered|shouted|whispered|exclaimed|muttered|added|called|"
    "continued|remarked|thought|laughed|sighed|returned|observed"
)
WHO_SPOKE = re.compile(
    rf"(?:[A-Z]\S*|[Tt]he \w+)(?: \w+)? (?:{SAID})\b"
    r"|[^。！？，：；“”「」\s]{0,9}?[说說道问問喊叫答笑想嚷]"
)
"""Who spoke, after a quotation: it belongs to it."""


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
    if found["close"] and WHO_SPOKE.match(text, place):
        return False
    return mark != "." or not is_abbreviation(text, found)


def is_abbreviation(text: str, found: re.Match[str]) -> bool:
    """Whether the full stop belongs to its word: `Mr.`, `J. R. R.`, `U.S.`, `3.` before an item."""
    if is_number_of_line(text, found):
        return True
    before = text[max(0, found.start() - 20) : found.start()]
    word = LAST_WORD.search(before)
    if word is None:
        return False
    name = word.group(1)
    if name.lower() in word_list(ABBREVIATIONS):
        return True
    if "." in name or (len(name) == 1 and name.isupper() and name != "I"):
        following = NEXT_WORD.search(text, found.end(), found.end() + 20)
        starts = following and following.group().lower() in word_list(STARTERS)
        return not (starts and len(name) > 1)
    return False


def is_number_of_line(text: str, found: re.Match[str]) -> bool:
    """Whether the full stop stands behind the number of a list's item: `3. `."""
    if found["mark"] != "." or found["close"]:
        return False
    return NUMBER_OF_LINE.search(text[max(0, found.start() - 12) : found.start()]) is not None


def is_wide(character: str) -> bool:
    """Whether a character is Chinese or Japanese, punctuation included."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\uffef"


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


def ends_of(
    pattern: re.Pattern[str],
    accepts: Callable[[str, re.Match[str]], bool] | None = None,
    reach: int = REACH,
) -> Finder:
    """Gives the places after what a pattern finds and `accepts` confirms."""

    def find(text: str, low: int, high: int) -> Iterator[int]:
        for found in pattern.finditer(text, max(0, low - reach), high + reach):
            if low <= found.end() <= high and (accepts is None or accepts(text, found)):
                yield found.end()

    return find


paragraph_ends = ends_of(LINE_END, ends_paragraph)
sentence_ends = ends_of(SENTENCE_END, ends_sentence)
line_ends = ends_of(LINE_END)
clause_ends = ends_of(CLAUSE_END)
word_ends = ends_of(WORD_END)
wide_borders = ends_of(WIDE_BORDER, reach=1)
SENTENCE_FINDERS = (paragraph_ends, sentence_ends)
FINDERS = (*SENTENCE_FINDERS, line_ends, clause_ends, word_ends, wide_borders)
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
    if JOINING.match(after) or (HANGUL.match(before) and HANGUL_LETTER.match(after)):
        return False
    if unicodedata.category(before) == "Mn" and unicodedata.combining(before) == 9:
        return False  # an Indic virama joins the next consonant
    if after in FLAG_LETTERS:
        flags = text[max(0, place - REACH) : place]
        return (len(flags) - len(flags.rstrip(FLAG_LETTERS))) % 2 == 0
    return True
