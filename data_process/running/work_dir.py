"""The folder in which a step's parts wait until they are joined, and to which a killed one comes
back.

    WORK_DIR/plan.json      what the work is; another plan begins anew
    WORK_DIR/parts/         what is done (see tasks.py)
    WORK_DIR/mistakes/      why parts cannot be done, noted by the machine that found it
    WORK_DIR/slurm_job      the job that was submitted last
    WORK_DIR/logs/          what datatrove and Slurm tell
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from config import UserError
from data_process.running.tasks import PARTS, Step, done_parts, part_counts
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

PLAN, MISTAKES, JOB, LOGS, LOCK = "plan.json", "mistakes", "slurm_job", "logs", "work.lock"
FORMAT = 1
"""Of plan and parts; work that another version began is begun anew."""


def work_dir_of(destination: Path) -> Path:
    """The work directory of what is to become a file or folder: beside it."""
    place = destination.resolve()
    return place.with_name(place.name + ".work")


@contextmanager
def held(work_dir: Path) -> Iterator[None]:
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


def begin(work_dir: Path, step: Step, parts: int) -> bool:
    """Prepares for the first or another start: what another plan left goes, what this one did
    stays. Returns whether this plan was begun before."""
    clear_removed(work_dir)
    plan = json_text({"format": FORMAT, "parts": parts, **step.plan()})
    with explained(work_dir):
        before = read_plan(work_dir)
        if plan != before:
            if (work_dir / PARTS).exists():
                print(f"beginning anew: {what_differs(before, plan)}")
                remove_directory(work_dir / PARTS)
                remove(work_dir / LOGS)
            replace_file(work_dir / PLAN, text_writer(plan))
        (work_dir / PARTS).mkdir(exist_ok=True)
        for unfinished in (work_dir / PARTS).glob("*.tmp"):
            remove(unfinished)
        remove(work_dir / MISTAKES)
        for directory in (work_dir, work_dir.parent):
            sync_directory(directory)
    if done := len(done_parts(work_dir)):
        print(f"continuing: {done:,} of {parts:,} parts are done")
    return plan == before


def read_plan(work_dir: Path) -> str:
    """The plan that a work directory was begun with; empty when there is none."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        return (work_dir / PLAN).read_bytes().decode("utf-8")
    return ""


def what_differs(before: str, now: str) -> str:
    """Names the entries in which two plans differ."""
    try:
        old = json.loads(before)
    except ValueError:
        old = None
    if not isinstance(old, dict):
        return "the earlier work's plan is missing or damaged"
    new: dict[str, Any] = json.loads(now)
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return f"{' and '.join(names)} changed since the earlier start"


def note_mistake(work_dir: Path, number: int, mistake: UserError) -> None:
    """Notes why a part cannot be done, for the process that waits elsewhere."""
    with suppress(OSError, UserError):
        (work_dir / MISTAKES).mkdir(exist_ok=True)
        replace_file(work_dir / MISTAKES / f"{number:05d}", text_writer(str(mistake)))


def noted_mistake(work_dir: Path) -> UserError | None:
    """The first part's mistake that was noted."""
    notes = sorted((work_dir / MISTAKES).glob("[0-9]*[0-9]"))
    return UserError(notes[0].read_bytes().decode("utf-8")) if notes else None


def total_counts(work_dir: Path) -> Counter[str]:
    """What all parts counted, together."""
    total: Counter[str] = Counter()
    for number in done_parts(work_dir):
        total.update(part_counts(work_dir, number))
    return Counter(dict(sorted(total.items())))


def remove_work_dir(work_dir: Path) -> None:
    """Removes a work directory whose results stand elsewhere.

    Raises:
        UserError: it cannot be removed, or another process works there.
    """
    with held(work_dir):
        pass  # nobody else is there; Windows could not rename it with a lock in it
    remove_directory(work_dir)


def clear_removed(work_dir: Path) -> None:
    """Removes what a killed `remove_work_dir` has left."""
    with explained(work_dir):
        remove(work_dir.with_name(work_dir.name + ".tmp"))
