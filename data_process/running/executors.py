"""The executors: datatrove's, for parts.

The local one has processes of our own, for datatrove's pool waits forever for one that was killed.
A user's mistake comes back as a sentence from every machine, and nothing but our own progress bar
is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from loguru import logger

from config import UserError
from data_process.running.execution_settings import Execution
from data_process.running.parts_pipeline import ByShare, DoShare, single_parts
from data_process.running.tasks import Step, done_parts
from data_process.running.work_dir import LOGS, noted_mistake
from data_process.running.workers import work_through


class LocalExecutor(ByShare, LocalPipelineExecutor):  # type: ignore[misc]
    """Processes of this machine."""

    def run(self) -> None:
        """Does all parts that are not done; raises the first one's mistake."""
        mistakes: dict[int, UserError] = {}
        for rank, mistake in work_through(self.run_rank, self.get_incomplete_ranks(), self.workers):
            if mistake:
                mistakes[rank] = mistake
        if mistakes:
            raise mistakes[min(mistakes)]

    def run_rank(self, rank: int) -> None:
        """Does one part."""
        logger.disable("datatrove")
        self._run_for_rank(rank)


def run_here(step: Step, work_dir: Path, waiting: Sequence[int], execution: Execution) -> None:
    """Does parts on this machine; raises the first one's mistake."""
    shares = single_parts(waiting)
    LocalExecutor(
        [DoShare(step, work_dir, shares)],
        tasks=len(shares),
        workers=execution.workers,
        logging_dir=str(work_dir / LOGS),
    ).run()


def run_parts(step: Step, work_dir: Path, waiting: Sequence[int], execution: Execution) -> None:
    """Does parts of a step, by their numbers; raises as `run_step` does."""
    logger.disable("datatrove")
    if execution.executor == "local":
        run_here(step, work_dir, waiting, execution)
    elif execution.executor == "slurm":
        from data_process.running.slurm_executor import run_on_slurm

        run_on_slurm(step, work_dir, waiting, execution)
    else:
        from data_process.running.ray_executor import run_on_ray  # which is not everywhere

        run_on_ray(step, work_dir, waiting, execution)
    if mistake := noted_mistake(work_dir):
        raise mistake
    if missing := set(waiting) - set(done_parts(work_dir)):
        raise UserError(
            f"{len(missing):,} parts could not be done: {work_dir / LOGS} tells why; run the same "
            "command again for those"
        )
