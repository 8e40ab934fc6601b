"""Rules that separate text from rubbish, in the manner of Gopher, C4 and FineWeb, for Chinese too.

Rae et al. 2021 (arXiv 2112.11446, table A1), Raffel et al. 2020 (arXiv 1910.10683, section 2.2),
Penedo et al. 2024 (arXiv 2406.17557). Chinese has no spaces between words, so there a character
counts as a word, and two of them as one in a run of words. The limits are set so that poems,
dialogues and nursery tales, which repeat themselves and have short lines, stay.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from unicodedata import category

from annotated_types import Ge, Interval

from config import Settings, Share
from data_process.text.files import word_list

Number = Annotated[int, Ge(0)]
Length = Annotated[float, Interval(ge=0, le=1000)]

WIDE = re.compile(r"[\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
OTHER_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
BULLETS = tuple("•●○■□▪▫►▶‣⁃∙·◆◇★☆※-*+")
ELLIPSES = ("...", "…", "[…]", "[...]")
PAUSES = tuple(".!?。！？…；;：:，,、\"'”’」』）)》】~—")
END_MARK = re.compile(r"[.!?。！？…](?=[\s\"'”’」』）)\]]|$)|[。！？…]")
DIALOGUE_MARKS = '。，、？！：；“”‘’「」『』…—《》?!"'
"""Marks that short sentences of a dialogue are full of; they are evidence for a text no less than
against it."""
SYMBOL = re.compile(r"#|\.\.\.|…+")
DAMAGE = re.compile("\ufffd|锟斤拷|烫烫烫|屯屯屯")
"""What is left of characters that were lost: U+FFFD, and how GBK reads it or empty memory."""
ENGLISH_STOP_WORDS = Path(__file__).with_name("stop_words_en.txt")
CHINESE_STOP_WORDS = re.compile(
    "[的一是了我不人在他有这个上们来到时大地为子你说就之其而以也于者无乎曰与]"
)
ENOUGH_WORDS = 100
"""Of fewer words (Chinese: characters, twice as many) nothing is said about stop words and
runs."""
LONGEST_JUDGED = 200_000
"""Characters of a longer text, a book, that are judged."""
OFTEN = 5
"""Times from which on a run of words is called frequent."""
FEW_LINES = 4
"""Of fewer lines than this no share is taken."""


@dataclass(frozen=True)
class QualityLimits(Settings):
    """Limits of what is kept; a share is from 0 to 1."""

    quality_rules: bool = True
    """Drop what breaks a rule; without, all is kept, whatever the rules say."""
    min_words: Number = 8
    """Fewest words (Chinese: characters)."""
    max_words: Number = 0
    """Most words (Chinese: characters); 0: any number."""
    min_letters: Share = 0.6
    """Least share of letters in what is no white space; digits and marks count against it (else:
    tables, code, prices)."""
    max_symbols: Share = 0.1
    """Most # and ellipses for each word."""
    min_word_length: Length = 2.8
    """Least mean length of words, in characters; not for Chinese."""
    max_word_length: Length = 10.0
    """Greatest mean length of words, in characters; not for Chinese."""
    max_bullet_lines: Share = 0.9
    """Most lines that begin with a bullet, as a share."""
    max_ellipsis_lines: Share = 0.3
    """Most lines that end with an ellipsis, as a share: teasers."""
    min_paused_lines: Share = 0.12
    """Least share of lines that end with a punctuation mark, of ten lines or more: lists."""
    min_stop_words: Number = 2
    """Fewest different stop words (the, of ...; 的, 是, 之 ...) in 100 words (Chinese: 200
    characters) or more."""
    words_without_end: Number = 150
    """A text of this many words has at least one end of a sentence; 0: it need not."""
    max_repeated_lines: Share = 0.3
    """Most lines that stood before, as a share."""
    max_repeated_line_characters: Share = 0.25
    """Most characters in lines that stood before, as a share."""
    max_top_run: Share = 0.2
    """Most characters in the most frequent run of 2 words (Chinese: 4 characters; half of this for
    4 words), as a share."""
    max_repeated_runs: Share = 0.25
    """Most characters in runs of 5 words (Chinese: 10 characters; two thirds of this for 10 words)
    that stood before, as a share."""
    max_damage: Share = 0.002
    """Most characters that were lost (U+FFFD, 锟斤拷), as a share."""
    drop_curly_brackets: bool = False
    """Drop every text with a { in it, as C4 does: no code, but no mathematics either."""


def quality_problem(text: str, limits: QualityLimits) -> str | None:
    """The first rule that a text breaks, in words; None when it is good."""
    if not limits.quality_rules:
        return None
    measured = Measured(text[:LONGEST_JUDGED])
    quick_first = (broken_by_words, broken_by_lines, broken_by_repetition)
    return next((rule for broken in quick_first for rule in broken(measured, limits)), None)


def letters_in(text: str, characters: int) -> int:
    """How many letters a text has, with the vowel signs that Indic scripts put beside them."""
    letters = sum(map(str.isalnum, text)) - sum(map(text.count, "0123456789"))
    if letters < 0.8 * characters and not text.isascii():
        letters += sum(category(c).startswith("M") for c in text)
    return letters


class Measured:
    """A text and what the rules ask of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.characters = max(1, len(text) - sum(map(text.count, " \n\t\u3000")))
        """Those that are no white space."""
        self.letters = letters_in(text, self.characters)
        self.wide = 0 if text.isascii() else len(WIDE.findall(text))
        self.is_wide = 2 * self.wide > self.letters
        self.tokens = text.split()
        self.words = self.wide + len(self.tokens) if not self.is_wide else self.wide

    @functools.cached_property
    def lines(self) -> list[str]:
        """Lines that say something, without the space around them."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @functools.cached_property
    def units(self) -> Sequence[str]:
        """What runs are made of: words, or Chinese characters and one `a` for each other word (a
        name that comes again is no run)."""
        return OTHER_WORD.sub("a", "".join(self.tokens)) if self.is_wide else self.tokens

    def run_length(self, words: int) -> int:
        """Units in a run of so many words."""
        return 2 * words if self.is_wide else words


