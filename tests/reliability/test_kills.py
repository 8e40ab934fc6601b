"""R1: a run that was killed at any moment, any number of times, ends as if nothing had been."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability.launcher import Started, run_warm, start_cold, start_warm
from tests.reliability.runs import LENGTH, Finished, Outcome, leftovers
from tests.reliability.trials import Trials
from tests.train.conftest import Workspace
from train.checkpoint import list_checkpoints

pytestmark = [
    pytest.mark.promise("R1"),
    pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals"),
]

KILLS_PER_RUN = 10
SAVES_AIMED_AT = 4
"""Kills in a run that is there for its saves alone."""
MOMENTS = ("save", "step", "start", "save", "tokenise", "step", "save", "cold start")
"""Where kills are aimed, in turn; three of eight inside a save."""


@dataclass(frozen=True)
class Kill:
    """A kill that came in time."""

    moment: str
    after_s: float
    """Seconds between the sign that was waited for and the kill."""
    inside_save: bool
    """Whether a save lay there half written afterwards that had not lain there before."""


def lines_of(log: Path) -> int:
    """Lines that a log has by now."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def unfinished(directory: Path) -> set[tuple[Path, int]]:
    """Half-written saves of a checkpoint or of the finished model, with their times."""
    found = set()
    for path in (*(directory / "checkpoints").glob("*.tmp"), *directory.glob(".*")):
        with suppress(FileNotFoundError):  # finished at this moment
            found.add((path, path.stat().st_mtime_ns))
    return found


def sign_of(
    moment: str, workspace: Workspace, stage: str, draw: random.Random
) -> Callable[[], bool]:
    """What to wait for before the kill's own delay begins."""
    directory = workspace.path / stage
    if moment == "save":
        return lambda: bool(unfinished(directory))
    if moment == "tokenise":
        return lambda: any((workspace.path / "cache").glob("*.tmp"))
    if moment == "step":
        lines = lines_of(directory / "loss_log.jsonl") + draw.randint(1, 7)
        return lambda: lines_of(directory / "loss_log.jsonl") >= lines
    return lambda: True


LONGEST_DELAY_S = {
    "save": 0.008,
    "step": 0.03,
    "tokenise": 0.02,
    "start": 0.3,
    "cold start": 3.0,
}


def wait_until(reached: Callable[[], bool], started: Started) -> None:
    """Waits for a sign, or for the end of the process."""
    while started.running() and not reached():
        time.sleep(0.0003)


def kill_once(workspace: Workspace, stage: str, moment: str, draw: random.Random) -> Kill | None:
    """Starts the run and kills it at a moment; None when it ended before."""
    if moment == "tokenise":
        shutil.rmtree(workspace.path / "cache", ignore_errors=True)
    directory = workspace.path / stage
    before = unfinished(directory)
    reached = sign_of(moment, workspace, stage, draw)
    start = start_cold if moment == "cold start" else start_warm
    started: Started = start(workspace.command(stage, *LENGTH), workspace.path)
    if moment == "save":  # what the kill before this one left there goes first
        wait_until(lambda: not unfinished(directory), started)
    wait_until(reached, started)
    delay = draw.uniform(0, LONGEST_DELAY_S[moment])
    time.sleep(delay)
    started.send(signal.SIGKILL)
    code = started.wait()
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"ended with {code}: {started.output}")
    inside = bool(unfinished(directory) - before)
    return Kill(moment, round(delay, 4), inside) if code == -signal.SIGKILL else None


TAILS = (
    bytes(4096),
    b"\n" + bytes(512) + b"\n",
    b'{"step": 41, "lo',
    b"\xff\xfe{}\n",
    b'{"step"}\n[]\n',
)
"""What a power cut may leave after the last flush of a log: pages of zeros, halves, old content."""


def test_what_a_power_cut_leaves_at_the_end_of_a_log_does_not_matter(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    for number, tail in enumerate(TAILS):
        path = tmp_path / str(number)
        workspace = finished.copy(path, "pretrain")
        directory = path / "pretrain"
        (directory / "training_summary.json").unlink()
        shutil.rmtree(list_checkpoints(directory / "checkpoints")[0])
        for name in ("loss_log.jsonl", "metrics.jsonl"):
            with (directory / name).open("ab") as file:
                file.write(tail)
        code, _ = run_warm(workspace.command("pretrain", *LENGTH), path)
        same = code == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
        trials.record("-", same, moment="end of the logs", tail=repr(tail[:20]), final_code=code)
    trials.verdict()


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_a_killed_run_gives_the_same_losses_and_weights(
    trials: Trials, finished: Finished, tmp_path: Path, stage: str
) -> None:
    wanted, count, saves = trials.size(ci=12, release=150), 0, 0
    for number, (seed, draw) in enumerate(trials.draws(wanted)):
        if count >= wanted and saves >= count / 4:
            break
        # On a busy machine a save is over before it is seen more often: then more are aimed at.
        enough = count >= wanted
        moments = ("save",) * SAVES_AIMED_AT if enough else MOMENTS[number % 3 :] + MOMENTS
        most = SAVES_AIMED_AT if enough else min(KILLS_PER_RUN, wanted - count)
        path = tmp_path / str(number)
        workspace = finished.copy(path, *(["pretrain"] if stage == "sft" else []))
        kills = []
        for moment in moments:
            kill = kill_once(workspace, stage, moment, draw)
            kills += [kill] if kill else []
            if len(kills) == most:
                break
        code, _ = run_warm(workspace.command(stage, *LENGTH), path)
        directory = path / stage
        same = code == 0 and Outcome.of(directory) == finished.outcomes[stage]
        clean = same and leftovers(directory) == []
        for kill in kills:
            trials.record(seed, clean, stage=stage, **vars(kill), final_code=code)
        count, saves = count + len(kills), saves + sum(kill.inside_save for kill in kills)
    assert count >= wanted
    assert saves >= count / 4, f"only {saves} of {count} kills hit a save"
    trials.verdict()
