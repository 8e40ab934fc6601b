"""JSONL files cut into parts of whole lines, and what was found when a file was read to its end.

Parts begin and end at line ends, so that several processes can read one file; each knows the number
of its first line, for messages, and how many records come before it. Training remembers the parts
and the fingerprint of a file as long as nobody writes to it: a start need not read gigabytes only
to see that they are unchanged.
"""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from config import PathConfig, UserError
from data_process.records.jsonl import LONGEST_LINE, EmptyFile, FilePart, is_blank
from data_process.records.opening import (
    COPIES,
    ORIGIN,
    decompressed,
    is_pipe,
    look_into,
    opened,
    shown,
)
from data_process.records.sources import PIECE_BYTES, lines_of
from data_process.running.compression import inner_name
from data_process.running.step import Part, Step, byte_bar
from data_process.running.work_dir import locked, open_aside
from model.directory.storage import json_text, json_writer, remove, replace_file, text_writer

PART_BYTES = 32 << 20
"""Large enough that starting a part costs nothing, small enough that a kill costs little."""
PLAIN = "records.jsonl"
OLD_SECONDS = 7 * 24 * 3600.0
"""Age at which the copy of a pipe is one that was left behind."""
SETTLED_SECONDS = 2.0
"""A file written to more lately than this is not remembered: on some file systems a second write
could leave the same time behind."""


def jsonl_parts(
    paths: Sequence[Path],
    part_bytes: int = PART_BYTES,
    longest: int = LONGEST_LINE,
    lines: bool = False,
) -> list[FilePart]:
    """Reads files once to find where to cut them.

    Args:
        paths: the files, in the order of the output, in any form, and pipes; see `plain_copy`.
        part_bytes: a part ends with the line that makes it this long, in bytes.
        longest: bytes that an item of an array may have.
        lines: whether each line of a text file is a document.

    Raises:
        UserError: a file is missing, cannot be read, holds no record, or is given twice.
    """
    found: list[FilePart] = []
    refuse_twice(paths)
    paths = [plain_copy(path, longest=longest, lines=lines) for path in paths]
    sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
    with byte_bar("looking through", sum(sizes)) as bar:
        for path in paths:
            _, _, parts = read_through(path, part_bytes, bar.update)
            found += parts
    return found


def plain_copy(
    path: Path, cache_dir: Path | None = None, longest: int = LONGEST_LINE, lines: bool = False
) -> Path:
    """A file of plain JSONL, for work that is done in parts or returns to a record: the file
    itself, or, of one in another form, a copy in the cache.

    Args:
        path: the file.
        cache_dir: the cache; None: where it is by default.
        longest: bytes that an item of an array may have.
        lines: whether each line of a text file is a document.

    Raises:
        UserError: it is missing, or cannot be read.
    """
    with opened(path) as file:
        packing, content = look_into(path, file)
        if packing.form == "jsonl" and content is file:
            return path
        made = (
            pieces(content)
            if packing.form == "jsonl"
            else lines_of(path, packing, content, longest, lines)
        )
        return copied(path, PLAIN, made, cache_dir)


def readable_copy(path: Path) -> Path:
    """What can be read again as it stands: the file itself, or, of a pipe and of a compressed file,
    a copy in the cache."""
    with opened(path) as file:
        compression, _, content = decompressed(path, file)
        if not compression and not is_pipe(path):
            return path
        return copied(path, inner_name(path).name, pieces(content), None)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """What a file holds."""
    return iter(partial(file.read, PIECE_BYTES), b"")


def copied(path: Path, name: str, content: Iterable[bytes], cache_dir: Path | None) -> Path:
    """A copy of what a file holds, which is made once. Copies of files that are gone or have
    changed are removed; that of a pipe goes with the process."""
    copies = (cache_dir or PathConfig.cache_dir) / COPIES
    place = copies / copy_name(path)
    with locked(place):
        if not (place / name).exists():
            remove_stale(copies)
            replace_file(place / ORIGIN, text_writer(str(path)))
            with open_aside(place / name, overwrite=True) as file:
                file.writelines(content)
    if is_pipe(path):
        atexit.register(remove, place)
    return place / name


def copy_name(path: Path) -> str:
    """The name of the copy of a file as it is now; of a pipe another one each time."""
    facts = time.time_ns() if is_pipe(path) else [str(path.resolve()), signature_of(path)]
    return hashlib.sha256(json_text(facts).encode("utf-8")).hexdigest()[:16]


def remove_stale(copies: Path) -> None:
    """Removes copies of files that are gone or have changed, and those of pipes that a killed
    process has left."""
    for origin in copies.glob(f"*/{ORIGIN}"):
        path = Path(origin.read_text(encoding="utf-8"))
        is_old = time.time() - origin.stat().st_mtime > OLD_SECONDS
        if is_old if is_pipe(path) else not path.exists() or copy_name(path) != origin.parent.name:
            remove(origin.parent)