def broken_by_words(m: Measured, limits: QualityLimits) -> Iterator[str]:
    """Rules on length, letters and words."""
    if m.words < limits.min_words:
        yield "too short"
    if limits.max_words and m.words > limits.max_words:
        yield "too long"
    if len(DAMAGE.findall(m.text)) > limits.max_damage * len(m.text):
        yield "lost characters"
    if "lorem ipsum" in m.text.lower():
        yield "lorem ipsum"
    if limits.drop_curly_brackets and "{" in m.text:
        yield "curly bracket"
    if m.letters < limits.min_letters * m.characters:
        marks = sum(map(m.text.count, DIALOGUE_MARKS))
        if m.letters < limits.min_letters * (m.characters - marks):
            yield "few letters"
    if len(SYMBOL.findall(m.text)) > limits.max_symbols * m.words:
        yield "many symbols"
    if not m.wide and is_latin(m.text) and m.words >= 20:
        length = m.characters / len(m.tokens)
        if not limits.min_word_length <= length <= limits.max_word_length:
            yield "odd word length"
    if len(m.units) >= m.run_length(ENOUGH_WORDS) and stop_words(m) < limits.min_stop_words:
        yield "no stop words"
    if 0 < limits.words_without_end <= m.words and not END_MARK.search(m.text):
        yield "no end of a sentence"


def is_latin(text: str) -> bool:
    """Whether a text has words as European languages do."""
    return text.isascii() or sum(c < "\u0530" for c in text) > 0.9 * len(text)


def stop_words(m: Measured) -> int:
    """How many different stop words a text has; enough when there is no list for its language."""
    if m.is_wide:
        return len(set(CHINESE_STOP_WORDS.findall(m.text)))
    if not m.text.isascii() and sum(c > "\u007f" and c.isalpha() for c in m.text) > m.words / 20:
        return 10**6
    return len(word_list(ENGLISH_STOP_WORDS).intersection(map(str.lower, m.tokens)))


def broken_by_lines(m: Measured, limits: QualityLimits) -> Iterator[str]:
    """Rules on the beginnings and ends of lines."""
    count = len(m.lines)
    if count < FEW_LINES:
        return
    bullets = sum(line.startswith(BULLETS) for line in m.lines)
    if bullets > limits.max_bullet_lines * count:
        yield "bullet lines"
    if sum(line.endswith(ELLIPSES) for line in m.lines) > limits.max_ellipsis_lines * count:
        yield "lines that end with an ellipsis"
    paused = sum(line.endswith(PAUSES) for line in m.lines)
    if count >= 10 and paused < limits.min_paused_lines * count:
        yield "lines without punctuation"


def broken_by_repetition(m: Measured, limits: QualityLimits) -> Iterator[str]:
    """Rules on lines and runs of words that come again."""
    lines = [line for line in m.lines if not line.endswith((":", "：", ")", "）"))]  # who speaks
    if len(lines) >= FEW_LINES:
        again = repeated(lines)
        if len(again) > limits.max_repeated_lines * len(lines):
            yield "repeated lines"
        if sum(map(len, again)) > limits.max_repeated_line_characters * sum(map(len, lines)):
            yield "repeated lines (by characters)"
    if len(m.units) < m.run_length(ENOUGH_WORDS):
        return
    for words, share in ((2, limits.max_top_run), (4, limits.max_top_run / 2)):
        if may_be_repeated(m, words, share) and top_run(m, words) > share * m.characters:
            yield "one run of words again and again"
    for words, share in ((5, limits.max_repeated_runs), (10, limits.max_repeated_runs * 2 / 3)):
        if may_be_repeated(m, words, share) and repeated_runs(m, words) > share * m.characters:
            yield "repeated runs of words"


def may_be_repeated(m: Measured, words: int, share: float) -> bool:
    """Whether enough runs come again for them to make up that share; a quick look that hardly any
    text passes. The half is for words that are longer than others."""
    n = m.run_length(words)
    again = len(m.units) - n + 1 - len(set(runs(m, n)))
    return (again + 1) * n > share * len(m.units) / 2


def runs(m: Measured, n: int) -> Iterator[Sequence[str]]:
    """All runs of n units, a string or a tuple each."""
    if isinstance(m.units, str):
        return (m.units[i : i + n] for i in range(len(m.units) - n + 1))
    return zip(*(m.units[i:] for i in range(n)), strict=False)


def repeated(lines: Sequence[str]) -> list[str]:
    """The lines that stood before, each as often as it came again."""
    return list((Counter(lines) - Counter(set(lines))).elements())


def top_run(m: Measured, words: int) -> int:
    """Characters in the most frequent run of so many words, if it is frequent."""
    n = m.run_length(words)
    run, times = Counter(runs(m, n)).most_common(1)[0]
    length = n if m.is_wide else sum(map(len, run))
    return times * length if times >= OFTEN else 0


def repeated_runs(m: Measured, words: int) -> int:
    """Characters in runs of so many words that stood before; none is counted twice."""
    n = m.run_length(words)
    seen: set[Sequence[str]] = set()
    total = free = 0
    for place, run in enumerate(runs(m, n)):
        if place < free:
            continue
        if run in seen:
            total += n if m.is_wide else sum(map(len, run))
            free = place + n
        seen.add(run)
    return total
