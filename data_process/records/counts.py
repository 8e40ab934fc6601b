"""Counting what files of records hold: lengths, languages, roles, repeated ones; as a step."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

from data_process.cleaning.language import language_of
from data_process.records.filtering import main_script, tokenizer
from data_process.records.jsonl_parts import JsonlPart, plan_of
from data_process.records.kinds import kind_of, messages_of, shortened, text_of
from data_process.records.record_lines import Reading, RecordLine, read_part
from data_process.running.step import Part, PartOutput, Step, stream_files

LENGTHS, HASHES = "lengths", "hashes"
"""Names of the streams."""
MOST_NAMES = 200
"""Different keys and roles that a part counts; data with more has something else in their
place."""
BATCH, LONG = 256, 100_000
"""Texts that are tokenised at once, unless one has so many characters."""


@dataclass(frozen=True)
class CountStep(Step):
    """Counts. The streams it writes: lengths (how often each occurs), hashes of records, sorted."""

    files: tuple[JsonlPart, ...]
    tokenizer_dir: Path | None
    languages: bool
    reading: Reading
    title = "counting"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        directory = self.tokenizer_dir
        return {
            "step": "count 1",
            **plan_of(self.files),
            "settings": [str(directory), self.languages, asdict(self.reading)],
            "tokenizer": directory and tokenizer(directory).fingerprint,
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Counts the records of one part."""
        lengths: dict[str, Counter[int]] = {name: Counter() for name in ("characters", "turns")}
        hashes: list[bytes] = []
        waiting: list[str] = []
        for line in read_part(self.files[number], self.reading, output):
            text = text_of(line.record)
            self.count_record(line, text, lengths, output)
            hashes.append(blake2b(content_of(line.record), digest_size=8).digest())
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
        self,
        line: RecordLine,
        text: str,
        lengths: dict[str, Counter[int]],
        output: PartOutput,
    ) -> None:
        """Counts all but tokens."""
        lengths["characters"][len(text)] += 1
        output.count("bytes of text", len(text.encode("utf-8", "surrogatepass")))
        output.count(f"script {main_script(text)}")
        if self.languages:
            output.count(f"language {language_of(text)[0]}")
        output.count(f"kind {kind_of(line.record)}")
        if turns := messages_of(line.record):
            lengths["turns"][len(turns)] += 1
        for name in [f"role {role}" for role, _ in turns] + [f"key {key}" for key in line.record]:
            if name in output.counts or len(output.counts) < MOST_NAMES:
                output.count(shortened(name))

    def count_tokens(self, texts: list[str], lengths: dict[str, Counter[int]]) -> None:
        """Counts the tokens of texts, and forgets them."""
        assert self.tokenizer_dir
        encoded = tokenizer(self.tokenizer_dir).encode_batch(texts)
        lengths.setdefault("tokens", Counter()).update(map(len, encoded))
        texts.clear()


def content_of(record: dict[str, Any]) -> bytes:
    """What makes two records the same: their text or turns, else all of them."""
    if messages := messages_of(record):
        value: object = messages
    else:
        value = record["text"] if isinstance(record.get("text"), str) else record
    return json.dumps(value, ensure_ascii=True, sort_keys=True).encode("ascii")


@dataclass(frozen=True)
class Found:
    """What files hold."""

    counts: Counter[str]
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    """characters, tokens and turns: how many records have so many."""
    different: int = 0
    """Records with a content that none before them has."""

    def share_of(self, prefix: str) -> list[tuple[str, int]]:
        """Counts whose names begin so, without it, the largest first."""
        found = [
            (n.removeprefix(prefix), c) for n, c in self.counts.items() if n.startswith(prefix)
        ]
        return sorted(found, key=lambda item: (-item[1], item[0]))


def gather(counts: Counter[str], work_dir: Path) -> Found:
    """What the parts of a `CountStep` found, together."""
    lengths: dict[str, Counter[int]] = {}
    for path in stream_files(work_dir, LENGTHS):
        for name, pairs in json.loads(path.read_text(encoding="utf-8")).items():
            lengths.setdefault(name, Counter()).update(dict(pairs))
    hashes = heapq.merge(*(hashes_in(path) for path in stream_files(work_dir, HASHES)))
    different = sum(1 for _ in groupby(hashes))
    return Found(counts, {name: c for name, c in lengths.items() if c}, different)


def hashes_in(path: Path) -> Iterator[bytes]:
    """The hashes of one part, ascending."""
    with path.open("rb") as file:
        yield from file


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
