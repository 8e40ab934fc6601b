"""R20: saving a checkpoint at the default interval costs at most 3.5% of the time (the bound of
CheckFreq, FAST 2021)."""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config import PretrainConfig
from tests.reliability.launcher import run_warm
from tests.reliability.trials import Trials
from tests.train.conftest import Workspace

pytestmark = [pytest.mark.full, pytest.mark.promise("R20")]

MOST = 0.035
NANO = (
    "--hidden_size=192",
    "--intermediate_size=512",
    "--num_hidden_layers=4",
    "--num_attention_heads=3",
    "--num_key_value_heads=3",
    "--batch_size=16",
    "--max_length=256",
    "--eval_steps=1000",
    "--sample_tokens=0",
)
"""The preset's own shape and batch; the test's small vocabulary makes both the step and the save
smaller."""


def time_steps_and_saves(file: Path) -> None:
    """Notes how long each step and each save of this process's run takes."""
    from train.trainer import Run

    for name in ("train_step", "save"):
        setattr(Run, name, timed(getattr(Run, name), name, file))


def timed(method: Any, name: str, file: Path) -> Any:
    def run(*args: Any) -> Any:
        began = time.perf_counter()
        result = method(*args)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([name, time.perf_counter() - began]) + "\n")
        return result

    return run


def test_checkpoints_at_the_default_interval_cost_little(
    trials: Trials, workspace: Workspace
) -> None:
    for n, (seed, _) in enumerate(trials.draws(trials.size(ci=1, release=5))):
        file = workspace.path / f"times-{n}.jsonl"
        steps = trials.size(ci=9, release=30)
        flags = (*NANO, f"--max_steps={steps}", "--save_steps=3")
        command = workspace.command("pretrain", *flags, output=f"run-{n}")
        code, output = run_warm(command, workspace.path, partial(time_steps_and_saves, file))
        assert code == 0, output
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        step_s = statistics.median(s for name, s in lines if name == "train_step")
        save_s = statistics.median(s for name, s in lines if name == "save")
        cost = save_s / (PretrainConfig.save_steps * step_s)
        facts = {"step_s": round(step_s, 4), "save_s": round(save_s, 4), "cost": round(cost, 5)}
        trials.record(seed, cost <= MOST, **facts, saves=sum(n == "save" for n, _ in lines))
    trials.verdict()
