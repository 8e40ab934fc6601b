"""R11: work on data that was killed at any moment, any number of times, gives the same bytes, and
nothing that was finished is done twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import ROOT
from data_process.running.run import run_step
from data_process.running.step import done_parts
from data_process.running.work_dir import join_streams, remove_work_dir, work_dir_of
from data_process.running.workers import Execution
from tests.data_process.steps import COMMAND, Shout, make_input, shout
from tests.reliability.faults import DEATH, faults, in_a_child
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R11"),
    pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals, forks"),
]

KILLS_PER_WORK = 6
NAP_S = 0.06
"""What a part takes at least: kills then find some done, some begun, some waiting."""
MOMENTS = {"start": 0.5, "parts": 0.3, "parts again": 0.3, "end": 0.05}
"""What kills are aimed at, and the most seconds that they come after its first sign."""


def outputs(folder: Path) -> dict[str, bytes]:
    """All that the work leaves, by name; its own notes for the test aside."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name != "trace.txt"}


def do_all(folder: Path, step: Shout) -> None:
    """The whole work, in this process."""
    output = folder / "out.jsonl"
    work_dir = work_dir_of(output)
    run_step(step, work_dir, Execution(workers=1))
    join_streams(work_dir, "main", output)
    join_streams(work_dir, "x", folder / "x.jsonl")
    remove_work_dir(work_dir)


def clean_outputs(source: Path, folder: Path) -> dict[str, bytes]:
    """What one undisturbed run leaves."""
    folder.mkdir()
    do_all(folder, shout(source))
    return outputs(folder)


def begun_parts(folder: Path) -> list[int]:
    """The parts that were begun, in the order in which they were."""
    trace = folder / "trace.txt"
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return [int(line.split()[0]) for line in lines]


def kill_once(source: Path, folder: Path, moment: str, draw: random.Random) -> int | None:
    """Starts the command with two workers and kills it: how many parts it did again that were done,
    or None when it ended before."""
    work_dir = work_dir_of(folder / "out.jsonl")
    done, begun = done_parts(work_dir), len(begun_parts(folder))
    command = [*COMMAND, str(source), str(folder / "out.jsonl"), "2", "local", str(NAP_S)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if moment == "start" or (moment == "end" and (folder / "x.jsonl.tmp").exists()):
            break
        if moment.startswith("parts") and len(begun_parts(folder)) > begun:
            break
        time.sleep(0.001)
    time.sleep(draw.uniform(0, MOMENTS[moment]))
    process.kill()
    if process.wait() != -signal.SIGKILL:
        return None
    time.sleep(0.1)  # its workers see that it is gone, and go
    return len(set(begun_parts(folder)[begun:]) & set(done))


def test_killed_work_gives_the_same_bytes(trials: Trials, tmp_path: Path) -> None:
    source = make_input(tmp_path / "input.jsonl")
    expected = clean_outputs(source, tmp_path / "clean")
    wanted, count = trials.size(ci=4, release=60), 0
    for number, (seed, draw) in enumerate(trials.draws(wanted)):
        if count >= wanted:
            break
        folder = tmp_path / str(number)
        folder.mkdir()
        again, kills = 0, 0
        for moment in (list(MOMENTS) * 2)[: min(KILLS_PER_WORK, wanted - count)]:
            found = kill_once(source, folder, moment, draw)
            if found is None:
                break
            again, kills = again + found, kills + 1
        do_all(folder, shout(source))
        passed = outputs(folder) == expected and not again
        for kill in range(kills):
            trials.record(seed, passed, kill=kill, parts_done_again=again)
        count += kills
    trials.verdict()
    assert count >= wanted


def test_work_that_dies_at_any_operation_on_the_disk_gives_the_same_bytes(
    trials: Trials, memory_path: Path
) -> None:
    source = make_input(memory_path / "input.jsonl", records=12)
    expected = clean_outputs(source, memory_path / "clean")
    (memory_path / "count").mkdir()
    with faults("none", 0) as seen:
        do_all(memory_path / "count", shout(source))
    total = len(seen.names)
    wanted = trials.size(ci=16, release=total)
    for number, (seed, draw) in enumerate(trials.draws(wanted)):
        at = (number * total + total // 2) // wanted + 1
        share, folder = draw.random(), memory_path / str(number)
        folder.mkdir()
        code = in_a_child(lambda: die_at(at, share, folder, source))  # noqa: B023  # it runs now
        done = done_parts(work_dir_of(folder / "out.jsonl"))
        do_all(folder, shout(source, trace=folder / "trace.txt"))
        passed = outputs(folder) == expected and not set(begun_parts(folder)) & set(done)
        passed = passed and code == DEATH
        trials.record(seed, passed, operation=at, name=seen.names[at - 1], code=code)
    trials.verdict()


def die_at(operation: int, share: float, folder: Path, source: Path) -> None:
    """Does the work up to an operation on the disk, and dies there."""
    with faults("kill", operation, share):
        do_all(folder, shout(source))
