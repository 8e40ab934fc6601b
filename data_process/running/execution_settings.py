"""Where the work of a data script is done: its flags."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass, field
from typing import Literal

from config import positive
from data_process.running.workers import available_cores

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
