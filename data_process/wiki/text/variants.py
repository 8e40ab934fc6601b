"""Chinese variants: -{zh-hans:...;zh-hant:...}- and the words of NoteTA, in the chosen variant.

The rest of a page stays in the script in which it was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FALLBACKS = {
    "zh-hans": ("zh-hans", "zh-cn", "zh-sg", "zh-my", "zh"),
    "zh-cn": ("zh-cn", "zh-hans", "zh-sg", "zh-my", "zh"),
    "zh-sg": ("zh-sg", "zh-my", "zh-hans", "zh-cn", "zh"),
    "zh-my": ("zh-my", "zh-sg", "zh-hans", "zh-cn", "zh"),
    "zh-hant": ("zh-hant", "zh-tw", "zh-hk", "zh-mo", "zh"),
    "zh-tw": ("zh-tw", "zh-hant", "zh-hk", "zh-mo", "zh"),
    "zh-hk": ("zh-hk", "zh-mo", "zh-hant", "zh-tw", "zh"),
    "zh-mo": ("zh-mo", "zh-hk", "zh-hant", "zh-tw", "zh"),
}
"""Variants, the nearest first."""
LANGUAGES = frozenset(("zh", "gan", "sr", "sh", "kk", "ku", "uz", "tg", "crh", "iu", "shi", "ban"))
"""Of wikis whose pages are shown in several variants; elsewhere -{ is text, as in chemistry."""
HAN = "[\u4e00-\u9fff]"
CHINESE = re.compile(rf"{HAN}-\{{|-\{{[^{{}}]*{HAN}|\}}-{HAN}|-\{{\s*zh-")
"""Marks in Chinese; the head of an excerpt may state another language."""
BLOCK = re.compile(r"-\{((?:(?!-\{|\}-).)*)\}-", re.DOTALL)
RULE = re.compile(
    r"(?:^|;)\s*(?:([^;:]*?)\s*=>\s*)?(zh(?:-[a-z]+)?|[a-z]{2,3}-[a-z]{2,5})\s*:", re.IGNORECASE
)
FLAGS = re.compile(r"\s*([A-Z+\-;a-z\s]*)\|")
BLOCK_MARKS = re.compile(r"-\{|\}-")
MAX_NESTING = 10
"""As in MediaWiki. Of blocks that are nested deeper, the marks go."""
MAX_RULES = 300


def has_variants(text: str, language: str) -> bool:
    """Whether the marks in a page are those of variants."""
    return "-{" in text and (language in LANGUAGES or CHINESE.search(text) is not None)


class VariantChooser:
    """Chooses one variant of Chinese."""

    def __init__(self, variant: str) -> None:
        self.order = FALLBACKS[variant]

    def clean(self, text: str, word_rules: Sequence[str]) -> str:
        """A text in the chosen variant.

        Args:
            text: the page.
            word_rules: the rules of its NoteTA.
        """
        words: dict[str, str] = {}
        for rule in word_rules:
            self.learn(words, BLOCK.sub(r"\1", rule))
        for _ in range(MAX_NESTING):
            if "-{" not in text and not words:
                return text
            text = self.replace(text, words)
            words = {}
        return BLOCK_MARKS.sub("", text) if BLOCK.search(text) else text

    def replace(self, text: str, words: dict[str, str]) -> str:
        """One pass over blocks and words; what a block shows is not changed by a word's rule."""
        for match in BLOCK.finditer(text):
            flags, body = flags_of(match[1])
            if flags & {"A", "H", "+"}:
                self.learn(words, body)
            elif "-" in flags:
                for word in self.alternatives(body).values():
                    words.pop(word, None)
        longest = sorted(words, key=lambda word: (-len(word), word))[:MAX_RULES]
        pattern = re.compile("|".join([BLOCK.pattern, *map(re.escape, longest)]), re.DOTALL)
        return pattern.sub(lambda m: words[m[0]] if m[1] is None else self.show(m[1]), text)

    def show(self, inside: str) -> str:
        """What a block shows."""
        flags, body = flags_of(inside)
        if flags & {"H", "T", "-"}:
            return ""
        if variants := {flag for flag in flags if flag.startswith("zh")}:
            return body if variants & set(self.order) else ""
        if "R" in flags:
            return body
        return self.chosen(self.alternatives(body), body)

    def alternatives(self, body: str) -> dict[str, str]:
        """Words by variant."""
        _, *pieces = RULE.split(body)  # of each word: what it stands for, its variant, itself
        words = (word.strip().rstrip(";").strip() for word in pieces[2::3])
        return dict(zip(map(str.lower, pieces[1::3]), words, strict=True))

    def chosen(self, alternatives: dict[str, str], otherwise: str) -> str:
        """The word of the nearest variant, else the first one."""
        variants = (variant for variant in (*self.order, *alternatives) if variant in alternatives)
        return alternatives.get(next(variants, ""), otherwise)

    def learn(self, words: dict[str, str], body: str) -> None:
        """Adds a rule: each other variant's word becomes the chosen one."""
        alternatives = self.alternatives(body)
        if not alternatives:
            return
        target = self.chosen(alternatives, "")
        sources = [source.strip() for source in RULE.split(body)[1::3] if source]
        for word in sources or alternatives.values():
            if word and word != target:
                words[word] = target


def flags_of(inside: str) -> tuple[set[str], str]:
    """The flags of a block, and its rest."""
    match = FLAGS.match(inside)
    if not match:
        return set(), inside
    flags = {flag.strip() for flag in match[1].split(";")}
    return flags, inside[match.end() :]
