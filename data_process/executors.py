"""datatrove's executors, for parts.

What differs from datatrove: a part is done when its folder is there, and nothing else is asked; the
local processes are ours, for a pool waits forever for one that was killed; a user's mistake comes
back as a sentence from every machine; and nothing but our own progress bar is printed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from loguru import logger

from config import UserError
from data_process.execution_settings import Execution
from data_process.tasks import Step, done_parts, part_folder, run_part
from data_process.work_dir import LOGS, MISTAKES, note_mistake, noted_mistake
from data_process.workers import work_through


class DoPart:
    """A datatrove pipeline of one element: does the part with the number of its task."""

    def __init__(self, step: Step, work_dir: Path) -> None:
        self.step, self.work_dir = step, work_dir
        self.folder = Path.cwd()
        """From where the paths of the step count."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Does part `rank`; once a mistake was found, no other part is begun."""
        os.chdir(self.folder)
        if any((self.work_dir / MISTAKES).glob("*")):
            return
        try:
            run_part(self.step, rank, self.work_dir)
        except UserError as mistake:
            note_mistake(self.work_dir, rank, mistake)
            raise


class ByPart(PipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """What our executors share."""

    work_dir: Path

    def is_rank_completed(self, rank: int) -> bool:
        """Whether a part is done."""
        return part_folder(self.work_dir, rank).exists()

    def mark_rank_as_completed(self, rank: int) -> None:
        """Nothing: the part's folder is the mark."""

    def get_incomplete_ranks(
        self, ranks: Sequence[int] | None = None, skip_completed: bool | None = None
    ) -> list[int]:
        """The parts that are not done."""
        done = set(done_parts(self.work_dir))
        return [n for n in (range(self.world_size) if ranks is None else ranks) if n not in done]


class LocalExecutor(ByPart, LocalPipelineExecutor):  # type: ignore[misc]
    """Processes of this machine."""

    def __init__(self, step: Step, work_dir: Path, parts: int, workers: int) -> None:
        super().__init__([DoPart(step, work_dir)], parts, workers, str(work_dir / LOGS))
        self.work_dir = work_dir

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


def run_parts(step: Step, work_dir: Path, parts: int, execution: Execution) -> None:
    """Does the parts of a step that are not done yet; raises as `run_step` does."""
    logger.disable("datatrove")
    LocalExecutor(step, work_dir, parts, execution.workers).run()
    if mistake := noted_mistake(work_dir):
        raise mistake
