"""What the chain is given: dumps, texts and records, told apart by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from config import UserError
from data_process.wiki.extraction import DUMP_NAME, find_dumps

Kind = Literal["dump", "text", "records"]
INDEX_NAME = re.compile(r"multistream-index\d*\.txt")
"""Lies beside a dump, and is no text."""
SHOWN = 10
"""Most files that are named when they are passed over."""


@dataclass
class ChainInputs:
    """Files by what they are, each kind in the order of the output."""

    dumps: list[Path] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)
    """With what their samples are said to come from: the name, in a folder with its place there."""
    records: list[Path] = field(default_factory=list)
    """JSONL."""
    passed_over: list[Path] = field(default_factory=list)
    """Files of folders that are none of these."""

    @property
    def files(self) -> list[tuple[Path, Kind]]:
        """All that are read."""
        found: list[tuple[Path, Kind]] = [(path, "dump") for path in self.dumps]
        found += [(path, "text") for path in self.texts]
        return [*found, *((path, "records") for path in self.records)]

    @property
    def notes(self) -> list[str]:
        """What is told of files that were passed over."""
        if not self.passed_over:
            return []
        names = ", ".join(str(path) for path in self.passed_over[:SHOWN])
        more = f" and {len(self.passed_over) - SHOWN:,} more" if self.passed_over[SHOWN:] else ""
        return [f"passed over, for they are no dump, text or JSONL by their names: {names}{more}"]


def find_inputs(places: Sequence[Path]) -> ChainInputs:
    """Sorts files, and those in folders and the folders inside.

    Raises:
        UserError: a path is not there, is nothing that can be read, or is given twice, or a folder
            has no file that can be read.
    """
    inputs, taken = ChainInputs(), set[Path]()
    for place in places:
        before = len(taken)
        for path, source in files_of(place):
            if (kind := kind_of(path)) is None:
                pass_over(path, place, inputs)
                continue
            if path.resolve() in taken:
                raise UserError(f"{path} is given twice: name each file once")
            taken.add(path.resolve())
            take(path, kind, source, inputs)
        if len(taken) == before:
            raise UserError(
                f"{place}: no dump (.xml, .xml.bz2, .xml.gz), text (.txt) or .jsonl is in this "
                "folder"
            )
    return inputs


def files_of(place: Path) -> Iterator[tuple[Path, str]]:
    """A file, or the files of a folder that are not hidden; each with its place in the folder. The
    dumps come in the order of their numbers, the rest by name."""
    if place.is_file():
        yield place, place.name
        return
    if not place.is_dir():
        raise UserError(
            f"{place}: there is no such file or folder; check its name (a pipe can be read only "
            "once: give it to extract_wiki.py, and its shards to this script)"
        )
    inside = {path: path.relative_to(place) for path in place.rglob("*") if path.is_file()}
    seen = {p: name for p, name in inside.items() if not any(n[0] == "." for n in name.parts)}
    folders = sorted({path.parent for path in seen if kind_of(path) == "dump"})
    dumps = [path for folder in folders for path in find_dumps([folder]) if path in seen]
    rest = sorted(set(seen) - set(dumps), key=lambda path: seen[path].as_posix())
    yield from ((path, seen[path].as_posix()) for path in (*dumps, *rest))


def kind_of(path: Path) -> Kind | None:
    """What a file is by its name."""
    if DUMP_NAME.search(path.name):
        return "dump"
    if path.suffix.lower() == ".jsonl":
        return "records"
    is_text = path.suffix.lower() == ".txt" and not INDEX_NAME.search(path.name)
    return "text" if is_text else None


def take(path: Path, kind: Kind, source: str, inputs: ChainInputs) -> None:
    """Adds a file to its kind."""
    if kind == "text":
        inputs.texts[path] = source
    else:
        (inputs.dumps if kind == "dump" else inputs.records).append(path)


def pass_over(path: Path, place: Path, inputs: ChainInputs) -> None:
    """Notes a file of a folder that cannot be read; raises UserError when it was named itself."""
    if path == place:
        raise UserError(
            f"{path}: neither a dump (.xml, .xml.bz2, .xml.gz) nor a text (.txt) nor JSONL "
            "(.jsonl); unpack it, or let its name say what it is"
        )
    if not INDEX_NAME.search(path.name):
        inputs.passed_over.append(path)
