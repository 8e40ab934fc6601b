"""Running a step: all its parts, on this machine or on many, and joining what they wrote.

The parts follow from the input and the settings alone, each writes files of its own, and the
results are joined in the order of the parts: the output is the same to the byte whatever the number
of workers, the executor, and the number of times the work was killed and started again.

    counts = run_step(step, work_dir_of(destination), settings.execution)
    records = join_streams(work_dir_of(destination), "main", destination)
    remove_work_dir(work_dir_of(destination))
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from config import positive
from data_process.joining import join_shards, join_streams, refuse_to_overwrite
from data_process.jsonl_parts import JsonlPart, jsonl_parts
from data_process.part_progress import progress_shown
from data_process.tasks import Step, done_parts
from data_process.work_dir import begin, held, remove_work_dir, total_counts, work_dir_of
from data_process.workers import available_cores

__all__ = [
    "Execution",
    "JsonlPart",
    "join_shards",
    "join_streams",
    "jsonl_parts",
    "refuse_to_overwrite",
    "remove_work_dir",
    "run_step",
    "work_dir_of",
]
"""All that a script of the data tools needs to run a step."""

ExecutorName = Literal["local", "slurm", "ray"]


@dataclass(frozen=True)
class Execution:
    """Where the work is done."""

    workers: int = field(default_factory=available_cores)
    """Parts that are worked on at once: processes here, or tasks on a cluster. By default as many
    as this machine has cores. The output is the same for any number."""
    executor: ExecutorName = "local"
    """local: this machine. slurm: submits a job, and the same command again takes up its results.
    ray: the running Ray cluster, or a local one. See docs/data_at_scale.md."""
    slurm_partition: str | None = None
    """With --executor slurm: the partition."""
    slurm_time: str = "24:00:00"
    """With --executor slurm: time limit of a task, as hours:minutes:seconds."""
    slurm_wait: bool = False
    """With --executor slurm: wait for the end of the job and go on, in place of leaving."""
    memory_gb: float = 2.0
    """With --executor slurm or ray: memory to reserve for each worker, in GB."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = positive(self, "workers", "memory_gb")
        if self.executor == "slurm":
            found += self.slurm_problems()
        if self.executor == "ray" and importlib.util.find_spec("ray") is None:
            found.append("executor is ray, which is not installed: pip install ray")
        return found

    def slurm_problems(self) -> list[str]:
        """What is missing for Slurm."""
        found = []
        if not self.slurm_partition:
            found.append("executor is slurm: name the partition with --slurm_partition (see sinfo)")
        if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", self.slurm_time):
            found.append(f"slurm_time is {self.slurm_time}: use hours:minutes:seconds")
        if shutil.which("sbatch") is None:
            found.append("executor is slurm, but there is no sbatch here: run this on a login node")
        return found


def run_step(step: Step, work_dir: Path, execution: Execution) -> Counter[str]:
    """Does all parts of a step that are not done yet.

    Args:
        step: what is done.
        work_dir: where the parts go; on a cluster, a folder that all its machines see.
        execution: where it is done.

    Returns:
        What the parts counted, together.

    Raises:
        UserError: the input is wrong, a worker was killed, or another process works in work_dir;
            parts that are done stay.
        SystemExit: a Slurm job was submitted, or still runs.
    """
    work_dir = work_dir.resolve()
    parts = step.parts()
    with held(work_dir):
        begin(work_dir, step, len(parts))
        if len(done_parts(work_dir)) < len(parts):
            from data_process.executors import run_parts  # datatrove takes a while to import

            with progress_shown(step.title, work_dir, parts):
                run_parts(step, work_dir, len(parts), execution)
        return total_counts(work_dir)
