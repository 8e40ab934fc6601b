"""Measures dedup_jsonl.py: which planted near duplicates it finds, its time and its memory.

Edited copies of real texts are put among them, and what is dropped is compared with what was
planted: by kind of edit, and by how similar the copy still is. --documents makes as many short
texts, a twentieth of them copies and a twentieth near copies, and runs them through.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import ROOT
from data_process.records.jsonl import read_texts
from model.directory.storage import jsonl_text
from tool.benchmarks.measuring import Watched, run_watched
from tool.settings import MeasureDedupConfig

NGRAM = 5


PIECE = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff_]+|[\W_]", re.DOTALL)
"""A Chinese character, a word, or anything else."""
SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]+[”’」』\")]*\s*|.+", re.DOTALL)
PUNCTUATION = ",.!?;:\"'()，。！？；：“”‘’（）、"
Edit = Callable[[str, str, random.Random], str]
"""Makes a copy of a text; the second text is another one, to take words from."""


@dataclass(frozen=True)
class Planted:
    """A copy among the texts."""

    kind: str
    original: int
    """Number of the text that it was made of."""
    text: str


def main() -> None:
    """Measures what is asked for, in a folder that goes."""
    config = parse_flags(MeasureDedupConfig(), __doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        for path in config.input_files:
            measure_planted(path, config, Path(folder))
        if config.documents:
            measure_size(config, Path(folder))


def measure_planted(path: Path, config: MeasureDedupConfig, folder: Path) -> None:
    """Prints what is found of the copies planted in a file."""
    raw = [text for _, text in read_texts(path)]
    kept, _ = run_dedup(raw, folder, 0.4, config.workers)  # its own near duplicates would confuse
    texts = [record["text"] for record in kept]
    planted = plant(texts, config.copies, config.seed)
    everything = [*texts, *(copy.text for copy in planted)]
    _, rejected = run_dedup(everything, folder, config.threshold, config.workers)
    dropped = {record["number"]: record["duplicate_of"]["id"] for record in rejected}
    print(f"{path}: {len(raw):,} texts, {len(texts):,} after their own near duplicates went")
    print(*planted_table(texts, planted, dropped, config.threshold), sep="\n")


def change_words(share: float) -> Edit:
    """Puts other words (of Chinese, characters) in place of a share of them."""

    def edit(text: str, other: str, chance: random.Random) -> str:
        pieces = PIECE.findall(text)
        others = [piece for piece in PIECE.findall(other) if piece.isalnum()]
        words = [place for place, piece in enumerate(pieces) if piece.isalnum()]
        for place in chance.sample(words, max(1, round(share * len(words)))):
            pieces[place] = chance.choice(others)
        return "".join(pieces)

    return edit


def drop_sentences(share: float) -> Edit:
    """Leaves out a share of the sentences, one at least."""

    def edit(text: str, other: str, chance: random.Random) -> str:
        sentences = SENTENCE.findall(text)
        for _ in range(max(1, round(share * len(sentences)))):
            del sentences[chance.randrange(len(sentences))]
        return "".join(sentences)

    return edit


def swap_sentences(text: str, other: str, chance: random.Random) -> str:
    """Puts the last third of the sentences first."""
    sentences = SENTENCE.findall(text)
    cut = len(sentences) - max(1, len(sentences) // 3)
    return "".join(sentences[cut:] + sentences[:cut])


def add_sentence(text: str, other: str, chance: random.Random) -> str:
    """Begins with a sentence of another text, as web pages do."""
    return chance.choice(SENTENCE.findall(other)) + text


def change_punctuation(text: str, other: str, chance: random.Random) -> str:
    """Leaves out half of the punctuation, and writes all in capitals, with other white space."""
    kept = "".join(c for c in text if c not in PUNCTUATION or chance.random() < 0.5)
    return re.sub(r"\s+", "\n ", kept).upper()


def replace_half(text: str, other: str, chance: random.Random) -> str:
    """The first half of the text and the second of another: no duplicate."""
    return text[: len(text) // 2] + other[len(other) // 2 :]


EDITS: dict[str, Edit] = {
    "punctuation, case, space": change_punctuation,
    "1% of words": change_words(0.01),
    "2% of words": change_words(0.02),
    "5% of words": change_words(0.05),
    "10% of words": change_words(0.1),
    "20% of words": change_words(0.2),
    "1 sentence in 10 left out": drop_sentences(0.1),
    "1 sentence in 4 left out": drop_sentences(0.25),
    "sentences swapped": swap_sentences,
    "a sentence added": add_sentence,
    "half of it another text": replace_half,
}


def plant(texts: list[str], copies: int, seed: int) -> list[Planted]:
    """Copies of texts, `copies` of each kind of edit, of different texts as far as there are."""
    chance = random.Random(seed)
    usable = [n for n, text in enumerate(texts) if len(SENTENCE.findall(text)) >= 4]
    planted = []
    for kind, edit in EDITS.items():
        for original in chance.sample(usable, min(copies, len(usable))):
            other = texts[chance.choice(usable)]
            planted.append(Planted(kind, original, edit(texts[original], other, chance)))
    return planted


def jaccard(one: str, other: str, n: int) -> float:
    """How similar two texts are by their n-grams of words or Chinese characters."""
    sets = []
    for text in (one, other):
        units = [piece.lower() for piece in PIECE.findall(text) if piece.isalnum()]
        sets.append({tuple(units[i : i + n]) for i in range(max(1, len(units) - n + 1))})
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def planted_table(
    texts: Sequence[str], planted: Sequence[Planted], dropped: dict[int, int], threshold: float
) -> list[str]:
    """A line for each kind of edit, then recall and precision.

    Args:
        texts: those that were there.
        planted: the copies, which came after them.
        dropped: numbers of records that were dropped, and of those they are said to be like.
        threshold: at which records are duplicates.
    """
    everything = [*texts, *(copy.text for copy in planted)]
    rows: dict[str, list[tuple[float, bool]]] = {}
    for number, copy in enumerate(planted, len(texts)):
        similarity = jaccard(copy.text, texts[copy.original], NGRAM)
        rows.setdefault(copy.kind, []).append((similarity, number in dropped))
    lines = [f"  {'edit':<28}{'copies':>7}{'similarity':>12}{'dropped':>9}"]
    for kind, found in rows.items():
        middle = statistics.median(similarity for similarity, _ in found)
        share = sum(gone for _, gone in found) / len(found)
        lines.append(f"  {kind:<28}{len(found):>7,}{middle:>12.2f}{share:>9.1%}")
    alike = [
        gone for found in rows.values() for similarity, gone in found if similarity >= threshold
    ]
    right = [jaccard(everything[a], everything[b], NGRAM) >= threshold for a, b in dropped.items()]
    lines.append(f"  recall {share_of(alike)}: of copies at least {threshold:g} alike, dropped")
    lines.append(
        f"  precision {share_of(right)}: of dropped, at least {threshold:g} alike to theirs"
    )
    return lines


def share_of(values: Sequence[bool]) -> str:
    """A share in words."""
    return f"{sum(values) / max(1, len(values)):.2%} ({sum(values):,} of {len(values):,})"


def run_dedup(
    texts: Sequence[str], folder: Path, threshold: float, workers: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What stays of texts, and what does not; `id` and `number` are their places."""
    source, output, rejected = (folder / f"{name}.jsonl" for name in ("in", "out", "rejected"))
    records = [{"text": text, "id": n, "number": n} for n, text in enumerate(texts)]
    source.write_text(jsonl_text(records), encoding="utf-8")
    run_script_on(source, output, workers, "--threshold", threshold, "--rejected", rejected)
    kept, dropped = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        for path in (output, rejected)
    )
    return kept, dropped


