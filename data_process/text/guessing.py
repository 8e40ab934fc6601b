"""Which encoding bytes are in that are not UTF-8: the one in which they are likeliest to be writing
of a language that the encoding was made for.

Each encoding is tried with each of its languages. A language is how frequent its letters are, as
`letters.json` lists them: of an alphabet by their order, since the r-th of n letters has about the
share (1/r + ... + 1/n) / n of a text (Gusein-Zade 1987); of Chinese, Japanese and Korean by the
share that the listed characters have together. Probabilities are natural logarithms, so two
encodings differ by the logarithm of the odds between them.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LETTERS = Path(__file__).with_name("letters.json")
SIGNS = frozenset("“”„‘’‚«»‹›–—…§°№€·•\xa0\xad¿¡º£×½²©®")
"""Signs that any language may have."""
SIGN, RARE, DAMAGED = math.log(0.003), math.log(1e-6), math.log(1e-8)
CAPITAL = math.log(0.05)
"""Of a capital letter, against a small one."""
ASCII, RARE_ASCII = -3.0, -6.0
RARE_SIGNS = frozenset("[\\]^_`{|}~@#$%&*+<=>")
BREAKS = {  # of the classes below, by kind of writing: what hardly occurs in it
    "latin": re.compile(r"x[XA]|aX|[xX](?=[xX])|,[xX]"),
    "other": re.compile(r"x(?=X)|[xXo](?=[aA])|[aA](?=[xXo])|,[xXo]"),
    "thousands": re.compile(r"o(?=[aA])|[aA](?=o)"),
}
BREAK = -4.0
LEAST_PRIOR = -7.0
"""Of a language that py3langid does not see in the ASCII of a text, or of an alphabet that a text
has fewer letters of than of ASCII."""
MARGIN = 6.0
"""By which the best encoding must surpass the next one."""
SHOWN = 4
"""Most encodings that are named when it may be several."""
MISFIT, MISFIT_ONCE = 2.0, 8.0
"""Below what letters have on average in a language, by which an encoding does not fit: for each
letter, and once."""


@dataclass(frozen=True)
class Language:
    """How likely the characters of a language are."""

    name: str
    likely: Mapping[str, float]
    """Logarithms of the probabilities of its characters."""
    mean: float
    """What a character beyond ASCII has on average."""
    kind: str
    """latin, other (an alphabet), or thousands (of characters)."""
    usual: tuple[str, bytes, bytes] = ("ascii", b"", b"")
    """Of thousands: a narrower encoding, and the first bytes there of its usual characters."""
    otherwise: float = RARE
    """A usual character that is not listed."""

    def likelihood(self, character: str) -> float:
        """The logarithm of a character's probability, by its kind."""
        if character < "\x80":
            is_rare = character in RARE_SIGNS or (character < " " and character not in "\t\n\r")
            return RARE_ASCII if is_rare else ASCII
        if (found := self.likely.get(character)) is not None:
            return found
        if (found := self.likely.get(character.lower())) is not None:
            return found + CAPITAL
        if character == "\ufffd":
            return DAMAGED
        if character in SIGNS:
            return SIGN
        encoding, first, last = self.usual
        if first <= character.encode(encoding, "ignore")[:1] <= last and first:
            return self.otherwise
        return RARE


@dataclass(frozen=True)
class Guess:
    """An encoding with one of its languages."""

    encoding: str
    language: str
    score: float
    """Logarithm of the probability of the bytes."""
    fits: bool
    """Whether the characters beyond ASCII are about as likely as they are in the language."""
    text: str


@functools.cache
def table() -> dict[str, Any]:
    """The content of `letters.json`."""
    found: dict[str, Any] = json.loads(LETTERS.read_text(encoding="utf-8"))
    return found


@functools.cache
def language_named(name: str) -> Language:
    """A language of `letters.json`."""
    if letters := table()["alphabets"].get(name):
        n = len(letters)
        shares = [sum(1 / k for k in range(r, n + 1)) / n for r in range(1, n + 1)]
        likely = {
            letter: math.log(0.95 * share) for letter, share in zip(letters, shares, strict=True)
        }
        mean = sum(share * math.log(share) for share in shares)
        kind = "latin" if letters[0] < "\u0250" else "other"
        return Language(name, likely, mean, kind)
    entry = table()["writing"][name]
    listed = "".join(table()["characters"][group] for group in entry["groups"])
    each, rest = entry["share"] / len(listed), (0.97 - entry["share"]) / entry["size"]
    encoding, first, last = entry["usual"]
    usual = (encoding, bytes.fromhex(first), bytes.fromhex(last))
    mean = entry["share"] * math.log(each) + (0.97 - entry["share"]) * math.log(rest)
    likely = dict.fromkeys(listed, math.log(each))
    return Language(name, likely, mean, "thousands", usual, math.log(rest))


def guesses(data: bytes) -> list[Guess]:
    """All encodings with their languages, the likeliest first."""
    priors = latin_priors(data)
    found: list[Guess] = []
    for entry in table()["encodings"]:
        text = data.decode(entry["name"], errors="replace")
        characters = Counter(text)
        classes = text.translate({ord(c): class_of(c) for c in characters})
        breaks = {kind: len(pattern.findall(classes)) for kind, pattern in BREAKS.items()}
        beyond = sum(n for c, n in characters.items() if c > "\x7f" and c not in SIGNS)
        for name in entry["languages"]:
            language = language_named(name)
            parts = [(c, n * language.likelihood(c)) for c, n in characters.items()]
            broken = BREAK * breaks[language.kind]
            score = sum(value for _, value in parts) + broken - entry["rarity"]
            if language.kind == "latin":
                score += priors.get(name, LEAST_PRIOR)
            elif language.kind == "other" and beyond < classes.count("a") + classes.count("A"):
                score += LEAST_PRIOR
            likely = sum(value for c, value in parts if c > "\x7f" and c not in SIGNS) + broken
            fits = likely >= (language.mean - MISFIT) * beyond - MISFIT_ONCE
            found.append(Guess(entry["name"], name, score, fits, text))
    return sorted(found, key=lambda guess: -guess.score)


def class_of(character: str) -> str:
    """a, A: a small and a capital letter of ASCII; x, X: others; o: letters without case; a comma:
    signs that a space follows."""
    if character in ",.;:!?":
        return ","
    if not character.isalpha():
        return " "
    case = "xX"[character.isupper()] if character.lower() != character.upper() else "o"
    return case if character > "\x7f" else "aA"[character.isupper()]


def latin_priors(data: bytes) -> dict[str, float]:
    """Logarithms of the probabilities of languages, by the words of ASCII alone."""
    words = re.sub(rb"[^\x00-\x7f]+", b" ", data[:4000]).decode("ascii")
    ranked = identifier().rank(words)
    found = {name: max(LEAST_PRIOR, math.log(max(p, 1e-9))) for name, p in ranked}
    return {**found, "western": -2.5}


@functools.cache
def identifier() -> Any:
    """py3langid's model, read once a process (0.6 s)."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow to import

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def guess_encoding(data: bytes) -> tuple[str | None, list[str]]:
    """The encoding that bytes are in; None, and those that it may be, when several are about as
    likely; None alone when none fits."""
    best, *others = guesses(data)
    rivals = [guess for guess in others if guess.score > best.score - MARGIN]
    if not best.fits:
        return None, []
    if all(rival.text == best.text for rival in rivals):
        return best.encoding, []
    by_text: dict[str, str] = {}
    for guess in (best, *rivals):
        by_text.setdefault(guess.text, guess.encoding)
    return None, list(by_text.values())[:SHOWN]
