"""Starting the real scripts many times: cold, as a user does, or warm, forked from a process that
has imported torch already, which takes a tenth of the time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from config import ROOT

PRELOADED = (
    "tyro",
    "torch",
    "torch._dynamo",
    "train.trainer",
    "train.data.token_files",
    "train.data.packing",
    "train.evaluation",
    "train.stage",
    "model.directory.pretrained",
    "tests.reliability.launcher",
)
TIMEOUT_S = 120
Before = Callable[[], object]
"""Runs in the started process before the script: it installs faults or signals."""


@dataclass
class Started:
    """A running script."""

    process: ForkServerProcess | subprocess.Popen[bytes]
    output_file: Path

    def running(self) -> bool:
        """Whether it has not ended."""
        if isinstance(self.process, ForkServerProcess):
            return self.process.is_alive()
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """Sends a signal; one that has just ended does not mind."""
        assert self.process.pid is not None
        if self.running():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Waits for the end and returns the exit code, or minus the signal that killed it."""
        if isinstance(self.process, ForkServerProcess):
            self.process.join(TIMEOUT_S)
            code = self.process.exitcode
        else:
            code = self.process.wait(TIMEOUT_S)
        assert code is not None, f"still running after {TIMEOUT_S} s: {self.output}"
        return code

    @property
    def output(self) -> str:
        """Everything it has printed so far, errors included."""
        return self.output_file.read_text(encoding="utf-8")


def start_cold(command: Sequence[str], cwd: Path) -> Started:
    """Starts a command as a user does."""
    output = output_file(cwd)
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=None if sys.platform == "win32" else hear_signals,
        )
    return Started(process, output)


def hear_signals() -> None:
    """Undoes what the tests themselves may have been started with: nohup and shells' background
    jobs ignore signals, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_warm(command: Sequence[str], cwd: Path, before: Before | None = None) -> Started:
    """Starts a script in a fork of a process that has imported torch.

    Args:
        command: Python, the script, and its flags.
        cwd: where it stands.
        before: a function (or functools.partial) that can be found by its name.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    output = output_file(cwd)
    process = context.Process(target=be_script, args=(list(command[1:]), cwd, output, before))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the server imports before it is told sys.path
        process.start()
    return Started(process, output)


def run_warm(command: Sequence[str], cwd: Path, before: Before | None = None) -> tuple[int, str]:
    """Runs a script to its end; exit code and output."""
    started = start_warm(command, cwd, before)
    return started.wait(), started.output


def be_script(argv: list[str], cwd: Path, output: Path, before: Before | None) -> None:
    """Becomes a script: its folder, its command line, its output."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(cwd)
    sys.argv = argv
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # see hear_signals
    if before is not None:
        before()
    runpy.run_path(argv[0], run_name="__main__")


def output_file(cwd: Path) -> Path:
    """A new file for what a script prints."""
    path = cwd / "printed" / f"{time.monotonic_ns()}.txt"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path
