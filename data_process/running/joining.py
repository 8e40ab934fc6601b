"""Joining what the parts wrote, in their order, into files that appear whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from config import UserError
from data_process.running.byte_bar import byte_bar
from data_process.running.tasks import put_on_disk, stream_files
from data_process.running.work_dir import clear_removed, held
from model.directory.storage import explained, remove, sync_directory

COPIED_BYTES = 1 << 22


def refuse_to_overwrite(destination: Path, work_dir: Path, overwrite: bool) -> None:
    """Raises UserError when a file, or a folder that holds something, is in the way of work that
    has not begun yet: better said before hours of it than after."""
    clear_removed(work_dir)
    taken = any(destination.iterdir()) if destination.is_dir() else destination.exists()
    if taken and not overwrite and not work_dir.exists():
        raise UserError(
            f"{destination} exists: move it away, or pass --overwrite to replace what differs"
        )


def join_streams(work_dir: Path, stream: str, destination: Path, overwrite: bool = False) -> int:
    """Joins a stream of all parts into one file, which may be empty.

    Args:
        work_dir: where `run_step` has done all parts.
        stream: its name.
        destination: the file.
        overwrite: replace a file with another content.

    Returns:
        The number of its records.

    Raises:
        UserError: the file exists with another content, or cannot be written.
    """
    aside = destination.with_name(destination.name + ".tmp")
    with held(work_dir.resolve()), explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            records = 0
            with aside.open("wb") as file:
                for block in blocks(work_dir, stream):
                    file.write(block)
                    records += block.count(b"\n")
                put_on_disk(file)
            put_in_place(aside, destination, overwrite)
        finally:
            aside.unlink(missing_ok=True)
        sync_directory(destination.parent)
    return records


def join_shards(
    work_dir: Path, stream: str, folder: Path, stem: str, shard_bytes: int, overwrite: bool = False
) -> list[Path]:
    """Joins a stream of all parts into FOLDER/STEM-00000.jsonl, STEM-00001.jsonl and so on, cut
    after the record that makes a file shard_bytes long; one at least, which may be empty.

    Shards of these names that an earlier work left in the folder and this one does not write are
    removed with overwrite.

    Raises:
        UserError: one exists with another content, or cannot be written.
    """
    with held(work_dir.resolve()), explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{stem}-*.jsonl.tmp"):
            remove(leftover)
        try:
            written = write_shards(work_dir, stream, folder / stem, shard_bytes)
            paths = [path.with_suffix("") for path in written]
            others = sorted(set(folder.glob(f"{stem}-[0-9]*[0-9].jsonl")) - set(paths))
            if others and not overwrite:
                raise in_the_way(others[0])
            for aside, path in zip(written, paths, strict=True):
                put_in_place(aside, path, overwrite)
            for other in others:
                remove(other)
        finally:
            for aside in folder.glob(f"{stem}-*.jsonl.tmp"):
                remove(aside)
        sync_directory(folder)
    return paths


def write_shards(work_dir: Path, stream: str, stem: Path, shard_bytes: int) -> list[Path]:
    """Writes the shards with .tmp at the ends of their names."""
    written: list[Path] = []
    shard: IO[bytes] | None = None
    try:
        for line in lines(blocks(work_dir, stream)):
            if shard is None:
                shard = shard_file(stem, written)
            shard.write(line)
            if line.endswith(b"\n") and shard.tell() >= shard_bytes:
                put_on_disk(shard)
                shard.close()
                shard = None
        if shard is None and not written:
            shard = shard_file(stem, written)
        if shard is not None:
            put_on_disk(shard)
    finally:
        if shard is not None:
            shard.close()
    return written


def shard_file(stem: Path, written: list[Path]) -> IO[bytes]:
    """Begins another shard, and notes it."""
    written.append(stem.with_name(f"{stem.name}-{len(written):05d}.jsonl.tmp"))
    return written[-1].open("wb")


def lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of blocks; a line that is longer than a block comes in pieces, its end last."""
    for block in blocks:
        yield from block.splitlines(keepends=True)


def blocks(work_dir: Path, stream: str) -> Iterator[bytes]:
    """The content of a stream of all parts, with a progress bar."""
    paths = list(stream_files(work_dir, stream))
    total = sum(path.stat().st_size for path in paths)
    with byte_bar("joining", total) as bar:
        for path in paths:
            with path.open("rb") as file:
                while block := file.read(COPIED_BYTES):
                    yield block
                    bar.update(len(block))


def put_in_place(aside: Path, destination: Path, overwrite: bool) -> None:
    """Gives a file its name; one with the same content stays as it is."""
    if destination.exists():
        if same_content(aside, destination):
            return
        if not overwrite:
            raise in_the_way(destination)
    os.replace(aside, destination)


def in_the_way(path: Path) -> UserError:
    """What is said of a file that would be replaced."""
    return UserError(
        f"{path} exists with other content: move it away, or pass --overwrite to replace it; what "
        "was done is kept for then"
    )


def same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(COPIED_BYTES):
            if block != second.read(COPIED_BYTES):
                return False
    return True
