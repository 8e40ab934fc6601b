"""Where work is done: the settings, and work handed out to processes that never outlive this one.

Each worker has a pipe: it gets a task, does it, and answers. There are no shared locks or queues
that a killed process could leave behind, and a worker that dies is seen at once.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeVar

from config import Above0, Count, Settings, UserError
from terminal import keep_output_from_failing

Task = TypeVar("Task")
Workers = dict[Connection, BaseProcess]


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Execution(Settings):
    """Where the work is done."""

    workers: Count = field(default_factory=available_cores)
    """Parts that are worked on at once: processes here, or tasks on a cluster. By default as many
    as this machine has cores. The output is the same for any number."""
    executor: Literal["local", "slurm", "ray"] = "local"
    """local: this machine. slurm: submits a job, and the same command again takes up its results.
    ray: the running Ray cluster, or a local one. See docs/data_at_scale.md."""
    slurm_partition: str | None = None
    """With --executor slurm: the partition."""
    slurm_time: str = "24:00:00"
    """With --executor slurm: time limit of a task, as hours:minutes:seconds."""
    slurm_wait: bool = False
    """With --executor slurm: wait for the end of the job and go on, in place of leaving."""
    memory_gb: Above0 = 2.0
    """With --executor slurm or ray: memory to reserve for each worker, in GB."""

    def conflicts(self) -> list[str]:
        """What the executor lacks, a sentence each."""
        if self.executor == "ray" and importlib.util.find_spec("ray") is None:
            return ["executor is ray, which is not installed: pip install ray"]
        if self.executor != "slurm":
            return []
        found = []
        if not self.slurm_partition:
            found.append("executor is slurm: name the partition with --slurm_partition (see sinfo)")
        if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", self.slurm_time):
            found.append(f"slurm_time is {self.slurm_time}: use hours:minutes:seconds")
        if shutil.which("sbatch") is None:
            found.append("executor is slurm, but there is no sbatch here: run this on a login node")
        return found


def work_through(
    work: Callable[[Task], None], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, UserError | None]]:
    """Does all tasks, in order with one worker in this process, else in processes.

    After a task with a UserError no new one is started; those before it are all done.

    Args:
        work: does one task; it must be importable or picklable (a function or a dataclass with
            `__call__`).
        tasks: what there is to do.
        workers: the most processes to use.

    Yields:
        Each task as it is done, with its UserError or None.

    Raises:
        UserError: a worker was killed.
    """
    workers = min(workers, len(tasks))
    if workers > 1:
        yield from work_in_processes(work, tasks, workers)
        return
    for task in tasks:
        error = run_task(work, task)
        yield task, error
        if error:
            return


def run_task(work: Callable[[Task], None], task: Task) -> UserError | None:
    """Does a task; its UserError or None."""
    try:
        work(task)
    except UserError as error:
        return error
    return None


def work_in_processes(
    work: Callable[[Task], None], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, UserError | None]]:
    """See `work_through`."""
    waiting = list(reversed(tasks))
    busy: dict[Connection, tuple[BaseProcess, Task]] = {}
    with workers_started(work, workers) as idle:
        while waiting or busy:
            while waiting and idle:
                pipe, process = idle.popitem()
                busy[pipe] = process, waiting.pop()
                with suppress(BrokenPipeError):  # it died: its pipe is at its end, seen below
                    pipe.send(busy[pipe][1])
            for ready in connection.wait(list(busy)):
                assert isinstance(ready, Connection)
                process, task = busy.pop(ready)
                message = answer_of(ready, process)
                idle[ready] = process
                if message is not None:
                    waiting.clear()
                yield task, None if message is None else UserError(message)


def answer_of(pipe: Connection, process: BaseProcess) -> str | None:
    """A worker's answer about its task: the text of a UserError or None."""
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionResetError) as error:
        process.join()
        raise UserError(
            f"a process at work ended with code {process.exitcode}; if memory was short, close "
            "other programs; run the same command again, what is done is kept"
        ) from error
    if isinstance(answer, BaseException):
        raise answer
    return answer


@contextmanager
def workers_started(work: Callable[[Any], None], count: int) -> Iterator[Workers]:
    """Processes that wait for tasks, by their pipes; they are ended with the block."""
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads half
    idle: Workers = {}
    started: list[BaseProcess] = []
    try:
        with interrupts_held_back():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(work, theirs), daemon=True)
                process.start()
                theirs.close()  # so that our end sees it when the worker dies
                idle[ours] = process
                started.append(process)
        yield idle
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join()


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the block ends, and processes started in it never see one: it is for this
    process to end them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else its own start would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(work: Callable[[Any], None], pipe: Connection) -> None:
    """The life of a worker: tasks come through the pipe, answers go back, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_output_from_failing()
    threading.Thread(target=leave_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = pipe.recv()
            try:
                mistake = run_task(work, task)
                answer: object = None if mistake is None else str(mistake)
            except Exception as error:  # raised again in the parent, where it is seen
                answer = error
            pipe.send(answer)


def leave_with_parent() -> None:
    """Ends this process when its parent is gone, however that came."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
