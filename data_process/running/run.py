"""Running a step: all its parts, on this machine or on many, and joining what they wrote.

The parts follow from the input and the settings alone, each writes files of its own, and the
results are joined in the order of the parts: the output is the same to the byte whatever the number
of workers, the executor, and the number of times the work was killed and started again.

`run_and_join` is the whole run of a data script. Its pieces, for work of another shape:

    work_dir = work_dir_of(destination)                        # work_dir.py
    refuse_to_overwrite(destination, work_dir, overwrite)
    counts = run_step(step, work_dir, execution)
    records = join_streams(work_dir, MAIN, destination)
    remove_work_dir(work_dir)
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tyro

from config import TRAINING_DATA, Settings, UserError
from data_process.running.step import (
    MAIN,
    REJECTED,
    REMOVED,
    Part,
    Progress,
    Step,
    byte_bar,
    done_parts,
    part_counts,
    run_part,
)
from data_process.running.work_dir import (
    JOB,
    LOGS,
    PIPE,
    join_streams,
    locked,
    noted_error,
    prepare_work_dir,
    refuse_outputs,
    remove_work_dir,
    work_dir_of,
)
from data_process.running.workers import Execution, work_through

LOOK_S = 0.5
"""Seconds between two looks at the parts that are done, for the progress bar."""


@dataclass(frozen=True)
class StepConfig(Settings):
    """The flags of every script that runs steps on files."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...}, or folders of them."""
    output: Path = TRAINING_DATA / "pretrain" / "output.jsonl"
    """JSONL file to write."""
    rejected: Path | None = None
    """JSONL file for what is dropped, each record with its reason."""
    overwrite: bool = False
    """Replace files that exist with other content."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    may_write_pipe: ClassVar[bool] = False
    """Whether the output may be standard output."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        return [] if self.input_files else ["input_files: name at least one file"]

    def side_files(self) -> dict[str, Path]:
        """The files that are written beside the output, by their streams."""
        return {REJECTED: self.rejected} if self.rejected else {}

    def outputs(self) -> Sequence[Path]:
        """All files that are written."""
        return (self.output, *self.side_files().values())

    def refuse_outputs(self, also_read: Sequence[Path] = ()) -> None:
        """Raises UserError when a file that will be written is in the way, or is read too."""
        inputs, outputs = (*self.input_files, *also_read), self.outputs()
        if PIPE in outputs and not self.may_write_pipe:
            raise UserError("- cannot be written, as outputs are joined from parts: name a file")
        refuse_outputs(outputs, inputs, self.overwrite)

    def join(self, work_dir: Path) -> list[Path]:
        """Joins what the parts kept into the output; the files that it is made of."""
        join_streams(work_dir, MAIN, self.output, self.overwrite)
        return [self.output]

    def write_report(self, result: StepResult) -> list[Path]:
        """Writes what was done into files of its own, where a script has some; their paths."""
        return []


@dataclass(frozen=True)
class CleaningConfig(StepConfig):
    """The flags of scripts that take lines out of texts."""

    removed_lines: Path | None = None
    """JSONL file for the lines that are taken out of texts, each with its rule."""

    def side_files(self) -> dict[str, Path]:
        """The files that are written beside the output, by their streams."""
        removed = {REMOVED: self.removed_lines} if self.removed_lines else {}
        return {**super().side_files(), **removed}


@dataclass(frozen=True)
class StepResult:
    """What steps have done."""

    counts: Counter[str]
    """in, out, `dropped: REASON`, and other things."""
    input_bytes: int
    """Size of the input: of dumps, unpacked XML."""
    damages: Sequence[str] = ()
    """What was damaged in the input, of which all that could be read was used."""
    notes: Sequence[str] = ()
    """What else is worth knowing about it."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the file of the report holds beside the counts; plain values."""


def run_and_join(
    config: StepConfig, work: Callable[[Path], StepResult], also_read: Sequence[Path] = ()
) -> Counter[str]:
    """Runs a data script from its flags to the printed table.

    Args:
        config: its flags.
        work: runs the steps; it gets the work directory, in which the last step must leave the
            streams of the output and of the files beside it.
        also_read: files that are read beside the input files.

    Raises:
        UserError: see `run_step`; or nothing is left; or the input was damaged, after all that
            could be read of it was written.
    """
    start = time.perf_counter()
    config.refuse_outputs(also_read)
    work_dir = work_dir_of(config.output)
    result = work(work_dir)
    written = config.join(work_dir) if result.counts["out"] else []
    for stream, path in config.side_files().items():
        join_streams(work_dir, stream, path, config.overwrite)
        written.append(path)
    written += config.write_report(result)
    remove_work_dir(work_dir)
    lines = outcome(result.counts, result.input_bytes, time.perf_counter() - start)
    for line in (*lines, *written, *(f"note: {note}" for note in result.notes)):
        print(line)
    problems = [*result.damages, *nothing_left(result.counts)]
    if problems:
        raise UserError("\n".join(problems))
    return result.counts


