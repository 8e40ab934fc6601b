"""Which files have been compared with their checksums: a model that is only used need not be
read twice at each start.

A stamp is what the file system says of a file: device, inode, size, and the times of the last
change of its content and of its inode, which no program can set. A file that was written again,
replaced, touched or restored has another one. What changes beneath the file system, on a failing
disk, is not seen, so training does not trust stamps. They lie in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago gets no stamp: file systems count time in steps, within
which it could change again unseen."""
Stamp = list[int]


def cache_directory() -> Path:
    """Where the user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etude"


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file as it is now."""
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def place_of(path: Path) -> Path:
    """Where the stamp of a file is kept."""
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_directory() / "verified" / f"{name[:32]}.json"


def is_known(path: Path, digest: str) -> bool:
    """Whether a file is as it was when it had this checksum."""
    with suppress(OSError, ValueError):
        kept: object = json.loads(place_of(path).read_text(encoding="utf-8"))
        return kept == [digest, stamp_of(path)]
    return False


def remember(path: Path, digest: str, stamp: Stamp) -> None:
    """Keeps that a file has a checksum, unless it has changed since its stamp was taken, or just
    before; does nothing where the cache cannot be written."""
    if stamp_of(path) != stamp or time.time_ns() - max(stamp[3:]) < SETTLED_NS:
        return
    place = place_of(path)
    aside = place.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps([digest, stamp]), encoding="utf-8")
        aside.replace(place)
