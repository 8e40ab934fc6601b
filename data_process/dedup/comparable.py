"""Records as they are compared: what they say, turn by turn, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data_process.records.jsonl import BadRecords, FilePart, read_part
from data_process.records.kinds import described, document_problems
from data_process.running.step import PartOutput
from model.chat import message_problems

TEXT, USER, ASSISTANT, SYSTEM = range(4)
"""Who says a turn; a text has one turn of its own kind."""
ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}
LONGEST = 1 << 20
"""Characters of a turn that are cut into units; of what follows only a hash is compared, so records
with longer turns can be exact duplicates alone."""
BATCH = 200_000
"""Characters that are worked on together: more leave the processor's cache."""


@dataclass(frozen=True)
class Comparable:
    """A record that can be compared."""

    begin: int
    """Byte at which its line begins."""
    line: int
    """Its number, from 1."""
    turns: list[tuple[int, str]]
    """Role and content."""

    @property
    def size(self) -> int:
        """Characters that are compared."""
        return sum(min(len(content), LONGEST) for _, content in self.turns)

    @cached_property
    def rest(self) -> int:
        """A hash of what is too long to be cut into units; 0 when there is nothing."""
        tails = [content[LONGEST:] for _, content in self.turns if len(content) > LONGEST]
        return hash_of("\n".join(tails)) if tails else 0


def hash_of(text: str) -> int:
    """A hash of a text as it stands, of 64 bits."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def read_comparables(
    part: FilePart, bad_records: BadRecords, output: PartOutput
) -> Iterator[Comparable]:
    """The records of a part of a file; see `read_part`."""
    for record in read_part(part, output, bad_records, comparable_problems):
        yield Comparable(record.begin, record.line, turns_of(record.value))


def comparable_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a text or a conversation."""
    if "conversations" in record:
        yield from message_problems(record["conversations"])
    elif "text" in record:
        yield from document_problems(record)
    else:
        yield (
            f'found {described(record)}; a line must be {{"text": "..."}} or '
            '{"conversations": [...]}'
        )


def turns_of(record: dict[str, Any]) -> list[tuple[int, str]]:
    """Role and content of what a record says."""
    if "conversations" in record:
        return [(ROLES[m["role"]], m["content"]) for m in record["conversations"]]
    return [(TEXT, record["text"])]


def batches(records: Iterator[Comparable], size: int = BATCH) -> Iterator[list[Comparable]]:
    """Records in groups of about `size` characters."""
    group: list[Comparable] = []
    characters = 0
    for record in records:
        if group and characters + record.size > size:
            yield group
            group, characters = [], 0
        group.append(record)
        characters += record.size
    if group:
        yield group
