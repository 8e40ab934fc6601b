"""On a CPU that other programs use, threads are gathered on half of the cores, and spread again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.train.conftest import Workspace
from train.run.cores import CROWDED, SCHEDULE, SharedCores, waited_s

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="threads are moved on Linux, between two cores or more",
)
CPU = torch.device("cpu")


class Clock:
    """Seconds that passed, and those of them in which the main thread waited for a core."""

    def __init__(self) -> None:
        self.now = self.waited = 0.0

    def step(self, shared: SharedCores, seconds: float, waiting: float) -> bool:
        """A training step that took so long and waited for this share of it."""
        self.now += seconds
        self.waited += seconds * waiting
        return shared.after_step()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock, mask, threads = Clock(), os.sched_getaffinity(0), torch.get_num_threads()
    monkeypatch.setattr("train.run.cores.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("train.run.cores.waited_s", lambda: clock.waited)
    torch.set_num_threads(2)
    yield clock
    torch.set_num_threads(threads)
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), mask)


def test_threads_gather_while_others_want_the_cores(clock: Clock) -> None:
    everywhere = os.sched_getaffinity(0)
    shared, end = SharedCores(CPU, 1), threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    assert other.native_id is not None
    assert not clock.step(shared, 2, waiting=0.1)  # a little is nothing
    assert not clock.step(shared, 0.5, waiting=0.9)  # as is a short time
    assert os.sched_getaffinity(0) == everywhere
    assert clock.step(shared, 2, waiting=0.6)
    assert len(os.sched_getaffinity(0)) == len(everywhere) // 2
    assert os.sched_getaffinity(other.native_id) == os.sched_getaffinity(0)
    assert not clock.step(shared, 1, waiting=0.9)  # time to look again
    assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == everywhere
    assert not clock.step(shared, 1, waiting=0.6)  # still the same busy time
    assert len(os.sched_getaffinity(0)) == len(everywhere) // 2
    assert not clock.step(shared, 1, waiting=0.9)  # now for two seconds
    assert len(os.sched_getaffinity(0)) == len(everywhere) // 2
    clock.step(shared, 1, waiting=0.9)
    assert not clock.step(shared, 1, waiting=0.0)
    assert os.sched_getaffinity(0) == everywhere
    assert not clock.step(shared, 1, waiting=0.6)  # another one: it has been said
    assert len(os.sched_getaffinity(0)) == len(everywhere) // 2
    shared.close()
    assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == everywhere
    end.set()
    other.join()


def test_what_somebody_else_decided_stays(clock: Clock) -> None:
    shared, everywhere = SharedCores(CPU, 1), os.sched_getaffinity(0)
    last = {max(everywhere)}
    os.sched_setaffinity(0, last)  # taskset -p, while it trains
    assert not any(clock.step(shared, 2, waiting=0.9) for _ in range(3))
    shared.close()
    assert os.sched_getaffinity(0) == last


@pytest.mark.parametrize("case", ["gpu", "processes", "thread", "core"])
def test_where_nothing_can_be_gathered_nothing_is_moved(clock: Clock, case: str) -> None:
    if case == "core":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1 if case == "thread" else 2)
    before = os.sched_getaffinity(0)
    device = torch.device("cuda" if case == "gpu" else "cpu")
    shared = SharedCores(device, 2 if case == "processes" else 1)
    assert not any(clock.step(shared, 2, waiting=0.9) for _ in range(3))
    assert os.sched_getaffinity(0) == before


def test_linux_counts_what_a_thread_waits() -> None:
    before = waited_s()
    assert SCHEDULE.exists()
    assert 0 <= before <= waited_s()


@pytest.mark.full
def test_a_busy_run_gives_the_same_weights(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With endless loops beside it it says so, and its files are those of a quiet run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    size = ("--hidden_size=128", "--intermediate_size=512", "--max_steps=150")
    quiet = workspace.run("pretrain", *size)
    assert quiet.returncode == 0, quiet.stderr
    count = 2 * len(os.sched_getaffinity(0))
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        busy = workspace.run("pretrain", *size, output="busy")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert busy.returncode == 0, busy.stderr
    assert CROWDED in busy.stdout
    for name in ("loss_log.jsonl", "model.safetensors"):
        same = [(workspace.path / run / name).read_bytes() for run in ("pretrain", "busy")]
        assert same[0] == same[1]