def nothing_left(counts: Counter[str], after: str = "") -> list[str]:
    """The sentence about work of which nothing is left, if nothing is, with the reasons; such work
    writes no output.

    Args:
        counts: what was counted.
        after: which of several steps.
    """
    if counts["out"]:
        return []
    reasons = [f"{name} ({number:,})" for name, number in counts_named(counts, "dropped: ")]
    dropped = f"; dropped: {first_of(reasons, 5)}; --rejected FILE shows them" if reasons else ""
    return [
        f"nothing is left{after} of {counts['in']:,} documents, so no output was written{dropped}"
    ]


def outcome(counts: Counter[str], input_bytes: int, seconds: float) -> list[str]:
    """The table that a data script prints at its end: documents in, out and dropped, time, speed.

    Args:
        counts: what the steps counted: in, `dropped: REASON`, other things, out.
        input_bytes: size of the input.
        seconds: time that the work took.
    """
    dropped = sorted(key for key in counts if key.startswith("dropped: "))
    others = sorted(set(counts) - {"in", "out", *dropped})
    rows = [("documents in", "in"), *((key, key) for key in (*dropped, *others)), ("out", "out")]
    lines = [f"{counts[key]:>14,}  {name}" for name, key in rows if counts[key] or key == "out"]
    speed = input_bytes / max(seconds, 1e-9) / 1e6
    return [*lines, f"{seconds:>13,.1f}s  {speed:,.1f} MB/s"]


def counts_named(counts: Counter[str], prefix: str) -> list[tuple[str, int]]:
    """Counts whose names begin so, without that beginning, the largest first."""
    found = [(n[len(prefix) :], c) for n, c in counts.items() if n.startswith(prefix) and c]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def first_of(names: Sequence[object], most: int) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def run_single(step: Step, work_dir: Path, execution: Execution) -> StepResult:
    """Runs the only step of some work; see `run_step`."""
    return StepResult(run_step(step, work_dir, execution), step.input_bytes)


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
    with locked(work_dir):
        if (work_dir / JOB).exists():
            from data_process.running.cluster import leave_while_queued  # datatrove is slow

            leave_while_queued(work_dir, len(parts))
        error = noted_error(work_dir)
        continued = prepare_work_dir(work_dir, step, len(parts))
        if error and continued and execution.executor == "slurm":
            raise error  # of the job; raised once, for the input may have been mended
        if waiting := sorted(set(range(len(parts))) - set(done_parts(work_dir))):
            with progress_shown(step.title, work_dir, parts):
                run_parts(step, work_dir, waiting, execution)
        return sum((part_counts(work_dir, n) for n in done_parts(work_dir)), Counter[str]())


def run_parts(step: Step, work_dir: Path, waiting: list[int], execution: Execution) -> None:
    """Does parts of a step, by their numbers; raises as `run_step` does."""
    if execution.executor == "local":
        run_here(step, work_dir, waiting, execution.workers)
        return
    from data_process.running.cluster import run_on_cluster  # datatrove is slow to import

    run_on_cluster(step, work_dir, waiting, execution)
    if error := noted_error(work_dir):
        raise error
    if missing := set(waiting) - set(done_parts(work_dir)):
        raise UserError(
            f"{len(missing):,} parts could not be done: see {work_dir / LOGS} for the reason; run "
            "the same command again for those"
        )


def run_here(step: Step, work_dir: Path, waiting: list[int], workers: int) -> None:
    """Does parts on this machine; raises the error of the first part that failed."""
    work = partial(run_part, step, work_dir=work_dir)
    errors = {number: error for number, error in work_through(work, waiting, workers) if error}
    if errors:
        raise errors[min(errors)]


@contextmanager
def progress_shown(title: str, work_dir: Path, parts: Sequence[Part]) -> Iterator[None]:
    """Shows bytes of input and records in parts that are done, wherever they are worked on, once it
    takes longer than a second."""
    done = set(done_parts(work_dir))
    total, before = sum(part.size for part in parts), sum(parts[number].size for number in done)
    ended = threading.Event()
    with byte_bar(title, total or None, before) as bar, ThreadPoolExecutor(1) as pool:
        pool.submit(watch, bar, work_dir, parts, done, ended)
        try:
            yield
        finally:
            ended.set()


def watch(
    bar: Progress, work_dir: Path, parts: Sequence[Part], done: set[int], ended: threading.Event
) -> None:
    """Moves a bar until the work has ended."""
    start, records = time.perf_counter(), 0
    while not ended.wait(LOOK_S):
        new = [number for number in done_parts(work_dir) if number not in done]
        done.update(new)
        records += sum(part_counts(work_dir, number)["in"] for number in new)
        speed = records / (time.perf_counter() - start)
        bar.set_postfix_str(f"{len(done)}/{len(parts)} parts, {speed:,.0f} records/s", False)
        bar.update(sum(parts[number].size for number in new))
        bar.refresh()