def refuse_twice(paths: Sequence[Path]) -> None:
    """Raises UserError when a file is given twice."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path} is given twice: name each file once")
        seen.add(path.resolve())


def refuse_copies(files: Sequence[tuple[Path, str]]) -> None:
    """Raises UserError when two files, given with their sha256, hold the same: their records would
    weigh double, and of a record in both one is trained and the other measured."""
    first: dict[str, Path] = {}
    for path, sha256 in files:
        if sha256 in first:
            raise UserError(
                f"{shown(first[sha256])} and {shown(path)} hold the same: name it once (to go "
                "through all data more often, raise --num_train_epochs)"
            )
        first[sha256] = path


@dataclass(frozen=True)
class FilesStep(Step):
    """A step that reads parts of JSONL files; its other fields are its settings."""

    files: tuple[FilePart, ...]

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        names = [item.name for item in dataclasses.fields(self) if item.name != "files"]
        settings = {name: repr(getattr(self, name)) for name in names}
        return {"step": f"{self.title} 2", **plan_of(self.files), "settings": settings}


def plan_of(parts: Sequence[FilePart]) -> dict[str, Any]:
    """What files are, and how they are cut, for the plan of a step."""
    paths = sorted({part.path for part in parts})
    cuts = [[str(part.path), part.begin, part.end] for part in parts]
    return {"files": [[str(path), signature_of(path)] for path in paths], "parts": cuts}


def read_through(
    path: Path, part_bytes: int, advance: Callable[[int], object] | None = None
) -> tuple[str, int, tuple[FilePart, ...]]:
    """The sha256 of a file, its number of records, and its parts.

    Args:
        path: the file.
        part_bytes: a part ends with the line that makes it this long, in bytes.
        advance: gets the bytes of each part that was read, for a progress bar.

    Raises:
        UserError: it is missing, cannot be read, or holds no record.
    """
    digest = hashlib.sha256()
    begin, line, before = 0, 1, 0  # of the part that is being read
    position = records = lines = 0
    blank = True  # the line that is being read, so far
    parts = []
    with opened(path) as file:
        while piece := file.readline(PIECE_BYTES):  # a line, or a piece of a long one
            digest.update(piece)
            position += len(piece)
            blank = blank and is_blank(piece)
            if not piece.endswith(b"\n"):
                continue
            lines, records, blank = lines + 1, records + (not blank), True
            if position - begin >= part_bytes:
                parts.append(FilePart(path, begin, position, line, before))
                if advance:
                    advance(position - begin)
                begin, line, before = position, lines + 1, records
    records += not blank  # a last line without an end
    if position > begin:
        parts.append(FilePart(path, begin, position, line, before))
    if not records:
        raise EmptyFile(path)
    return digest.hexdigest(), records, tuple(parts)


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
    path = plain_copy(path, known.path.parent)
    signature = signature_of(path)
    facts = known.recall(path, f"survey {part_bytes}")
    if facts is not None:
        parts = tuple(FilePart(path, *part) for part in facts["parts"])
        return Survey(path, facts["sha256"], facts["records"], parts, signature)
    found = Survey(path, *read_through(path, part_bytes), signature)
    refuse_changed(path, signature)
    if time.time() - path.stat().st_mtime > SETTLED_SECONDS:
        cuts = [[part.begin, part.end, part.line, part.records] for part in found.parts]
        facts = {"sha256": found.sha256, "records": found.records, "parts": cuts}
        known.remember(path, f"survey {part_bytes}", signature, facts)
    return found


def refuse_changed(path: Path, signature: list[list[object]]) -> None:
    """Raises UserError when a file is no longer the one that had a signature."""
    if not path.is_file() or signature_of(path) != signature:
        raise UserError(
            f"{path}: the file was changed while it was read; run the same command again when "
            "nothing writes to it"
        )


class KnownFiles:
    """What was found in files, kept in one JSON file. Without it nothing is lost but time.

    A file whose size and times (of its content and of its entry in the directory) are the same has
    not been written to since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            entries = json.loads(path.read_text(encoding="utf-8"))
            self.entries = entries if isinstance(entries, dict) else {}

    def recall(self, place: Path, kind: str) -> Any | None:
        """What was found at a file or directory, or None when it is not known or was changed."""
        entry = self.entries.get(f"{kind}: {place.resolve()}")
        with suppress(OSError, KeyError, TypeError):
            if entry is not None and entry["signature"] == signature_of(place):
                return entry["facts"]
        return None

    def remember(self, place: Path, kind: str, signature: list[list[object]], facts: Any) -> None:
        """Notes what was found, if the place is as it was before it was read.

        Args:
            place: a file or directory.
            kind: what sort of facts these are.
            signature: `signature_of` the place before it was read.
            facts: anything that is JSON.
        """
        if signature != signature_of(place):
            return
        present = {n: e for n, e in self.entries.items() if Path(n.partition(": ")[2]).exists()}
        noted = {f"{kind}: {place.resolve()}": {"signature": signature, "facts": facts}}
        self.entries = present | noted
        with suppress(UserError, OSError):  # a cache that cannot be written can still be read
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json_writer(self.entries))


def signature_of(place: Path) -> list[list[object]]:
    """Name, size in bytes, and times in nanoseconds of last write and of last change of a file, or
    of each file in a directory."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(file.name, file.stat()) for file in files]
    return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in stats]
