"""What was found when a file was last read, remembered until somebody writes to it.

A file whose size and times (of its content and of its entry in the directory) are the same has not
been written to since, so a start need not read gigabytes only to see that they are unchanged.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from config import UserError
from model.directory.storage import json_writer, replace_file


class KnownFiles:
    """A memory, kept in one JSON file. Without it nothing is lost but time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            entries = json.loads(path.read_text(encoding="utf-8"))
            self.entries = entries if isinstance(entries, dict) else {}

    def recall(self, place: Path, kind: str) -> Any | None:
        """What was found at a file or directory, or None when it is not known or was changed."""
        entry = self.entries.get(name_of(place, kind))
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
        noted = {name_of(place, kind): {"signature": signature, "facts": facts}}
        self.entries = present | noted
        with suppress(UserError, OSError):  # a cache that cannot be written can still be read
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json_writer(self.entries))


def name_of(place: Path, kind: str) -> str:
    """The key of an entry."""
    return f"{kind}: {place.resolve()}"


def signature_of(place: Path) -> list[list[object]]:
    """Name, size in bytes, and times in nanoseconds of last write and of last change of a file, or
    of each file in a directory."""
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    stats = [(file.name, file.stat()) for file in files]
    return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in stats]
