"""R21: the screen decides nothing: whatever becomes of a script's output, its work is the same."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from config import ROOT
from tests.reliability.launcher import run_warm
from tests.reliability.runs import LENGTH, Finished, Outcome, leftovers
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R21"),
    pytest.mark.skipif(sys.platform != "linux", reason="closes descriptors, opens /dev/full"),
]

OPEN: list[object] = []
"""What must stay open as long as a disturbed script runs."""


def put(descriptor: int, *numbers: int) -> None:
    """Makes standard streams of this process write to a descriptor."""
    for number in numbers:
        os.dup2(descriptor, number)


def read_then_close(descriptor: int, most: int) -> None:
    """Reads some bytes, as `head` does, and leaves."""

    def read() -> None:
        left = most
        while left > 0:
            left -= len(os.read(descriptor, left))
        os.close(descriptor)

    threading.Thread(target=read, daemon=True).start()


def full(most: int) -> None:
    put(os.open("/dev/full", os.O_WRONLY), 1, 2)


def head(most: int) -> None:
    reader, writer = os.pipe()
    put(writer, 1, 2)
    os.close(writer)
    read_then_close(reader, most)


def unread(most: int) -> None:
    """A pager that nobody turns the pages of."""
    reader, writer = os.pipe()
    OPEN.append(reader)
    os.set_blocking(writer, False)
    while most:  # it holds something already, so that it is full soon
        try:
            os.write(writer, b"x")
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    put(writer, 1, 2)


def not_blocking(most: int) -> None:
    unread(most)
    os.set_blocking(1, False)


def terminal_closed(most: int) -> None:
    """After `disown`: no hang-up, but every write fails with EIO."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    master, slave = os.openpty()
    put(slave, 0, 1, 2)
    os.close(slave)
    read_then_close(master, most)


def closed(*numbers: int) -> Callable[[int], None]:
    return partial(close, numbers)


def close(numbers: tuple[int, ...], most: int) -> None:
    for number in numbers:
        os.close(number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


SCREENS: dict[str, Callable[[int], None]] = {
    "> /dev/full": full,
    "| head": head,
    "an unread pipe": unread,
    "an unread pipe that does not block": not_blocking,
    "the terminal is closed": terminal_closed,
    "2>&-": closed(2),
    ">&-": closed(1),
    "<&- >&- 2>&-": closed(0, 1, 2),
}


def draw_screen(number: int, draw: random.Random) -> tuple[str, Callable[[], None]]:
    """A screen, and how it is set up; where it is read at first, up to a byte that is drawn."""
    name = list(SCREENS)[number % len(SCREENS)]
    return name, partial(SCREENS[name], draw.randint(1, 1500))


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_training_ends_as_it_would_whatever_becomes_of_its_output(
    trials: Trials, finished: Finished, tmp_path: Path, stage: str
) -> None:
    command = finished.workspace.command(stage, *LENGTH)
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=8, release=32))):
        path = tmp_path / str(n)
        finished.copy(path, *(["pretrain"] if stage == "sft" else []))
        name, before = draw_screen(n, draw)
        code, output = run_warm(command, path, before)
        same = code == 0 and Outcome.of(path / stage) == finished.outcomes[stage]
        passed = same and not leftovers(path / stage) and "Traceback" not in output
        trials.record(seed, passed, screen=name, script=stage, code=code)
        if not passed:
            print(output[-2000:])
    trials.verdict()


DATA_SCRIPTS = {
    "clean_text": ["texts.jsonl", "--output", "out.jsonl", "--workers", "2"],
    "process_jsonl": ["shuffle", "texts.jsonl", "--output", "out.jsonl", "--seed", "3"],
}


@pytest.mark.parametrize("script", DATA_SCRIPTS)
def test_work_on_data_gives_the_same_bytes_whatever_becomes_of_its_output(
    trials: Trials, finished: Finished, tmp_path: Path, script: str
) -> None:
    place = str(ROOT / "data_process" / f"{script}.py")
    command = [sys.executable, place, *DATA_SCRIPTS[script]]
    expected = None
    count = trials.size(ci=4, release=18)
    for n, (seed, draw) in enumerate([("-", random.Random()), *trials.draws(count)]):
        path = tmp_path / str(n)
        finished.copy(path)
        name, before = draw_screen(n - 1, draw)
        code, output = run_warm(command, path, before if n else None)
        assert n or code == 0, output
        found = (path / "out.jsonl").read_bytes() if code == 0 else b""
        expected = found if expected is None else expected
        if n:
            passed = code == 0 and found == expected and "Traceback" not in output
            trials.record(seed, passed, screen=name, script=script, code=code)
    trials.verdict()
