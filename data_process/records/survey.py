"""Reading a JSONL file once to know it: its fingerprint, and where to cut it into parts.

Parts begin and end at line ends, so that several processes can read one file; each knows the number
of its first line, for messages, and how many records come before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from data_process.records.jsonl import EmptyFile, FilePart, is_blank, read_pieces
from data_process.records.known_files import KnownFiles, signature_of

SETTLED_SECONDS = 2.0
"""A file written to more lately than this is not remembered: on some file systems a second write
could leave the same time behind."""


@dataclass(frozen=True)
class Survey:
    """What a file holds."""

    path: Path
    sha256: str
    records: int
    """Lines that are not blank."""
    parts: tuple[FilePart, ...]
    """Together they are the whole file."""
    signature: list[list[object]]
    """Size and times of the file when it was read."""


def survey(path: Path, part_bytes: int, known: KnownFiles) -> Survey:
    """Reads a file to its end, or remembers what was found when that was last done.

    Args:
        path: the file.
        part_bytes: a part ends with the line that makes it this long, in bytes.
        known: the memory.

    Raises:
        UserError: the file is missing, cannot be read, or holds no record.
    """
    facts = known.recall(path, f"survey {part_bytes}")
    if facts is not None:
        parts = tuple(FilePart(*part) for part in facts["parts"])
        return Survey(path, facts["sha256"], facts["records"], parts, signature_of(path))
    signature = signature_of(path) if path.is_file() else []
    sha256, records, parts = read_through(path, part_bytes)
    if not records:
        raise EmptyFile(path)
    found = Survey(path, sha256, records, parts, signature)
    refuse_changed(found)
    facts = {"sha256": sha256, "records": records, "parts": [as_list(part) for part in parts]}
    if time.time() - path.stat().st_mtime > SETTLED_SECONDS:
        known.remember(path, f"survey {part_bytes}", signature, facts)
    return found


def as_list(part: FilePart) -> list[int]:
    """A part's fields, in order."""
    return list(dataclasses.astuple(part))


def read_through(
    path: Path, part_bytes: int, tell: Callable[[int], object] | None = None
) -> tuple[str, int, tuple[FilePart, ...]]:
    """The sha256 of a file, its number of records, and its parts.

    Args:
        path: the file.
        part_bytes: a part ends with the line that makes it this long, in bytes.
        tell: is told the bytes of each part that was read, for a progress bar.
    """
    digest = hashlib.sha256()
    begin, line, before = 0, 1, 0  # of the part that is being read
    position = records = lines = 0
    blank = True  # the line that is being read, so far
    parts = []
    for piece in read_pieces(path):
        digest.update(piece)
        position += len(piece)
        blank = blank and is_blank(piece)
        if not piece.endswith(b"\n"):
            continue
        lines, records, blank = lines + 1, records + (not blank), True
        if position - begin >= part_bytes:
            parts.append(FilePart(begin, position, line, before))
            if tell:
                tell(position - begin)
            begin, line, before = position, lines + 1, records
    records += not blank  # a last line without an end
    if position > begin:
        parts.append(FilePart(begin, position, line, before))
    return digest.hexdigest(), records, tuple(parts)


def refuse_changed(found: Survey) -> None:
    """Raises UserError when a file is no longer what the survey found."""
    if not found.path.is_file() or signature_of(found.path) != found.signature:
        raise UserError(
            f"{found.path}: the file was changed while it was read; run the same command again "
            "when nothing writes to it"
        )


def records_before(surveys: Sequence[Survey]) -> list[int]:
    """For each file, how many records the files before it hold."""
    counts = [0]
    for found in surveys[:-1]:
        counts.append(counts[-1] + found.records)
    return counts
