"""R22: Ctrl-C is answered within a second, whatever a script is doing, and loses nothing."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from config import ROOT
from tests.reliability.launcher import Started, run_warm, start_cold, start_warm
from tests.reliability.runs import LENGTH, Finished, Outcome, leftovers
from tests.reliability.test_signals import PHASES, copy_before, run_with, strike
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R22"),
    pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals"),
]

LIMIT_S = 1.0
"""On a machine with nothing else to do."""
ANSWER = "stopping after this"
LOADED_S = 0.4
"""Seconds in which Python starts and loads the command line; Ctrl-C ends it as any program."""


def strain() -> float:
    """How much longer than alone work takes on this machine now, from 1."""
    wall, own = time.perf_counter(), time.thread_time()
    while time.thread_time() - own < 0.05:
        pass
    return max(1.0, (time.perf_counter() - wall) / 0.05)


@dataclass(frozen=True)
class Answer:
    """What came of a Ctrl-C."""

    code: int
    seconds: float
    """From the signal to the end, or to the words that it will come."""
    strain: float
    output: str

    def within_limit(self) -> bool:
        """Whether it was in time, and as documented."""
        no_traceback = "Traceback" not in self.output
        return self.code == 130 and no_traceback and self.seconds <= LIMIT_S * self.strain


def wait_for_answer(started: Started, sent_at: float, strained: float) -> Answer:
    """Waits for the end of a script, and notes when it first answered."""
    answered = None
    while started.running():
        if answered is None and ANSWER in started.output:
            answered = time.time()
        time.sleep(0.005)
    ended = time.time()
    code = started.wait()
    seconds = (answered or ended) - sent_at
    return Answer(code, seconds, max(strained, strain()), started.output)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_is_answered_in_every_phase_of_training(
    trials: Trials, finished: Finished, tmp_path: Path, phase: str
) -> None:
    module, attribute, first, last = PHASES[phase]
    command, expected = run_with(phase, finished)
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=1, release=5))):
        path = tmp_path / str(n)
        copy_before(phase, finished, path)
        seen, call = path / "seen.jsonl", draw.randint(first, last)
        before = partial(strike, (module, attribute), call, [signal.SIGINT], seen)
        strained = strain()
        started = start_warm(command, path, before)
        while started.running() and not seen.exists():
            time.sleep(0.001)
        answer = wait_for_answer(started, time.time(), strained)
        final, said = run_warm(command, path)
        same = final == 0 and Outcome.of(path / "pretrain") == expected
        passed = answer.within_limit() and same and not leftovers(path / "pretrain")
        facts = {"call": call, "code": answer.code, "seconds": round(answer.seconds, 3)}
        trials.record(seed, passed, phase=phase, **facts, strain=round(answer.strain, 2))
        if not passed:
            print(answer.output[-2000:], said[-2000:])
    trials.verdict()


def script(name: str, *flags: str) -> list[str]:
    return [sys.executable, str(ROOT / name), *flags]


TOKENIZER = script(
    "train/train_tokenizer.py",
    *("all", "--vocab_size=300", "--pretrain_files=many.jsonl", "--tokenizer_dir=made"),
)
MODEL = ("--model_dir=sft",)
OTHERS: dict[str, tuple[list[str], float]] = {
    "tokenizer": (TOKENIZER, 3.0),
    "clean_text": (
        script("data_process/clean_text.py", "many.jsonl", "--output=out.jsonl", "--workers=2"),
        3.0,
    ),
    "convert": (script("tool/convert_hf.py", *MODEL, "--output_dir=converted"), 6.0),
    "evaluate": (
        script("tool/evaluate.py", *MODEL, "--eval_files=many.jsonl", "--output_dir=evaluated"),
        4.0,
    ),
    "inference": (
        script("inference/inference.py", *MODEL, "--prompt=hi", "--max_tokens=60"),
        3.0,
    ),
    "serve": (script("inference/serve.py", *MODEL, "--port=0"), 6.0),
}
"""Other scripts, and for how many seconds they run about."""


@pytest.mark.parametrize("name", OTHERS)
def test_ctrl_c_is_answered_at_any_moment_of_a_script(
    trials: Trials, finished: Finished, tmp_path: Path, name: str
) -> None:
    command, lasts_s = OTHERS[name]
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=2, release=8))):
        path = tmp_path / str(n)
        finished.copy(path, "pretrain", "sft")
        (path / "many.jsonl").write_bytes((path / "texts.jsonl").read_bytes() * 100)
        strained = strain()
        started = start_cold(command, path)
        after = draw.uniform(LOADED_S, lasts_s) * strained
        time.sleep(after)
        over = not started.running()
        started.send(signal.SIGINT)
        answer = wait_for_answer(started, time.time(), strained)
        # A process that has done its work and is about to be gone has its own code.
        passed = answer.within_limit() or over or answer.code == 0
        facts = {"after_s": round(after, 3), "code": answer.code, "over": over}
        facts |= {"seconds": round(answer.seconds, 3), "strain": round(answer.strain, 2)}
        trials.record(seed, passed, phase=name, **facts)
        if not passed:
            print(answer.output[-2000:])
    trials.verdict()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler to compile with")
def test_ctrl_c_is_answered_while_the_first_step_is_compiled(
    trials: Trials, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH, "--compile")
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=1, release=12))):
        path = tmp_path / str(n)
        finished.copy(path)
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(path / "compiled"))
        strained = strain()
        started = start_cold(command, path)
        while started.running() and not (path / "compiled").is_dir():  # inductor has begun
            time.sleep(0.005)
        after = draw.uniform(0, 8.0)
        time.sleep(after)
        started.send(signal.SIGINT)
        answer = wait_for_answer(started, time.time(), strained)
        log = path / "pretrain" / "loss_log.jsonl"
        before_step_1 = not log.exists() or not log.read_bytes()
        passed = answer.within_limit() and not leftovers(path / "pretrain")
        facts = {"after_s": round(after, 3), "code": answer.code, "before_step_1": before_step_1}
        facts |= {"seconds": round(answer.seconds, 3), "strain": round(answer.strain, 2)}
        if n == 0:  # nothing of it is in the way of the next start
            final, _ = run_warm([*command, "--no_compile"], path)
            same = Outcome.of(path / "pretrain") == finished.outcomes["pretrain"]
            passed = passed and final == 0 and same
        trials.record(seed, passed, phase="compile", **facts)
        if not passed:
            print(answer.output[-2000:])
    trials.verdict()


def test_a_second_ctrl_c_leaves_at_once(trials: Trials, finished: Finished, tmp_path: Path) -> None:
    """In a step that takes long: the first one is answered, the second one ends it."""
    command = finished.workspace.command("pretrain", *LENGTH)
    finished.copy(tmp_path)
    started = start_warm(command, tmp_path, partial(step_slowly, tmp_path / "seen"))
    while started.running() and not (tmp_path / "seen").exists():
        time.sleep(0.01)
    strained = strain()
    started.send(signal.SIGINT)
    sent = time.time()
    while started.running() and ANSWER not in started.output and time.time() < sent + 20:
        time.sleep(0.005)
    first = time.time() - sent
    time.sleep(1.0)
    started.send(signal.SIGINT)
    again = time.time()
    code = started.wait()
    second = time.time() - again
    limit = LIMIT_S * max(strained, strain())
    passed = code == 130 and first <= limit and second <= limit
    facts = {"first_s": round(first, 3), "second_s": round(second, 3), "code": code}
    trials.record("-", passed, phase="a second Ctrl-C", **facts)
    trials.verdict()


def step_slowly(seen: Path) -> None:
    """Makes the third step last a minute in native code that hears no signal."""
    from train.step import TrainingStep

    original, calls = TrainingStep.__call__, 0

    def slow(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            seen.touch()
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
        return original(*args)  # type: ignore[arg-type]

    TrainingStep.__call__ = slow  # type: ignore[assignment]
