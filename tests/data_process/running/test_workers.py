"""Workers do every task once, and none outlives the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import ROOT, UserError
from data_process.running.workers import work_through

SCRIPT = """
import os, sys, time
from cli import run_script
from data_process.running.workers import work_through

def nap(seconds):
    os.write(1, b"begun\\n")  # at once, so that two workers cannot mix their lines
    time.sleep(seconds)
    os.write(1, b"done\\n")

def main():
    for _ in work_through(nap, [float(sys.argv[1])] * 2, 2):
        pass

if __name__ == "__main__":
    run_script(main)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def begun(tmp_path: Path, seconds: float) -> tuple[subprocess.Popen[str], list[int]]:
    """A process with two workers at work, and their ids."""
    (tmp_path / "naps.py").write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "naps.py", str(seconds)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout
    assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return process, [int(pid) for pid in children.read_text(encoding="ascii").split()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() and command(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.01)


def command(pid: int) -> bytes:
    """A process's command line; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_busy_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    process, children = begun(tmp_path, seconds=60)
    os.kill(process.pid, number)
    process.wait(timeout=10)
    wait_until_gone(children)
    _, errors = process.communicate()
    assert errors.strip() in ("", "stopped")


@linux
def test_ctrl_c_in_a_worker_is_left_to_the_parent(tmp_path: Path) -> None:
    process, children = begun(tmp_path, seconds=1)
    for pid in children:
        os.kill(pid, signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (0, "done\n" * 2, "")


def refuse_odd(number: int) -> None:
    if number % 2:
        raise UserError(f"{number} is odd")
    if number > 100:
        raise ValueError(number)


@pytest.mark.parametrize("workers", [1, 3])
def test_tasks_before_a_mistake_are_done_and_it_is_handed_back(workers: int) -> None:
    results = dict(work_through(refuse_odd, [0, 2, 4, 5, *[6] * 5_000, 8], workers))
    assert str(results.pop(5)) == "5 is odd"
    assert set(results.values()) == {None}
    assert {0, 2, 4} <= set(results) <= {0, 2, 4, 6}  # 8 was not begun


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_that_is_not_the_users_is_raised(workers: int) -> None:
    with pytest.raises(ValueError, match="102"):
        list(work_through(refuse_odd, [0, 102, 4, 6], workers))
