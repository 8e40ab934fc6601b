"""JSONL files cut into parts of whole lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import UserError
from data_process.records.jsonl import EmptyFile, FilePart
from data_process.records.known_files import signature_of
from data_process.records.survey import read_through
from data_process.running.step import Part, byte_bar

PART_BYTES = 32 << 20
"""Large enough that starting a part costs nothing, small enough that a kill costs little."""


@dataclass(frozen=True)
class JsonlPart:
    """Whole lines of a file, as a part of a step."""

    path: Path
    """The file."""
    lines: FilePart
    """Which of its lines; `read_records(path, lines)` reads them."""
    records_before: int
    """Records in all files and lines before these: the number of its first record, from 0."""

    @property
    def part(self) -> Part:
        """Its name and size."""
        return Part(f"{self.path} from line {self.lines.line}", self.lines.end - self.lines.begin)


def jsonl_parts(paths: Sequence[Path], part_bytes: int = PART_BYTES) -> list[JsonlPart]:
    """Reads files once to find where to cut them.

    Args:
        paths: the files, in the order of the output.
        part_bytes: a part ends with the line that makes it this long, in bytes.

    Raises:
        UserError: a file is missing, cannot be read, holds no record, or is given twice.
    """
    found: list[JsonlPart] = []
    before = 0
    refuse_twice(paths)
    sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
    with byte_bar("looking through", sum(sizes)) as bar:
        for path in paths:
            _, records, parts = read_through(path, part_bytes, bar.update)
            if not records:
                raise EmptyFile(path)
            found += [JsonlPart(path, lines, before + lines.records) for lines in parts]
            before += records
    return found


def refuse_twice(paths: Sequence[Path]) -> None:
    """Raises UserError when a file is given twice."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path} is given twice: name each file once")
        seen.add(path.resolve())


def plan_of(files: Sequence[JsonlPart]) -> dict[str, Any]:
    """What files are, and how they are cut, for the plan of a step."""
    paths = sorted({file.path for file in files})
    cuts = [[str(file.path), file.lines.begin, file.lines.end] for file in files]
    return {"files": [[str(path), signature_of(path)] for path in paths], "parts": cuts}
