"""Parts as datatrove's tasks: what all executors share.

A task is a share of the parts: one part here, some on a cluster, where starting a task takes
seconds. What differs from datatrove: a task is done when the folders of its parts are there, and
nothing else is asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor.base import PipelineExecutor

from config import UserError
from data_process.running.tasks import Step, done_parts, part_folder, run_part
from data_process.running.work_dir import MISTAKES, note_mistake

TASKS_PER_WORKER = 4
"""On a cluster a worker's parts are cut into so many tasks: few enough for the scheduler, many
enough that no worker is idle for long at the end."""
Shares = Sequence[Sequence[int]]
"""The numbers of the parts that each task does."""


def single_parts(waiting: Sequence[int]) -> Shares:
    """A task for each part."""
    return [[number] for number in waiting]


def fair_shares(waiting: Sequence[int], workers: int) -> Shares:
    """Some tasks for each worker, alike in size."""
    count = min(len(waiting), workers * TASKS_PER_WORKER)
    return [waiting[first::count] for first in range(count)]


class DoShare:
    """A datatrove pipeline of one element: does the parts of its task."""

    def __init__(self, step: Step, work_dir: Path, shares: Shares) -> None:
        self.step, self.work_dir, self.shares = step, work_dir, shares
        self.folder = Path.cwd()
        """From where the paths of the step count."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Does the parts of a task; once a mistake was found, no other part is begun."""
        os.chdir(self.folder)
        for number in self.shares[rank]:
            if any((self.work_dir / MISTAKES).glob("*")):
                return
            try:
                run_part(self.step, number, self.work_dir)
            except UserError as mistake:
                note_mistake(self.work_dir, number, mistake)
                raise


class ByShare(PipelineExecutor):  # type: ignore[misc]  # datatrove has no types
    """What our executors share."""

    pipeline: Sequence[DoShare]

    def is_rank_completed(self, rank: int) -> bool:
        """Whether the parts of a task are done."""
        pipeline = self.pipeline[0]
        return all(part_folder(pipeline.work_dir, n).exists() for n in pipeline.shares[rank])

    def mark_rank_as_completed(self, rank: int) -> None:
        """Nothing: the parts' folders are the mark."""

    def get_incomplete_ranks(
        self, ranks: Sequence[int] | None = None, skip_completed: bool | None = None
    ) -> list[int]:
        """The tasks of which a part is not done."""
        done = set(done_parts(self.pipeline[0].work_dir))
        shares = self.pipeline[0].shares
        numbers = range(len(shares)) if ranks is None else ranks
        return [number for number in numbers if not done.issuperset(shares[number])]
