"""The work directory, in which a step's parts wait until they are joined into files that appear
whole; a killed run continues there.

    WORK_DIR/plan.json      what the work is; with another plan the work starts over
    WORK_DIR/parts/         what is done (see step.py)
    WORK_DIR/errors/        why parts cannot be done, noted by the machine that found it
    WORK_DIR/slurm_job      the job that was submitted last
    WORK_DIR/logs/          logs of datatrove and Slurm
"""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from config import UserError
from data_process.running.compression import packed
from data_process.running.step import PARTS, Step, byte_bar, done_parts, put_on_disk, stream_files
from model.directory.storage import (
    explained,
    json_text,
    lock_file,
    remove,
    remove_directory,
    replace_file,
    sync_directory,
    text_writer,
)

PLAN, ERRORS, JOB, LOGS, LOCK = "plan.json", "errors", "slurm_job", "logs", "work.lock"
FORMAT = 1
"""Of plan and parts; work in another format starts over."""
PIPE = Path("-")
"""Names standard input or output."""
COPIED_BYTES = 1 << 22


def work_dir_of(destination: Path) -> Path:
    """The work directory of what is to become a file or folder: beside it."""
    place = destination.resolve()
    return place.with_name(place.name + ".work")


@contextmanager
def locked(work_dir: Path) -> Iterator[None]:
    """Keeps other processes out of a work directory, which is made if it is not there.

    Raises:
        UserError: it cannot be made, or another process works there.
    """
    path = work_dir / LOCK
    with explained(work_dir):
        work_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        taken = not lock_file(file)
        # The one that held it may just have removed the directory, and the lock with it.
        if taken or not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise UserError(
                f"{work_dir}: another process works there now; wait for its end, or stop it (what "
                "is done is kept), and run the same command again"
            )
        yield


def prepare_work_dir(work_dir: Path, step: Step, parts: int) -> bool:
    """Prepares the first or another start: removes what another plan left, and keeps what this one
    did. Returns whether work on this plan had started before."""
    clear_removed(work_dir)
    text = json_text({"format": FORMAT, "parts": parts, **step.plan()})
    with explained(work_dir):
        plan, before = json.loads(text), read_plan(work_dir)
        if plan != before:
            if (work_dir / PARTS).exists():
                print(f"starting over: {what_differs(before, plan)}")
                remove_directory(work_dir / PARTS)
                remove(work_dir / LOGS)
            replace_file(work_dir / PLAN, text_writer(text))
        (work_dir / PARTS).mkdir(exist_ok=True)
        for unfinished in (work_dir / PARTS).glob("*.tmp"):
            remove(unfinished)
        remove(work_dir / ERRORS)
        for directory in (work_dir, work_dir.parent):
            sync_directory(directory)
    if done := len(done_parts(work_dir)):
        print(f"continuing: {done:,} of {parts:,} parts are done")
    return plan == before


def read_plan(work_dir: Path) -> Any:
    """The plan of the earlier start; None when it is missing or damaged."""
    with suppress(FileNotFoundError, ValueError):
        return json.loads((work_dir / PLAN).read_bytes())
    return None


def what_differs(before: Any, now: dict[str, Any]) -> str:
    """Names the entries in which two plans differ."""
    if not isinstance(before, dict):
        return "the earlier work's plan is missing or damaged"
    names = [name for name in {**now, **before} if before.get(name) != now.get(name)]
    return f"{' and '.join(names)} changed since the earlier start"


def note_error(work_dir: Path, number: int, error: UserError) -> None:
    """Notes why a part cannot be done, for the process that waits elsewhere."""
    with suppress(OSError, UserError):
        (work_dir / ERRORS).mkdir(exist_ok=True)
        replace_file(work_dir / ERRORS / f"{number:05d}", text_writer(str(error)))


def noted_error(work_dir: Path) -> UserError | None:
    """The noted error of the first part that has one."""
    notes = sorted((work_dir / ERRORS).glob("[0-9]*[0-9]"))
    return UserError(notes[0].read_bytes().decode("utf-8")) if notes else None


def remove_work_dir(work_dir: Path) -> None:
    """Removes a work directory whose results stand elsewhere.

    Raises:
        UserError: it cannot be removed, or another process works there.
    """
    with locked(work_dir):
        pass  # nobody else is there; Windows could not rename it with a lock in it
    remove_directory(work_dir)


def clear_removed(work_dir: Path) -> None:
    """Removes what a killed `remove_work_dir` has left."""
    with explained(work_dir):
        remove(work_dir.with_name(work_dir.name + ".tmp"))


