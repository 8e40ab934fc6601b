"""The demo runs its stages in order, stops where one stops, and continues there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import parse_config, parse_flags
from config import ROOT, TRAINING_DATA
from data_process.sample.build import (
    EVAL_FILE,
    RL_FILE,
    TOOL_EVAL_FILE,
    TOOL_SFT_FILE,
    TOOL_TEXT_FILE,
)
from data_process.sample.tool_use import all_tools
from inference.terminal.tool_calls import load_functions
from tool import demo
from tool.demo import DemoConfig, DemoStage, shown, tool_use
from tool.settings import EvaluateConfig


def test_every_stage_is_a_script_of_the_repository() -> None:
    for stage in demo.STAGES:
        arguments = stage.arguments(DemoConfig())
        assert (ROOT / arguments[0]).is_file()
        assert "{" not in " ".join(arguments)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_training_flags_are_valid_and_the_paths_fit_together(seed: int) -> None:
    config = DemoConfig(seed=seed)
    by_name = {stage.name: stage.arguments(config) for stage in demo.STAGES}
    tokenizer = parse_config(["tokenizer", "paths"], "", by_name["tokenizer"][2:])
    pretrain = parse_config(["model", "pretrain", "paths"], "", by_name["pretrain"][1:])
    sft = parse_config(["sft", "paths"], "", by_name["sft"][1:])
    grpo = parse_config(["grpo", "lora", "paths"], "", by_name["grpo"][1:])
    assert tokenizer.paths.tokenizer_dir == pretrain.paths.tokenizer_dir
    assert pretrain.paths.pretrained_model_dir == sft.paths.pretrained_model_dir
    assert sft.paths.sft_model_dir == grpo.paths.sft_model_dir
    assert ROOT / grpo.paths.grpo_model_dir == config.path("{grpo}")
    assert [pretrain.pretrain.seed, sft.sft.seed, grpo.grpo.seed] == [seed] * 3
    assert (ROOT / grpo.paths.rl_files[0]) == TRAINING_DATA / RL_FILE


def test_the_tools_of_the_sample_are_trained_measured_and_shown() -> None:
    config = DemoConfig()
    commands = {stage.name: stage.arguments(config) for stage in demo.STAGES}
    for name, file in (
        ("tokenizer", TOOL_TEXT_FILE),
        ("pretrain", TOOL_TEXT_FILE),
        ("sft", TOOL_SFT_FILE),
        ("examine", TOOL_EVAL_FILE),
        ("evaluate", TOOL_EVAL_FILE),
    ):
        assert (TRAINING_DATA / file).relative_to(ROOT).as_posix() in commands[name]
    for name in ("examine", "evaluate"):
        asked = parse_flags(EvaluateConfig(), "", commands[name][1:])
        assert ROOT / str(asked.questions) == TRAINING_DATA / EVAL_FILE
    rows = [{"value": 0.975, "low": 0.95, "high": 1.0, "records": n} for n in (200, 80)]
    line = tool_use({"files": rows})
    assert "97.5% of 200 (95%: 95.0% to 100.0%)" in line
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert shown({"role": "assistant", "content": "", "tool_calls": [call]}) == 'calls f({"a": 1})'
    assert shown({"role": "tool", "content": "7"}) == "7"
    tools = [tool["function"]["name"] for tool in all_tools()]
    assert load_functions(ROOT / demo.FUNCTIONS_FILE, all_tools()).keys() == set(tools)


def test_another_seed_shares_the_data_and_nothing_that_was_trained() -> None:
    ours, theirs = DemoConfig(), DemoConfig(seed=2)
    assert ours.report != theirs.report
    for stage in demo.STAGES[1:]:
        assert ours.path(stage.output) != theirs.path(stage.output)
    assert ours.path(demo.STAGES[0].output) == theirs.path(demo.STAGES[0].output)


@pytest.fixture
def two_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo of two scripts; the second fails until a file named ready exists."""
    (tmp_path / "first.py").write_text("open('first.done', 'a').write('x')", encoding="utf-8")
    (tmp_path / "second.py").write_text(
        "import os, sys\nsys.exit(0 if os.path.exists('ready') else 7)", encoding="utf-8"
    )
    stages = (
        DemoStage("first", "First", "first.py", "first.done"),
        DemoStage("second", "Second", "second.py", "second.py"),
    )
    monkeypatch.setattr(demo, "STAGES", stages)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "finish", lambda config, report: None)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    return tmp_path


def test_a_failing_stage_stops_the_demo_and_the_next_start_continues_there(
    two_stages: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert demo.main() == 7
    assert "run it again to continue" in capfd.readouterr().err
    (two_stages / "ready").touch()
    assert demo.main() == 0
    assert "done before" in capfd.readouterr().out
    assert (two_stages / "first.done").read_text(encoding="utf-8") == "x"  # ran once
    report = json.loads((two_stages / "weight" / "demo_report.json").read_text(encoding="utf-8"))
    assert report["done"] == ["first", "second"]


def test_a_stage_whose_output_is_gone_runs_again(two_stages: Path) -> None:
    (two_stages / "ready").touch()
    assert demo.main() == 0
    (two_stages / "first.done").unlink()
    assert demo.main() == 0
    assert (two_stages / "first.done").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_stage_that_is_told_to_stop_is_given_the_time_to_save(tmp_path: Path) -> None:
    """Ctrl-C goes to the demo and to its stage; the demo waits for the stage's own exit code."""
    (tmp_path / "slow.py").write_text(
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(1)\n    open('saved', 'w')\n    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\nopen('started', 'w')\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    code = (
        f"import subprocess, sys; sys.path.insert(0, {str(ROOT)!r}); from tool.demo import "
        f"wait_for;"
        "sys.exit(wait_for(subprocess.Popen([sys.executable, 'slow.py'])))"
    )
    demo_process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, start_new_session=True
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.02)
    os.killpg(demo_process.pid, signal.SIGINT)
    assert demo_process.wait(timeout=20) == 130
    assert (tmp_path / "saved").exists()
