"""The parts of a step as a Slurm job array.

The command submits the job and leaves; given again after the job's end, it finds the parts done and
goes on. What a task needs travels in a file of the work directory (datatrove's `executor.pik`), so
that directory, the input and this repository must have the same paths on all machines.
"""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor import SlurmPipelineExecutor

from config import ROOT, UserError
from data_process.running.execution_settings import Execution
from data_process.running.parts_pipeline import ByShare, DoShare, fair_shares
from data_process.running.slurm_job import LEFT, is_queued, note_job
from data_process.running.tasks import Step
from data_process.running.work_dir import LOGS

LOOK_S = 5.0
"""Seconds between two looks at the queue."""


class SlurmExecutor(ByShare, SlurmPipelineExecutor):  # type: ignore[misc]
    """A job array."""

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        """The batch script: this very Python, in this repository, which so can be imported."""
        pickled = shlex.quote(str(self.pipeline[0].work_dir / LOGS / "executor.pik"))
        task = (
            f"srun -l -n 1 {shlex.quote(sys.executable)} -m datatrove.tools.launch_pickled_pipeline"
        )
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH --{name}={value}".rstrip("=") for name, value in sbatch_args.items()),
            f"cd {shlex.quote(str(ROOT))} || exit 1",
            f"{task} {pickled}",
        ]
        return "\n".join(lines) + "\n"

    def launch_merge_stats(self) -> None:
        """Nothing: the parts have counts of their own."""


def run_on_slurm(step: Step, work_dir: Path, waiting: Sequence[int], execution: Execution) -> None:
    """Submits a job for parts, and waits for it if that is wanted.

    Raises:
        UserError: Slurm refuses the job.
        SystemExit: it was submitted.
    """
    shares = fair_shares(waiting, execution.workers)
    executor = SlurmExecutor(
        [DoShare(step, work_dir, shares)],
        tasks=len(shares),
        time=execution.slurm_time,
        partition=execution.slurm_partition,
        workers=execution.workers,
        job_name=step.title.replace(" ", "_"),
        qos=None,
        logging_dir=str(work_dir / LOGS),
        sbatch_args={"mem-per-cpu": f"{math.ceil(execution.memory_gb * 1024)}M"},
    )
    try:
        executor.launch_job()
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"sbatch refused the job (its code is {error.returncode}, its message stands above): "
            "check --slurm_partition, --slurm_time and --memory_gb"
        ) from error
    job = str(executor.job_id)
    note_job(work_dir, job)
    print(
        f"submitted Slurm job {job}: {len(waiting):,} parts in {len(shares):,} tasks, "
        f"{execution.workers:,} at a time"
    )
    if not execution.slurm_wait:
        print("when it has ended, run the same command again: it goes on with what the job did")
        raise SystemExit(LEFT)
    while is_queued(job):
        time.sleep(LOOK_S)
