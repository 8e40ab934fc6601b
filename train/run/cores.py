"""Training on a CPU that other programs use too.

The threads of a step wait for each other after every product. With one on each core and another
program's thread on each core as well, each has its core half of the time, but both at once only a
quarter of it. Gathered on half of the cores they take turns there instead, the scheduler moves the
others away, and none waits for one that has no core. What is computed stays the same to the bit:
as many threads do the same shares.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import torch

WINDOW_S = 1.0
"""Shortest time over which waiting is measured."""
BUSY = 0.4
"""Share of that time that the main thread was ready and had no core: from here on others need the
cores."""
LONGEST_S = 8.0
"""Longest time on half of the cores before all are tried again."""
CROWDED = (
    "other programs want the processor: training keeps to half of its cores until they do not "
    "(slower, the same numbers)"
)
SCHEDULE = Path("/proc/self/schedstat")
THREADS = Path("/proc/self/task")


class SharedCores:
    """Puts the threads of this process on half of its cores while other programs want them. On
    Linux, in a run of one process on a CPU; elsewhere it does nothing."""

    def __init__(self, device: torch.device, world_size: int) -> None:
        self.cores: set[int] = set()
        """The cores that the process was given; empty: nothing is moved."""
        if device.type == "cpu" and world_size == 1 and SCHEDULE.exists():
            self.cores = os.sched_getaffinity(0)
        if len(self.cores) < 2 or torch.get_num_threads() < 2:
            self.cores = set()
        self.used, self.patience_s, self.gathered_before = self.cores, WINDOW_S, False
        self.since, self.waited = time.monotonic(), waited_s()

    def after_step(self) -> bool:
        """Looks at how long the main thread waited for a core, and moves the threads: together
        when it waited much, and apart after a while (1, 2, 4, 8 s) to look again.

        Returns:
            Whether they are together for the first time.
        """
        if not self.cores:
            return False
        now = time.monotonic()
        wide = self.used == self.cores
        if now - self.since < (WINDOW_S if wide else self.patience_s):
            return False
        share = (waited_s() - self.waited) / (now - self.since)
        gathered = False
        if not wide:
            self.move(self.cores)
            self.patience_s = min(2 * self.patience_s, LONGEST_S)
        elif share > BUSY:
            half = set(sorted(self.cores)[: len(self.cores) // 2])
            gathered = self.move(half) and not self.gathered_before
            self.gathered_before = True
        else:
            self.patience_s = WINDOW_S
        self.since, self.waited = time.monotonic(), waited_s()
        return gathered

    def move(self, cores: set[int]) -> bool:
        """Lets all threads of the process run on these cores alone; not where somebody else has
        decided since (taskset)."""
        if os.sched_getaffinity(0) != self.used:
            self.cores = self.used = set()
            return False
        for thread in THREADS.iterdir():
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(int(thread.name), cores)
        self.used = cores
        return True

    def close(self) -> None:
        """Gives all cores back to the threads."""
        if self.used != self.cores:
            self.move(self.cores)


def waited_s() -> float:
    """Seconds in which the main thread was ready to run and had no core; 0 where no one counts."""
    with suppress(OSError, ValueError, IndexError):
        return int(SCHEDULE.read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0