@contextmanager
def open_output(destination: Path, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends well, and leaves nothing when it does not. It
    takes lines of JSON, and is compressed, or Parquet, if its name says so (see `packed`).

    Raises:
        UserError: see `open_aside`; or the lines cannot be Parquet.
    """
    with (
        open_aside(destination, overwrite) as file,
        packed(file, destination.name) as stream,
    ):
        yield stream


@contextmanager
def open_aside(destination: Path, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends well, and leaves nothing when it does not.

    Raises:
        UserError: it exists with another content, or cannot be written.
    """
    aside = destination.with_name(destination.name + ".tmp")
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                yield file
                put_on_disk(file)
            put_in_place(aside, destination, overwrite)
        finally:
            aside.unlink(missing_ok=True)
        sync_directory(destination.parent)


def refuse_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path], overwrite: bool) -> None:
    """Raises UserError when a file that will be written (standard output aside) is in the way, is
    read too, or is named twice."""
    given = [path for path in outputs if path is not None and path != PIPE]
    for path in given:
        refuse_to_overwrite(path, work_dir_of(given[0]), overwrite)
        if path.is_dir():
            raise UserError(f"{path} is a folder: name the file to write, such as {path}/out.jsonl")
        places = {path.resolve(), *path.resolve().parents}
        if any(source != PIPE and source.resolve() in places for source in inputs):
            raise UserError(f"{path} would be written into what is read: name another place")
    if len({path.resolve() for path in given}) < len(given):
        raise UserError(f"{given[-1]} would be written twice: name different files")


def refuse_to_overwrite(path: Path, work_dir: Path, overwrite: bool) -> None:
    """Raises UserError when a file, or a folder that holds something, is in the way of work that
    has not started yet: better before hours of it than after."""
    clear_removed(work_dir)
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not overwrite and not work_dir.exists():
        raise UserError(f"{path} exists: move it away, or pass --overwrite to replace what differs")


def join_streams(work_dir: Path, stream: str, destination: Path, overwrite: bool = False) -> int:
    """Joins a stream of all parts, in their order, into one file, which may be empty.

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
    records = 0
    with locked(work_dir.resolve()), open_output(destination, overwrite) as file:
        for block in blocks(work_dir, stream):
            file.write(block)
            records += block.count(b"\n")
    return records


def join_shards(
    work_dir: Path, stream: str, folder: Path, stem: str, shard_bytes: int, overwrite: bool = False
) -> list[Path]:
    """Joins a stream of all parts into FOLDER/STEM-00000.jsonl, STEM-00001.jsonl and so on, cut
    after the record that makes a file shard_bytes long; one at least, which may be empty.

    Shards of these names that an earlier run left in the folder and this one does not write are
    removed with overwrite.

    Raises:
        UserError: one exists with another content, or cannot be written.
    """
    with locked(work_dir.resolve()), explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{stem}.tmp"
        remove(aside)
        aside.mkdir()
        try:
            shards = write_shards(work_dir, stream, aside / stem, shard_bytes)
            paths = [folder / shard.name for shard in shards]
            others = sorted(set(folder.glob(f"{stem}-[0-9]*[0-9].jsonl")) - set(paths))
            if others and not overwrite:
                raise in_the_way(others[0])
            for shard, path in zip(shards, paths, strict=True):
                put_in_place(shard, path, overwrite)
            for other in others:
                remove(other)
        finally:
            remove(aside)
        sync_directory(folder)
    return paths


def write_shards(work_dir: Path, stream: str, stem: Path, shard_bytes: int) -> list[Path]:
    """Writes the shards STEM-00000.jsonl and so on; their paths."""
    written: list[Path] = []
    pieces = (line for block in blocks(work_dir, stream) for line in block.splitlines(True))
    line = next(pieces, b"")
    while line or not written:
        written.append(stem.with_name(f"{stem.name}-{len(written):05d}.jsonl"))
        with written[-1].open("wb") as shard:
            is_full = False
            while line and not is_full:
                shard.write(line)
                # Of a record longer than a block, a piece without its end comes first.
                is_full = line.endswith(b"\n") and shard.tell() >= shard_bytes
                line = next(pieces, b"")
            put_on_disk(shard)
    return written


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
        filecmp.clear_cache()
        if filecmp.cmp(aside, destination, shallow=False):
            return
        if not overwrite:
            raise in_the_way(destination)
    os.replace(aside, destination)


def in_the_way(path: Path) -> UserError:
    """The error about a file that would be replaced."""
    return UserError(
        f"{path} exists with other content: move it away, or pass --overwrite to replace it; what "
        "was done is kept for then"
    )
