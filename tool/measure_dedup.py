"""Measures dedup_jsonl.py: which planted near duplicates it finds, its time and its memory.

Edited copies of real texts are put among them, and what is dropped is compared with what was
planted: by kind of edit, and by how similar the copy still is. --documents makes as many short
texts, a twentieth of them copies and a twentieth near copies, and runs them through.
"""

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import ROOT, in_range, positive
from data_process.records.jsonl import read_texts
from tool.benchmarks.planted_duplicates import Planted, jaccard, plant
from tool.benchmarks.watched_process import Watched, run_watched

NGRAM = 5


@dataclass(frozen=True)
class MeasureDedupConfig:
    """What is measured."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...}, one language each; copies are planted in each."""
    copies: int = 300
    """Copies of each kind of edit."""
    threshold: float = 0.7
    """The threshold that is measured."""
    documents: int = 0
    """Short documents to make and run through, for time and memory; 0: none."""
    workers: int = 2
    """Processes."""
    seed: int = 1
    """Of the edits and of the documents."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = positive(self, "copies", "workers") + in_range(self, 0.1, 1.0, "threshold")
        found += in_range(self, 0, 10**8, "documents")
        if not self.input_files and not self.documents:
            found.append("nothing to measure: name files, or a number of --documents")
        return found


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
    lenient = ("--threshold", "0.4", "--workers", str(config.workers))
    kept, _ = run_dedup(raw, folder, lenient)  # its own near duplicates would confuse
    texts = [record["text"] for record in kept]
    planted = plant(texts, config.copies, config.seed)
    chosen = ("--threshold", str(config.threshold), "--workers", str(config.workers))
    _, rejected = run_dedup([*texts, *(copy.text for copy in planted)], folder, chosen)
    dropped = {record["number"]: record["duplicate_of"]["id"] for record in rejected}
    print(f"{path}: {len(raw):,} texts, {len(texts):,} after their own near duplicates went")
    for line in planted_table(texts, planted, dropped, config.threshold):
        print(line)


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
    texts: Sequence[str], folder: Path, flags: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What stays of texts, and what does not; `id` and `number` are their places."""
    source, output, rejected = (folder / f"{name}.jsonl" for name in ("in", "out", "rejected"))
    with source.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            record = {"text": text, "id": number, "number": number}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    run_script_on(source, output, (*flags, "--rejected", str(rejected)))
    kept, dropped = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        for path in (output, rejected)
    )
    return kept, dropped


def run_script_on(source: Path, output: Path, flags: Sequence[str]) -> Watched:
    """Runs dedup_jsonl.py in a process of its own."""
    script = str(ROOT / "data_process" / "dedup_jsonl.py")
    command = [sys.executable, script, str(source), "--output", str(output), "--overwrite"]
    return run_watched([*command, *flags])


def measure_size(config: MeasureDedupConfig, folder: Path) -> None:
    """Prints time and memory for many short documents."""
    source, output = folder / "many.jsonl", folder / "many_out.jsonl"
    write_documents(source, config.documents, config.seed)
    watched = run_script_on(source, output, ("--workers", str(config.workers)))
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
