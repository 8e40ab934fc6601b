"""Running a command, and watching how much memory it and all its children take."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config import UserError

INTERVAL_S = 0.1


@dataclass(frozen=True)
class Watched:
    """What a command took."""

    seconds: float
    peak_bytes: int
    """Most memory of all its processes together, at one time; pages that they share are counted for
    each. 0 where there is no /proc."""
    output: str


def run_watched(command: Sequence[str]) -> Watched:
    """Runs a command to its end.

    Raises:
        UserError: it failed; what it said last is told.
    """
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    while True:
        with suppress(subprocess.TimeoutExpired):
            output, errors = process.communicate(timeout=INTERVAL_S)
            break
        peak = max(peak, session_memory(process.pid))
    if process.returncode:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"{' '.join(command)}: failed: {last}")
    return Watched(time.perf_counter() - start, peak, output)


def session_memory(leader: int) -> int:
    """Resident bytes of all processes of a session."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it ended just now
            if os.getsid(int(entry.name)) == leader:
                pages = (entry / "statm").read_text(encoding="ascii").split()[1]
                total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total