def run_script_on(source: Path, output: Path, workers: int, *flags: object) -> Watched:
    """Runs dedup_jsonl.py in a process of its own."""
    script = ROOT / "data_process" / "dedup_jsonl.py"
    files = (source, "--output", output, "--overwrite", "--workers", workers)
    return run_watched([sys.executable, *map(str, (script, *files, *flags))])


def measure_size(config: MeasureDedupConfig, folder: Path) -> None:
    """Prints time and memory for many short documents."""
    source, output = folder / "many.jsonl", folder / "many_out.jsonl"
    write_documents(source, config.documents, config.seed)
    watched = run_script_on(source, output, config.workers)
    print(f"{config.documents:,} documents, {source.stat().st_size / 1e6:,.0f} MB")
    print(watched.output.rstrip())
    print(f"peak memory of all processes together: {watched.peak_bytes / 1e6:,.0f} MB")


def write_documents(path: Path, documents: int, seed: int) -> None:
    """Writes short documents of 20 to 140 words, English-like and Chinese-like in turn; each 20th
    is a copy of the one before, and each 20th has one word in 50 changed."""
    chance = random.Random(seed)
    syllables = [a + b for a in "bcdfghklmnprst" for b in "aeiou"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(20_000)]
    alphabets = (words, [chr(0x4E00 + n) for n in range(3_000)])
    weights = [[1 / (n + 10) ** 0.8 for n in range(len(alphabet))] for alphabet in alphabets]
    sums = [list(accumulate(weight)) for weight in weights]
    units: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            kind = number // 1000 % 2
            if number % 20 in (17, 19) and units:
                changed = len(units) // 50 if number % 20 == 17 else 0
                for place in chance.sample(range(len(units)), changed):
                    units[place] = chance.choice(alphabets[kind])
            else:
                size = chance.randint(20, 140)
                units = chance.choices(alphabets[kind], cum_weights=sums[kind], k=size)
            text = (" ", "")[kind].join(units)
            file.write(json.dumps({"text": text, "id": number}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_script(main)
