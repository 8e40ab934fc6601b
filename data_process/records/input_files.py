"""The files that a user means by paths of files and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from config import UserError


def find_files(paths: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Files as they are named, and of folders those with one of the endings, in the folders inside
    too, in the order of their names; hidden ones are passed over.

    Raises:
        UserError: a path is not there, or a folder has no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            inside = [file for file in path.rglob("*") if is_meant(file, path, endings)]
            if not inside:
                raise UserError(f"{path}: there is no {' or '.join(endings)} file in this folder")
            found += sorted(inside, key=lambda file: file.relative_to(path).as_posix())
        else:
            raise UserError(f"{path}: there is no such file or folder; check its name")
    return found


def is_meant(file: Path, folder: Path, endings: Sequence[str]) -> bool:
    """Whether a file in a folder has one of the endings and is not hidden."""
    hidden = any(name.startswith(".") for name in file.relative_to(folder).parts)
    return not hidden and file.suffix.lower() in endings and file.is_file()
