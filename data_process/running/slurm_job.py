"""The Slurm job that was submitted last for a work directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

from data_process.running.tasks import done_parts
from data_process.running.work_dir import JOB
from model.directory.storage import replace_file, text_writer

LEFT = 75
"""Exit code of a script that has left its work to a job: try again later (EX_TEMPFAIL of
sysexits.h)."""


def note_job(work_dir: Path, job: str) -> None:
    """Notes the job's number."""
    replace_file(work_dir / JOB, text_writer(job))


def refuse_while_queued(work_dir: Path, parts: int) -> None:
    """Leaves when a job for a work directory has not ended.

    Raises:
        SystemExit: it has not.
    """
    path = work_dir / JOB
    job = path.read_text(encoding="utf-8") if path.exists() else ""
    if job and is_queued(job):
        print(
            f"Slurm job {job} has not ended: {len(done_parts(work_dir)):,} of {parts:,} parts are "
            f"done; run the same command again after it, or end it with scancel {job}"
        )
        raise SystemExit(LEFT)


def is_queued(job: str) -> bool:
    """Whether a job waits or runs; one that Slurm does not know any more does not."""
    try:
        found = subprocess.run(
            ["squeue", "--noheader", f"--jobs={job}"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0 and bool(found.stdout.strip())
