"""Parts as datatrove's tasks: what all executors share.

What differs from datatrove: a part is done when its folder is there, and nothing else is asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor.base import PipelineExecutor

from config import UserError
from data_process.tasks import Step, done_parts, part_folder, run_part
from data_process.work_dir import MISTAKES, note_mistake


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
