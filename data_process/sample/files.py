"""Writing the sample's files: whole or not at all, and never over the user's own."""

import json
from pathlib import Path
from typing import Any

from config import UserError
from model.directory.storage import explained, replace_file


def to_jsonl(records: list[dict[str, Any]]) -> bytes:
    """One record a line, UTF-8, lines ended by a newline on every system."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    return "".join(lines).encode("utf-8")


def check_free(path: Path, content: bytes, overwrite: bool) -> bool:
    """Whether `path` has to be written.

    False if it holds this very content; raises UserError if it holds another one.
    """
    if not path.exists():
        return True
    if path.is_file() and path.read_bytes() == content:
        return False
    if not overwrite:
        raise UserError(
            f"{path} exists with other content: move it away, or pass --overwrite to replace it."
        )
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Writes under a temporary name and renames, so that no half of a file is ever seen."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda place: place.write_bytes(content))
