"""What files of records hold: lengths, languages, scripts, roles, keys, repeated records."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

from data_process.cleaning.language import language_of
from data_process.records.files import InputConfig, passing_work_dir
from data_process.records.filtering import fingerprint_of, main_script, tokenizer
from data_process.records.jsonl import BAD, Reading, counted
from data_process.records.kinds import content_of, kind_of, messages_of, shortened, text_of
from data_process.records.parts import FilesStep, jsonl_parts
from data_process.running.run import counts_named, first_of, outcome, run_step
from data_process.running.step import PartOutput, merged_lines, stream_records
from data_process.running.work_dir import refuse_outputs
from data_process.running.workers import Execution
from model.directory.storage import replace_file
from terminal import output_is_the_result

LENGTHS, HASHES = "lengths", "hashes"
"""Names of the streams."""
MOST_NAMES = 200
"""Different keys and roles that a part counts; those of data with more are left out."""
BATCH, LONG = 256, 100_000
"""Texts that are tokenised at once, unless one has so many characters."""
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SHARE_NAMES = ("least", "5%", "25%", "median", "75%", "95%", "most")
MOST_SHOWN = 12
PICTURES = (".png", ".pdf", ".svg")
Lengths = dict[str, Counter[int]]
"""characters, tokens and turns: how many records have so many."""


@dataclass(frozen=True)
class CountStep(FilesStep):
    """Counts. The streams it writes: lengths (how often each occurs), hashes of records, sorted."""

    tokenizer_dir: Path | None
    languages: bool
    reading: Reading
    tokenizer: str | None = None
    """Its fingerprint."""
    title = "counting"

    def run(self, number: int, output: PartOutput) -> None:
        """Counts the records of one part."""
        lengths: Lengths = {"characters": Counter(), "turns": Counter()}
        hashes: list[bytes] = []
        waiting: list[str] = []
        for record in counted(self.reading.records(self.files[number], output), output):
            text = text_of(record.value)
            self.count_record(record.value, text, lengths, output)
            hashes.append(blake2b(content_of(record.value), digest_size=8).digest())
            if self.tokenizer_dir:
                waiting.append(text)
                if len(waiting) == BATCH or len(text) > LONG:
                    self.count_tokens(waiting, lengths)
        if waiting:
            self.count_tokens(waiting, lengths)
        output.write({name: sorted(counter.items()) for name, counter in lengths.items()}, LENGTHS)
        for digest in sorted(hashes):
            output.write_bytes(digest.hex().encode("ascii") + b"\n", HASHES)

    def count_record(
        self, record: dict[str, Any], text: str, lengths: Lengths, output: PartOutput
    ) -> None:
        """Counts all but tokens."""
        lengths["characters"][len(text)] += 1
        output.count("bytes of text", len(text.encode("utf-8", "surrogatepass")))
        output.count(f"script {main_script(text)}")
        if self.languages:
            output.count(f"language {language_of(text)[0]}")
        output.count(f"kind {kind_of(record)}")
        if turns := messages_of(record):
            lengths["turns"][len(turns)] += 1
        for name in [f"role {role}" for role, _ in turns] + [f"key {key}" for key in record]:
            if name in output.counts or len(output.counts) < MOST_NAMES:
                output.count(shortened(name))

    def count_tokens(self, texts: list[str], lengths: Lengths) -> None:
        """Counts the tokens of texts, and forgets them."""
        assert self.tokenizer_dir
        encoded = tokenizer(self.tokenizer_dir).encode_batch(texts)
        lengths.setdefault("tokens", Counter()).update(map(len, encoded))
        texts.clear()


@dataclass(frozen=True)
class Found:
    """What files hold."""

    counts: Counter[str]
    lengths: Lengths
    different: int
    """Records with a content that none before them has."""

    def share_of(self, prefix: str) -> list[tuple[str, int]]:
        """Counts whose names begin so, without it, the largest first."""
        return counts_named(self.counts, prefix)


def gather(counts: Counter[str], work_dir: Path) -> Found:
    """What the parts of a `CountStep` found, together."""
    lengths: Lengths = {}
    for of_part in stream_records(work_dir, LENGTHS):
        for name, pairs in of_part.items():
            lengths.setdefault(name, Counter()).update(dict(pairs))
    different = sum(1 for _ in groupby(merged_lines(work_dir, HASHES)))
    return Found(counts, {name: c for name, c in lengths.items() if c}, different)


def quantiles(lengths: Counter[int], shares: Sequence[float]) -> list[int]:
    """For each share (0 to 1, ascending), the least length that so many are not longer than."""
    total = sum(lengths.values())
    found: list[int] = []
    passed = 0
    for length, count in sorted(lengths.items()):
        passed += count
        while len(found) < len(shares) and passed >= shares[len(found)] * total:
            found.append(length)
    return found


@dataclass(frozen=True)
class StatsConfig(InputConfig):
    """How many records, how long, in which languages, with which roles; how many of them are
    repeated."""

    tokenizer_dir: Path | None = None
    """Count tokens too, with this tokenizer."""
    languages: bool = False
    """Find the language of each record (slower); scripts are counted in any case."""
    output: Path | None = None
    """Picture of the lengths and shares: .png, .pdf or .svg."""
    overwrite: bool = False
    """Replace the picture if it exists."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def conflicts(self) -> list[str]:
        """What is wrong with the fields, a sentence each."""
        found = super().conflicts()
        if self.output and self.output.suffix.lower() not in PICTURES:
            found.append(f"output is {self.output}: let its name end with .png, .pdf or .svg")
        return found


