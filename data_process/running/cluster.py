"""The parts of a step on a cluster: datatrove's executors for Slurm and Ray.

A task of theirs does some parts, since a task takes seconds to start. What is done is known by the
folders of the parts, under the step's plan: datatrove's own marks know the number of a task alone,
and so would skip input that has changed.

The work directory, the input and this repository must have the same paths on all machines.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from datatrove.executor import RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from loguru import logger

from config import ROOT, UserError
from data_process.running.step import Step, done_parts, run_part
from data_process.running.work_dir import ERRORS, JOB, LOGS, note_error
from data_process.running.workers import Execution
from model.directory.storage import replace_file, text_writer

TASKS_PER_WORKER = 4
"""A worker's parts are cut into so many tasks: few enough for the scheduler, many enough that no
worker is idle for long at the end."""
LOOK_S = 5.0
"""Seconds between two looks at Slurm's queue."""
LEFT = 75
"""Exit code of a script that has left its work to a job: try again later (EX_TEMPFAIL of
sysexits.h)."""


class RunParts:
    """A datatrove pipeline of one element: does the parts of its task."""

    def __init__(self, step: Step, work_dir: Path, parts: list[int], execution: Execution) -> None:
        count = min(len(parts), execution.workers * TASKS_PER_WORKER)
        self.step, self.work_dir = step, work_dir
        self.tasks = [parts[first::count] for first in range(count)]
        """The numbers of the parts that each task does."""
        self.folder = Path.cwd()
        """From where the paths of the step count."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Does the parts of a task; after an error in any task no other part is started."""
        os.chdir(self.folder)
        for number in self.tasks[rank]:
            if any((self.work_dir / ERRORS).glob("*")):
                return
            try:
                run_part(self.step, number, self.work_dir)
            except UserError as error:
                note_error(self.work_dir, number, error)
                raise

    @property
    def settings(self) -> dict[str, Any]:
        """What both executors are given."""
        return {
            "pipeline": [self],
            "tasks": len(self.tasks),
            "logging_dir": str(self.work_dir / LOGS),
            "skip_completed": False,  # by datatrove's own marks
        }


def run_on_cluster(step: Step, work_dir: Path, waiting: list[int], execution: Execution) -> None:
    """Does parts of a step on Slurm or Ray; an error in the input is noted in the work directory.

    Raises:
        UserError: the cluster cannot do it.
        SystemExit: a Slurm job was submitted.
    """
    logger.disable("datatrove")
    parts = RunParts(step, work_dir, waiting, execution)
    (run_on_slurm if execution.executor == "slurm" else run_on_ray)(parts, execution)


class SlurmExecutor(SlurmPipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """datatrove's, in this environment, without a job for statistics: the parts have counts."""

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        """The batch script: this very Python, in this repository, which so can be imported."""
        pickled = self.logging_dir.resolve_paths("executor.pik")
        task = [sys.executable, "-m", "datatrove.tools.launch_pickled_pipeline", pickled]
        run_script = f"srun -l -n 1 {shlex.join(task)}"
        return str(super().get_launch_file_contents(sbatch_args, run_script))

    def launch_merge_stats(self) -> None:
        """Nothing."""


def run_on_slurm(parts: RunParts, execution: Execution) -> None:
    """Submits a job array and leaves, or waits for its end if that is wanted. The same command,
    given again after the job, finds the parts done."""
    executor = SlurmExecutor(
        **parts.settings,
        time=execution.slurm_time,
        partition=execution.slurm_partition,
        workers=execution.workers,
        job_name=parts.step.title.replace(" ", "_"),
        qos=None,
        env_command=f"cd {shlex.quote(str(ROOT))} || exit 1",
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
    replace_file(parts.work_dir / JOB, text_writer(job))
    print(
        f"submitted Slurm job {job}: {sum(map(len, parts.tasks)):,} parts in "
        f"{len(parts.tasks):,} tasks, {execution.workers:,} at a time"
    )
    if not execution.slurm_wait:
        print("when it has ended, run the same command again: it continues with what the job did")
        raise SystemExit(LEFT)
    while is_queued(job):
        time.sleep(LOOK_S)


def leave_while_queued(work_dir: Path, parts: int) -> None:
    """Raises SystemExit when the last Slurm job of a work directory has not ended."""
    job = (work_dir / JOB).read_text(encoding="utf-8")
    if job and is_queued(job):
        print(
            f"Slurm job {job} has not ended: {len(done_parts(work_dir)):,} of {parts:,} parts are "
            f"done; run the same command again after it, or end it with scancel {job}"
        )
        raise SystemExit(LEFT)


def is_queued(job: str) -> bool:
    """Whether a job waits or runs; one that Slurm does not know any more does not."""
    command = ["squeue", "--noheader", f"--jobs={job}"]
    try:
        found = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return found.returncode == 0 and bool(found.stdout.strip())


class RayExecutor(RayPipelineExecutor):  # type: ignore[misc]
    """datatrove's, with logs where those of Slurm go: its own way with Ray leads over a folder that
    all users of a machine would share."""

    _run_for_rank = PipelineExecutor._run_for_rank


def run_on_ray(parts: RunParts, execution: Execution) -> None:
    """Does the tasks on the cluster that RAY_ADDRESS names or that runs on this machine; without
    one, Ray is started here. It stays connected to the end of this process."""
    import ray  # not installed everywhere
    from ray.job_config import JobConfig

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports to its makers
        ray.init(
            job_config=JobConfig(code_search_path=[str(ROOT)]),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    largest = max((node["Resources"].get("memory", 0) for node in ray.nodes()), default=0)  # type: ignore[no-untyped-call]
    memory = execution.memory_gb
    if largest < memory * 2**30:  # no worker could ever start: Ray would wait forever
        raise UserError(
            f"memory_gb is {memory:g}, but the largest machine of the Ray cluster has "
            f"{largest / 2**30:.1f} GB for workers: lower it"
        )
    executor = RayExecutor(**parts.settings, workers=execution.workers, mem_per_cpu_gb=memory)
    # At its end it adds up statistics, which a task that was killed has not left. They are not
    # needed: the parts have counts.
    with suppress(FileNotFoundError):
        executor.run()
