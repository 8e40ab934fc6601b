"""A process that may use 1 GiB of addresses, in which dumps are extracted that might do harm."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

ADDRESS_BYTES = 1 << 30


@dataclass
class Extracted:
    """What came of a dump."""

    refused: str = ""
    """The sentence with which it was refused; empty: it was read."""
    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    crash: str = ""
    seconds: float = 0.0
    peak_mb: int = 0
    """Largest memory of the process so far."""


class ConfinedReader:
    """Hands dumps to the process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def extract(self, path: Path, part_bytes: int | None = None) -> Extracted:
        """Extracts a dump, part after part."""
        try:
            self.connection.send((path, part_bytes))
            outcome: Extracted = self.connection.recv()
            return outcome
        except (EOFError, OSError):
            return Extracted(crash="the process died")


@contextmanager
def confined_reader() -> Iterator[ConfinedReader]:
    """Starts the process, and ends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    yield ConfinedReader(ours)
    ours.close()
    process.join(10)
    process.kill()


def serve(connection: Connection) -> None:
    """Extracts what it is sent, until nothing comes."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    with suppress(EOFError):
        while True:
            connection.send(extract(*connection.recv()))


def extract(path: Path, part_bytes: int | None) -> Extracted:
    """Extracts a dump as the script does in each of its processes."""
    from config import UserError
    from data_process.running.step import run_part, stream_files
    from data_process.wiki.dump.reader import cut_dump
    from data_process.wiki.extraction import ExtractionSettings, ExtractionStep, read_problems

    work_dir = path.with_name("work")
    shutil.rmtree(work_dir, ignore_errors=True)
    found = Extracted()
    start = time.perf_counter()
    try:
        groups = tuple((span,) for span in cut_dump(path, part_bytes))
        step = ExtractionStep(groups, ExtractionSettings(min_length=1))
        for number in range(len(groups)):
            run_part(step, number, work_dir)
        found.damages, found.notes = read_problems(work_dir)
        for file in stream_files(work_dir):
            for line in file.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                found.titles.append(record["title"])
                found.texts.append(record["text"][:1000])
    except UserError as error:
        found.refused = str(error)
    except Exception as error:
        found.crash = f"{type(error).__name__}: {error}"
    found.seconds = time.perf_counter() - start
    found.peak_mb = peak_mb()
    return found


def peak_mb() -> int:
    """Largest memory of this process; that of getrusage counts the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