def run_stats(config: StatsConfig) -> None:
    """Counts, prints, draws."""
    start = time.perf_counter()
    files = config.files()
    refuse_outputs([config.output], config.input_files, config.overwrite)
    parts = tuple(jsonl_parts(files, longest=config.reading.max_line_bytes))
    fingerprint = fingerprint_of(config.tokenizer_dir)
    step = CountStep(parts, config.tokenizer_dir, config.languages, config.reading, fingerprint)
    with passing_work_dir(step) as work_dir:
        counts = run_step(step, work_dir, config.execution)
        found = gather(counts, work_dir)
    output_is_the_result()
    for line in table(found):
        print(line)
    size = sum(file.part.size for file in parts)
    print(outcome(counts, size, time.perf_counter() - start)[-1])
    if config.output and counts["in"] > counts[BAD]:
        write_picture(found, config.output)
        print(config.output)


def table(found: Found) -> list[str]:
    """All that was found, as lines."""
    counts = found.counts
    good = counts["in"] - counts[BAD]
    lines = [f"{good:>14,}  records, {good - found.different:,} of them repeat an earlier one"]
    if counts[BAD]:
        lines.append(f"{counts[BAD]:>14,}  bad records, not counted below")
    for name, lengths in found.lengths.items():
        lines.append(f"{sum(n * count for n, count in lengths.items()):>14,}  {name}")
    lines.append(f"{counts['bytes of text']:>14,}  bytes of text in UTF-8")
    lines += ["", f"{'in a record':<14}" + "".join(f"{name:>10}" for name in SHARE_NAMES)]
    for name, lengths in found.lengths.items():
        sizes = quantiles(lengths, SHARES)
        lines.append(f"{name:<14}" + "".join(f"{size:>10,}" for size in sizes))
    lines.append("")
    titles = {"kind": "kinds", "language": "languages", "script": "scripts"}
    titles |= {"role": "turns", "key": "keys"}
    for prefix, title in titles.items():
        if shares := found.share_of(f"{prefix} "):
            whole = sum(count for _, count in shares) if prefix == "role" else good
            names = [f"{name} {count / whole:.1%}" for name, count in shares]
            lines.append(f"{title:<14}{first_of(names, MOST_SHOWN)}")
    return lines


def write_picture(found: Found, path: Path) -> None:
    """Draws, and writes the picture whole."""
    from data_process.pipeline.figures import draw_counts, save  # matplotlib is slow to import

    figure = draw_counts(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower().removeprefix(".")
    replace_file(path, lambda place: save(figure, place, kind))
