"""Language identification: by the script of the letters, then by py3langid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from config import UserError
from data_process.text.files import word_list
from data_process.text.guessing import identifier

UNKNOWN = "und"
"""The code (ISO 639) for a text that is too short, or has no words."""
SCRIPTS = (
    ("han", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"),
    ("kana", "\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d"),
    ("hangul", "\u1100-\u11ff\uac00-\ud7a3"),
    ("latin", "A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff"),
    ("greek", "\u0370-\u03ff\u1f00-\u1fff"),
    ("cyrillic", "\u0400-\u052f"),
    ("hebrew", "\u0590-\u05ff"),
    ("arabic", "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff"),
    ("devanagari", "\u0900-\u097f"),
    ("thai", "\u0e00-\u0e7f"),
)
RUNS = {name: re.compile(f"[{letters}]+") for name, letters in SCRIPTS}
ONE_LANGUAGE = {"hangul": "ko", "greek": "el", "thai": "th"}
"""Scripts that one language of the model is written in."""
WEIGHT = {"han": 3.0, "kana": 2.0, "hangul": 2.5}
"""Letters that a character weighs: about what its word has in English."""
ENGLISH_WORDS = Path(__file__).with_name("common_english.txt")
"""Common words that few other languages have among theirs."""
SAMPLE = 900
"""Characters that are looked at: from the beginning, the middle and the end of a longer text."""
LEAST_LETTERS = {"latin": 24, "cyrillic": 24, "arabic": 16, "hebrew": 8, "devanagari": 16}
"""Below this, py3langid guesses; a text so short is unknown."""
LEAST_HAN = 2
LEAST_CONFIDENCE = 0.5
"""Of py3langid; below it the language is unknown."""


def language_of(text: str) -> tuple[str, float]:
    """The language of a text (ISO 639-1) and how sure that is (0 to 1); `und` when it is too
    short."""
    text = sample_of(text)
    letters = letters_by_script(text)
    total = sum(letters.values())
    if not total:
        return UNKNOWN, 0.0
    if letters["kana"] + letters["han"] > total / 2:
        return chinese_or_japanese(letters, total)
    script, count = max(letters.items(), key=lambda item: item[1])
    if script in ONE_LANGUAGE:
        return ONE_LANGUAGE[script], count / total
    if count < LEAST_LETTERS.get(script, 24):
        return UNKNOWN, 0.0
    if script == "latin" and is_plain_english(text):
        return "en", 1.0
    return by_model(" ".join(RUNS[script].findall(text)) if count < total else text)


def chinese_or_japanese(letters: Counter[str], total: float) -> tuple[str, float]:
    """Japanese has kana in every sentence, Chinese none beyond a name."""
    if letters["kana"] > 0.1 * (letters["kana"] + letters["han"]):
        return "ja", (letters["kana"] + letters["han"]) / total
    if letters["han"] < LEAST_HAN * WEIGHT["han"]:
        return UNKNOWN, 0.0
    return "zh", letters["han"] / total


def sample_of(text: str) -> str:
    """The beginning, the middle and the end of a long text."""
    if len(text) <= SAMPLE:
        return text
    third, middle = SAMPLE // 3, len(text) // 2
    return "\n".join((text[:third], text[middle : middle + third], text[-third:]))


def letters_by_script(text: str) -> Counter[str]:
    """How many letters of each script a text has, weighed."""
    if text.isascii():
        return Counter(latin=len("".join(RUNS["latin"].findall(text))))
    lengths = {name: len("".join(run.findall(text))) for name, run in RUNS.items()}
    return Counter({name: int(n * WEIGHT.get(name, 1.0)) for name, n in lengths.items()})


def is_plain_english(text: str) -> bool:
    """Whether a text has so many of the commonest English words that the model, which takes thirty
    times as long, need not be asked."""
    words, english = text.lower().split(), word_list(ENGLISH_WORDS)
    common = [word for word in words if word in english]
    return "the" in common and len(set(common)) >= 5 and len(common) >= len(words) / 8


def by_model(text: str) -> tuple[str, float]:
    """What py3langid says, if it is sure enough."""
    language, probability = identifier().classify(text)
    return (language if probability >= LEAST_CONFIDENCE else UNKNOWN), probability


def check_languages(languages: Sequence[str]) -> None:
    """Raises UserError for a code that is not one of those that can be found."""
    if not languages:
        return
    known = sorted(identifier().labels)
    if unknown := [name for name in languages if name not in known]:
        raise UserError(
            f"languages: {' '.join(unknown)} is not known; use codes of two letters such as zh, "
            f"en, ja; known are {' '.join(known)}"
        )
