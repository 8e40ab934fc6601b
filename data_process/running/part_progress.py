"""A progress bar that looks at the parts that are done, wherever they are worked on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data_process.running.byte_bar import byte_bar
from data_process.running.tasks import Part, done_parts, part_counts

LOOK_S = 0.5
"""Seconds between two looks."""


@contextmanager
def progress_shown(title: str, work_dir: Path, parts: Sequence[Part]) -> Iterator[None]:
    """Shows bytes of input and records in parts that are done, when there is a terminal and it
    takes longer than a second."""
    done = set(done_parts(work_dir))
    with byte_bar(
        title, sum(part.size for part in parts) or None, sum(parts[number].size for number in done)
    ) as bar:
        if bar.disable:
            yield
            return
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(bar, work_dir, parts, done, ended))
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def watch(
    bar: tqdm[Any], work_dir: Path, parts: Sequence[Part], done: set[int], ended: threading.Event
) -> None:
    """Moves a bar until the work has ended."""
    begun, records = time.perf_counter(), 0
    while not ended.wait(LOOK_S):
        new = [number for number in done_parts(work_dir) if number not in done]
        done.update(new)
        records += sum(part_counts(work_dir, number)["in"] for number in new)
        speed = records / (time.perf_counter() - begun)
        bar.set_postfix_str(f"{len(done)}/{len(parts)} parts, {speed:,.0f} records/s", False)
        bar.update(sum(parts[number].size for number in new))
        bar.refresh()
