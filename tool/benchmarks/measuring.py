"""What every measurement needs: a process of its own, and the machine in words.

Allocator settings, compiled code, memory and a crash of one measurement then cannot reach another.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from config import ROOT, UserError

Result = TypeVar("Result")
POLL_SECONDS = 0.1
"""How often the memory of a command is read."""


class Failure(Exception):
    """A function in another process did not come to its end; the reason in one line."""


def run_apart(function: Callable[..., Result], *args: object) -> Result:
    """The result of a function in a new process.

    Args:
        function: a function of a module.
        args: what can be pickled.

    Raises:
        UserError: the function raised it.
        Failure: it raised something else, or its process ended.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return result_of(partial(pool.submit, function, *args))


def result_of(submit: Callable[[], Future[Result]]) -> Result:
    """What a process gives; of an error that is not the user's, the traceback goes to standard
    error. Raises as `run_apart`, also where the process had ended before, as one does that the
    system has killed for its memory."""
    try:
        return submit().result()
    except UserError:
        raise
    except Exception as error:  # whatever it was, the other measurements go on
        print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
        first_line = (str(error).strip().splitlines() or ["no message"])[0]
        raise Failure(f"{type(error).__name__}: {first_line}") from error


def turn(
    calls: Mapping[str, Callable[[], Result]], failures: dict[str, str]
) -> Iterator[tuple[str, Result]]:
    """What each call gives, one after the other; one that failed is out, and in `failures`."""
    for name in [name for name in calls if name not in failures]:
        try:
            yield name, calls[name]()
        except Failure as failure:
            failures[name] = str(failure)
            print(f"{name} failed: {failure}", flush=True)


def take_turns(
    contenders: Mapping[str, Callable[[], Result]], rounds: int
) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """Runs functions in turns, each time in a process of its own; one that failed is out.

    Returns:
        The results of each, and why some failed.
    """
    results: dict[str, list[Result]] = {name: [] for name in contenders}
    failures: dict[str, str] = {}
    calls = {name: partial(run_apart, function) for name, function in contenders.items()}
    for number in range(1, rounds + 1):
        for name, found in turn(calls, failures):
            results[name].append(found)
            print(f"round {number}: {name} {found}", flush=True)
    return results, failures


class RemoteObject:
    """An object in a process of its own, whose methods are called from here. It waits without work
    between the calls, so several of them can take turns."""

    def __init__(self, make: Callable[..., object], *args: object) -> None:
        """The process begins, and makes the object, with the first call.

        Args:
            make: a class or function of a module.
            args: what can be pickled.
        """
        self.make = partial(make, *args)
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def call(self, method: str, *args: object) -> Any:
        """The result of a method of the object; raises as `run_apart`."""
        return result_of(partial(self.pool.submit, call_held, self.make, method, *args))

    def close(self) -> None:
        """Ends the process."""
        self.pool.shutdown()


HELD: list[object] = []
"""In the process of a `RemoteObject`: the object."""


def call_held(make: Callable[[], object], method: str, *args: object) -> Any:
    """Calls a method of the object that this process holds, which is made where there is none."""
    if not HELD:
        HELD.append(make())
    return getattr(HELD[0], method)(*args)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], failures: Mapping[str, str]) -> str:
    """A table, the first column to the left, the others to the right; then what failed, and why."""
    columns = list(zip(head, *rows, strict=True))
    first, *widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *cells in (head, *rows):
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([name.ljust(first), *padded]))
    return "\n".join([*lines, *(f"{name} failed: {reason}" for name, reason in failures.items())])


def report(
    benchmark: str, head: Sequence[str], rows: Sequence[Sequence[str]], device: str, **more: object
) -> None:
    """Prints a table and, last, the same with the machine and more as one line of JSON."""
    print(aligned(head, rows, {}))
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    found = {"benchmark": benchmark, "machine": machine_facts(device), **more, "rows": cells}
    print(json.dumps(found, default=str))


def chosen(names: Sequence[str], known: Collection[str], flag: str) -> tuple[str, ...]:
    """Those of the known names that are asked for, or all.

    Raises:
        UserError: one is not known.
    """
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{flag}: there is no {unknown[0]!r}; use some of: {'; '.join(known)}")
    return tuple(names) or tuple(known)


def run_repository_script(
    script: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a script such as train/train_sft.py, showing what it prints.

    Raises:
        UserError: it failed.
    """
    words = [*map(str, arguments)]
    print(f"$ python {' '.join([script, *words])}", flush=True)
    command = [sys.executable, str(ROOT / script), *words]
    variables = {**os.environ, **(environment or {})}
    code = subprocess.run(command, env=variables, check=False).returncode
    if code:
        raise UserError(f"{script} ended with exit code {code}; see above")


def train_tokenizer(directory: Path, files: Sequence[Path], vocab_size: int) -> Path:
    """Trains a tokenizer of its own for a comparison; one that is there already is kept.

    Raises:
        UserError: it failed.
    """
    flags = ("--vocab_size", vocab_size, "--tokenizer_dir", directory, "--pretrain_files", *files)
    run_repository_script("train/train_tokenizer.py", "train", *flags)
    return directory


@dataclass(frozen=True)
class Watched:
    """What a command took."""

    peak_bytes: int
    """Most memory of all its processes together, at one time; pages that they share are counted for
    each. 0 where there is no /proc."""
    output: str


def run_watched(command: Sequence[str]) -> Watched:
    """Runs a command to its end.

    Raises:
        UserError: it failed; the sentence ends with its last line.
    """
    peak = 0
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    while True:
        with suppress(subprocess.TimeoutExpired):
            output, errors = process.communicate(timeout=POLL_SECONDS)
            break
        peak = max(peak, session_memory(process.pid))
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command)}: failed: {last}")
    return Watched(peak, output)


def session_memory(leader: int) -> int:
    """Resident bytes of all processes of a session."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it ended just now
            if os.getsid(int(entry.name)) == leader:
                pages = (entry / "statm").read_text(encoding="ascii").split()[1]
                total += int(pages) * os.sysconf("SC_PAGE_SIZE")
    return total


def processor_name() -> str:
    """The processor as the system names it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine_facts(device_name: str) -> dict[str, str | int | None]:
    """Processor, cores, device and versions.

    Raises:
        UserError: there is no such device.
    """
    import transformers  # heavy modules come late: the demo's script wants the processor alone

    from model.device import pick_device
    from train.machine import describe_machine, git_commit

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "device": describe_machine(pick_device(device_name)),
        "python": platform.python_version(),
        "transformers": transformers.__version__,
        "git_commit": git_commit(),
    }
