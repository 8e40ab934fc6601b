"""The parts of a step on a Ray cluster.

The cluster is the one that RAY_ADDRESS names or that runs on this machine; without one, Ray is
started here. The work directory, the input and this repository must have the same paths on all
machines.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from datatrove.executor import RayPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from ray.job_config import JobConfig

from config import ROOT, UserError
from data_process.running.execution_settings import Execution
from data_process.running.parts_pipeline import ByShare, DoShare, fair_shares
from data_process.running.tasks import Step
from data_process.running.work_dir import LOGS


class RayExecutor(ByShare, RayPipelineExecutor):  # type: ignore[misc]
    """Tasks of Ray."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
        """Does a part. Its log goes where those of all executors go: datatrove's own way with Ray
        leads over a folder that all users of a machine would share."""
        return PipelineExecutor._run_for_rank(self, rank, local_rank, node_rank)


def run_on_ray(step: Step, work_dir: Path, waiting: Sequence[int], execution: Execution) -> None:
    """Does parts on Ray, which stays connected to the end of this process.

    Raises:
        UserError: no machine of the cluster has the memory for a worker.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray tells its makers
        ray.init(
            job_config=JobConfig(code_search_path=[str(ROOT)]),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    refuse_small_machines(execution.memory_gb)
    shares = fair_shares(waiting, execution.workers)
    executor = RayExecutor(
        [DoShare(step, work_dir, shares)],
        tasks=len(shares),
        workers=execution.workers,
        logging_dir=str(work_dir / LOGS),
        mem_per_cpu_gb=execution.memory_gb,
    )
    # At its end it adds up statistics, which a task that was killed has not left. Nothing asks for
    # them: the parts have counts.
    with suppress(FileNotFoundError):
        executor.run()


def refuse_small_machines(memory_gb: float) -> None:
    """Raises UserError when no worker could ever start: Ray would wait without end."""
    largest = max((node["Resources"].get("memory", 0) for node in ray.nodes()), default=0)  # type: ignore[no-untyped-call]
    if largest < memory_gb * 2**30:
        raise UserError(
            f"memory_gb is {memory_gb:g}, but the largest machine of the Ray cluster has "
            f"{largest / 2**30:.1f} GB for workers: lower it"
        )
