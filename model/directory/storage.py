"""Directories that are written whole or not at all, and that know when they are damaged.

A new directory is written beside its place (`NAME.tmp`), flushed to disk, and renamed; what was
there before waits as `.NAME.replaced` until the new one stands. Files that are replaced inside a
directory are first written whole into `.ready` there, and then moved to their places. After a power
cut between two renames, `recover` puts the old directory back, or moves the rest of the files.

`MANIFEST.json`, written last, holds the size and sha256 of every file; `verify` finds a flipped
bit, a cut, a missing or a swapped file. Every file operation that can be interrupted goes through
this module.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from config import UserError
from model.directory.stamps import is_known, remember, stamp_of

MANIFEST = "MANIFEST.json"
SUMMARY = "training_summary.json"
"""What made the content of a tokenizer or model directory."""
READY = ".ready"
Writer = Callable[[Path], object]
"""Writes one file to the path it is given."""


class DamagedDirectory(UserError):
    """A directory's files are not those that were written."""


def text_writer(text: str) -> Writer:
    """A writer of a UTF-8 text file with Unix line ends."""
    return lambda path: path.write_bytes(text.encode("utf-8"))


def json_writer(value: object) -> Writer:
    """A writer of an indented JSON file."""
    return text_writer(json_text(value))


def json_text(value: object) -> str:
    """A value as indented JSON, the only way it is written here."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def jsonl_text(records: Iterable[object]) -> str:
    """One value a line, as JSON."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Makes a directory whole or not at all: the block fills the path it is given, which then takes
    the directory's place.

    Raises:
        UserError: the disk is full or cannot be written; nothing is left behind.
    """
    directory = directory.resolve()
    aside, old = directory.with_name(directory.name + ".tmp"), replaced(directory)
    with explained(directory):
        recover(directory)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            yield aside
            seal(aside)
            if directory.exists():
                os.replace(directory, old)
            os.replace(aside, directory)
            sync_directory(directory.parent)
        except BaseException:
            if old.exists():  # the old one comes back
                shutil.rmtree(directory, ignore_errors=True)
                os.replace(old, directory)
            shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)


def write_directory(directory: Path, files: Mapping[str, Writer]) -> None:
    """Writes a new directory whole or not at all; raises as `new_directory` does."""
    with new_directory(directory) as aside:
        for name, write in files.items():
            write(aside / name)


@contextmanager
def changed_directory(directory: Path) -> Iterator[Path]:
    """Replaces files in a directory that also holds other things, all of them or none: the block
    fills the path it is given, whose files then move to the directory.

    Raises:
        UserError: the disk is full or cannot be written; nothing is left behind.
    """
    aside = directory / ".saving.tmp"
    with explained(directory):
        recover(directory)
        shutil.rmtree(aside, ignore_errors=True)
        is_new = not directory.exists()
        aside.mkdir(parents=True)
        try:
            yield aside
            seal(aside)
            os.replace(aside, directory / READY)  # from here on the new files are the valid ones
        except BaseException:
            shutil.rmtree(directory if is_new else aside, ignore_errors=True)
            raise
        sync_directory(directory)
        move_ready_files(directory)


def update_directory(directory: Path, files: Mapping[str, Writer]) -> None:
    """Replaces files in a directory; raises as `changed_directory` does."""
    with changed_directory(directory) as aside:
        for name, write in files.items():
            write(aside / name)


def recover(directory: Path) -> None:
    """Finishes or takes back what a power cut interrupted between two renames; does nothing to a
    whole directory."""
    old = replaced(directory)
    if not directory.exists() and old.exists():
        os.replace(old, directory)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)
    if (directory / READY).exists():
        with explained(directory):
            move_ready_files(directory)


def clear_leftovers(directory: Path) -> None:
    """Removes what interrupted saves left in a directory, after `recover` has taken from it what is
    whole."""
    with explained(directory):
        for old in directory.glob(".*.replaced"):
            recover(directory / old.name.removeprefix(".").removesuffix(".replaced"))
        recover(directory)
        for leftover in directory.glob("*.tmp"):
            remove(leftover)


def remove_directory(directory: Path) -> None:
    """Removes a directory; one that a crash leaves half removed has lost its name first.

    Raises:
        UserError: it cannot be removed.
    """
    aside = directory.with_name(directory.name + ".tmp")
    with explained(directory):
        remove(aside)
        os.replace(directory, aside)
        remove(aside)


def remove(path: Path) -> None:
    """Removes a file or a directory; one that is not there is fine."""
    with suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def move_ready_files(directory: Path) -> None:
    """Moves complete new files to their places, the manifest last; may be interrupted and called
    again."""
    ready = directory / READY
    with suppress(FileNotFoundError):  # another process moves them at the same time
        for path in sorted(ready.iterdir(), key=lambda path: path.name == MANIFEST):
            os.replace(path, directory / path.name)
        sync_directory(directory)
        ready.rmdir()


def replaced(directory: Path) -> Path:
    """Where a directory waits while a new one takes its place."""
    place = directory.resolve()
    return place.with_name(f".{place.name}.replaced")


def seal(directory: Path) -> None:
    """Flushes the files of a directory to disk and writes their manifest, last."""
    manifest = {}
    for path in sorted(directory.iterdir()):
        sync_file(path)
        manifest[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    json_writer(manifest)(directory / MANIFEST)
    sync_file(directory / MANIFEST)
    sync_directory(directory)


def replace_file(path: Path, write: Writer) -> None:
    """Replaces one file's content in one step, or makes the file; raises as `new_directory`
    does."""
    aside = path.with_name(path.name + ".tmp")
    with explained(path):
        try:
            write(aside)
            sync_file(aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def verify(directory: Path, *names: str, known: bool = False) -> None:
    """Compares a directory, or only the named files of it, with its manifest.

    Args:
        directory: it.
        names: its files; none: all.
        known: a file with the stamp that it had when it was last compared is not read again.

    Raises:
        DamagedDirectory: a file differs, or the manifest itself is missing or unreadable; the file
            is named.
    """
    recover(directory)
    manifest = read_manifest(directory)
    if unknown := [name for name in names if name not in manifest]:
        raise DamagedDirectory(f"{directory / MANIFEST} is damaged: {unknown[0]} is not in it")
    present = {path.name for path in directory.iterdir()}  # exact, on systems that ignore case too
    for name in names or manifest:
        size, digest = manifest[name]
        file = directory / name
        if name not in present or not file.is_file():
            raise DamagedDirectory(f"{file} is missing, though {MANIFEST} names it")
        if (found := file.stat().st_size) != size:
            raise DamagedDirectory(f"{file} has {found} bytes in place of {size} (by {MANIFEST})")
        if known and is_known(file, digest):
            continue
        stamp = stamp_of(file)
        if sha256_of(file) != digest:
            raise DamagedDirectory(f"{file} is damaged: its checksum differs from {MANIFEST}")
        if known:
            remember(file, digest, stamp)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that Etude wrote; DamagedDirectory when it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedDirectory(f"{path} is damaged: it is not JSON") from error
    if not isinstance(content, dict):
        raise DamagedDirectory(f"{path} is damaged: it is not a JSON object")
    return content


def read_object_if_there(path: Path) -> dict[str, Any]:
    """`read_object`; empty where there is no file, or a damaged one."""
    try:
        return read_object(path)
    except (OSError, DamagedDirectory):
        return {}


def read_manifest(directory: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of each file as it was written, keyed by name; raises as `verify`
    does."""
    path = directory / MANIFEST
    try:
        text = path.read_bytes().decode("utf-8")
        manifest = json.loads(text)
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest.items()}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedDirectory(
            f"{path} is missing: the directory was not written to its end"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedDirectory(f"{path} is damaged") from error
    if text != json_text(manifest):  # cut or changed where JSON does not mind
        raise DamagedDirectory(f"{path} is damaged")
    return expected


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Flushes a file to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Flushes a directory's names to disk, where the system can (Windows cannot)."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turns an operating system's refusal to write into a sentence for the user."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = os_error_number(error)
        if number is None:
            raise
        full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space" if full else "check the path and its permissions"
        raise UserError(
            f"{directory}: cannot be written ({os.strerror(number)}); {remedy} and run the same "
            "command again; nothing that was there before is lost"
        ) from error


def os_error_number(error: Exception) -> int | None:
    """The operating system's number of an error; safetensors has it only in its message."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os error (\d+)", str(error))
    return int(found.group(1)) if found else None


def lock_file(file: IO[bytes]) -> bool:
    """Locks a file for this process alone, not for its children; False when another process has it.
    Where the file system knows no locks, it goes on without."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
