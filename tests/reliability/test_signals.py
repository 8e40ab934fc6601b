"""R4: a signal in any phase of a run ends it within a step and a save, and loses no step."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model.directory.pretrained import load_pretrained
from tests.reliability.launcher import run_warm, start_cold
from tests.reliability.runs import LENGTH, Finished, Outcome, leftovers
from tests.reliability.trials import Trials
from tests.train.conftest import Workspace
from train.checkpoint import list_checkpoints

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R4"),
    pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals"),
]

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
PHASES = {
    "start-up": ("model.tokenizer", "EtudeTokenizer.load", 1, 1),
    "tokenise": ("model.tokenizer", "EtudeTokenizer.encode_batch", 1, 1),
    "train": ("train.step", "TrainingStep.__call__", 2, 40),
    "accumulate": ("torch", "Tensor.backward", 3, 80),
    "evaluate": ("train.trainer", "bits_per_byte", 1, 4),
    "sample": ("train.trainer", "generate_samples", 1, 4),
    "save": ("train.trainer", "save_checkpoint", 1, 9),
    "inside a save": ("safetensors.torch", "serialize_file", 1, 18),
}
"""Of each phase a function that runs in it, and from which to which call of it a signal is sent."""
BEFORE_TRAINING = ("start-up", "tokenise")


def strike(place: tuple[str, str], call: int, numbers: list[int], seen: Path) -> None:
    """Sends signals to this process when a function is called for the n-th time."""
    module, attribute = place
    owner: Any = importlib.import_module(module)
    *path, name = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = vars(owner)[name]
    function = original.__func__ if isinstance(original, classmethod) else original
    calls = 0

    def striking(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            log = Path("pretrain") / "loss_log.jsonl"
            seen.write_bytes(log.read_bytes() if log.exists() else b"")
            for number in numbers:
                os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    setattr(owner, name, classmethod(striking) if function is not original else striking)


def last_step(log: bytes) -> int:
    """The step of a log's last line."""
    return int(json.loads(log.splitlines()[-1])["step"]) if log else 0


def run_with(phase: str, finished: Finished) -> tuple[list[str], Outcome]:
    """The command of a run that has a phase, and how it must end."""
    accumulate = ["--gradient_accumulation_steps=2"] if phase == "accumulate" else []
    command = finished.workspace.command("pretrain", *LENGTH, *accumulate)
    return command, finished.outcomes["accumulated" if accumulate else "pretrain"]


def copy_before(phase: str, finished: Finished, path: Path) -> None:
    """A workspace in which a run will come to a phase."""
    finished.copy(path)
    if phase == "tokenise":
        shutil.rmtree(path / "cache")


@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_loses_no_step(
    trials: Trials, finished: Finished, tmp_path: Path, phase: str
) -> None:
    module, attribute, first, last = PHASES[phase]
    command, expected = run_with(phase, finished)
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=3, release=20))):
        path = tmp_path / str(n)
        copy_before(phase, finished, path)
        directory, seen = path / "pretrain", path / "seen.jsonl"
        name, call = SIGNALS[n % 3], draw.randint(first, last)
        number = signal.Signals[name]
        second = signal.Signals[draw.choice(SIGNALS)]  # an impatient second one changes nothing
        before = partial(strike, (module, attribute), call, [number, second], seen)
        code, output = run_warm(command, path, before)
        log = directory / "loss_log.jsonl"
        steps = last_step(log.read_bytes()) if log.exists() else 0
        more = steps - last_step(seen.read_bytes())
        saved = [int(p.name[5:]) for p in list_checkpoints(directory / "checkpoints")[:1]]
        if phase in BEFORE_TRAINING:
            stopped = {code, -code + 128} & {128 + number, 128 + second} and not saved
        else:
            stopped = code == 128 + number and saved == [steps] and more <= 1
        final, said = run_warm(command, path)
        same = final == 0 and Outcome.of(directory) == expected
        passed = bool(stopped) and same and "Traceback" not in output and not leftovers(directory)
        facts = {"phase": phase, "signals": [name, second.name], "call": call, "code": code}
        trials.record(seed, passed, **facts, steps_after=more, saved=saved, final_code=final)
        if not passed:
            print(output[-2000:], said[-2000:])
    trials.verdict()


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_from_outside_saves_a_model_that_can_be_loaded(
    trials: Trials, workspace: Workspace, name: str
) -> None:
    """The real thing, cold: no hook in the process."""
    number = signal.Signals[name]
    command = workspace.command("pretrain", "--max_steps=4000", "--save_steps=100000")
    directory = workspace.path / "pretrain"
    log = directory / "loss_log.jsonl"
    started = start_cold(command, workspace.path)
    while started.running() and (not log.exists() or log.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    started.send(number)
    started.send(number)
    code = started.wait()
    step = last_step(log.read_bytes())
    (saved,) = list_checkpoints(directory / "checkpoints")
    model, _ = load_pretrained(saved)  # a checkpoint is a model directory
    said = f"saved at step {step}" in started.output
    passed = code == 128 + number and saved.name == f"step-{step:08d}" and said
    passed = passed and model.config.hidden_size == 32
    trials.record("-", passed, phase="train, from outside", signals=[name, name], code=code)
    trials.verdict()


def interrupted(started_after_s: float, command: list[str], path: Path) -> tuple[int, str]:
    started = start_cold(command, path)
    time.sleep(started_after_s)
    started.send(signal.SIGINT)
    return started.wait(), started.output


def test_a_run_under_nohup_does_not_mind_a_hang_up(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    finished.copy(tmp_path)
    before = partial(be_under_nohup, tmp_path / "seen.jsonl")
    code, _ = run_warm(command, tmp_path, before)
    same = Outcome.of(tmp_path / "pretrain") == finished.outcomes["pretrain"]
    trials.record("-", code == 0 and same, phase="train, under nohup", signals=["SIGHUP"])
    trials.verdict()


def be_under_nohup(seen: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    strike(("train.step", "TrainingStep.__call__"), 10, [signal.SIGHUP], seen)


def test_ctrl_c_while_the_script_loads_is_not_lost_and_no_traceback(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    """But for the first tenth of a second, in which Python loads the command line itself."""
    command = finished.workspace.command("pretrain", *LENGTH)
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=4, release=40))):
        path = tmp_path / str(n)
        finished.copy(path)
        after = draw.uniform(0.1, 2.0)
        code, output = interrupted(after, command, path)
        told = "Traceback" not in output or "run_script(main)" not in output
        passed = code in (130, -signal.SIGINT) and told
        trials.record(seed, passed, phase="loading", after_s=round(after, 3), code=code)
        if not passed:
            print(output[-1500:])
    trials.verdict()
