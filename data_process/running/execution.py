"""Running a step: all its parts, on this machine or on many, and joining what they wrote.

The parts follow from the input and the settings alone, each writes files of its own, and the
results are joined in the order of the parts: the output is the same to the byte whatever the number
of workers, the executor, and the number of times the work was killed and started again.

    work_dir = work_dir_of(destination)                        # work_dir.py
    refuse_to_overwrite(destination, work_dir, overwrite)      # joining.py
    counts = run_step(step, work_dir, execution)
    records = join_streams(work_dir, "main", destination)      # joining.py
    remove_work_dir(work_dir)                                  # work_dir.py
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from data_process.running.execution_settings import Execution
from data_process.running.part_progress import progress_shown
from data_process.running.slurm_job import refuse_while_queued
from data_process.running.tasks import Step, done_parts
from data_process.running.work_dir import begin, held, noted_mistake, total_counts


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
        refuse_while_queued(work_dir, len(parts))
        mistake = noted_mistake(work_dir)
        goes_on = begin(work_dir, step, len(parts))
        if mistake and goes_on and execution.executor == "slurm":
            raise mistake  # that the job met; told once, for it may have been mended
        done = set(done_parts(work_dir))
        if waiting := [number for number in range(len(parts)) if number not in done]:
            from data_process.running.executors import (
                run_parts,
            )  # datatrove takes a while to import

            with progress_shown(step.title, work_dir, parts):
                run_parts(step, work_dir, waiting, execution)
        return total_counts(work_dir)
