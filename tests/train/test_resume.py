"""Interrupted equals uninterrupted: the promise R1 in small, with real processes and real kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.pretrained import load_pretrained
from model.storage import sha256_of
from tests.train.conftest import Workspace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def result(directory: Path) -> tuple[bytes, str]:
    """What must be the same: the loss log, byte for byte, and the final weights."""
    return (directory / "loss_log.jsonl").read_bytes(), sha256_of(directory / "model.safetensors")


def kill_when(command: list[str], cwd: Path, log: Path, lines: int, after: float) -> int:
    """Starts a run, waits until its loss log has some lines and a moment more, and kills it."""
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") >= lines:
                time.sleep(after)
                process.kill()
                break
            time.sleep(0.002)
        return process.wait()


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_resume_after_kill_gives_the_same_losses_and_weights(
    workspace: Workspace, stage: str
) -> None:
    assert workspace.run("pretrain").returncode == 0
    if stage == "sft":
        assert workspace.run("sft").returncode == 0
    expected = result(workspace.path / stage)
    assert expected[0].count(b"\n") == 24 + 3
    draw = random.Random(stage)
    killed = workspace.command(stage, output="killed")
    log = workspace.path / "killed" / "loss_log.jsonl"
    codes = [
        # Around every fifth step a save runs, so some of these land inside one.
        kill_when(killed, workspace.path, log, lines, draw.uniform(0, 0.03))
        for lines in (4, 11, 17)
    ]
    assert -signal.SIGKILL in codes
    final = workspace.run(stage, output="killed")
    assert final.returncode == 0, final.stderr
    assert result(workspace.path / "killed") == expected
    assert not list((workspace.path / "killed").rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_loses_no_step(workspace: Workspace, number: signal.Signals) -> None:
    command = workspace.command("pretrain", "--max_steps=4000", "--save_steps=100000")
    log = workspace.path / "pretrain" / "loss_log.jsonl"
    process = subprocess.Popen(
        command, cwd=workspace.path, stdout=subprocess.PIPE, encoding="utf-8"
    )
    while not log.exists() or log.read_bytes().count(b"\n") < 3:
        time.sleep(0.01)
    os.kill(process.pid, number)
    os.kill(process.pid, number)  # an impatient second one changes nothing
    output, _ = process.communicate()
    assert process.returncode == 128 + number
    steps = [json.loads(line)["step"] for line in log.read_text(encoding="utf-8").splitlines()]
    saved = workspace.path / "pretrain" / "checkpoints" / f"step-{steps[-1]:08d}"
    assert saved.is_dir()
    assert f"saved at step {steps[-1]}" in output
    model, _ = load_pretrained(saved)  # a checkpoint is a model directory
    assert model.config.hidden_size == 32


def test_a_finished_run_says_so_and_a_lost_model_is_written_again(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    expected = result(workspace.path / "pretrain")
    again = workspace.run("pretrain")
    assert (again.returncode, "is complete: 24 steps" in again.stdout) == (0, True)
    (workspace.path / "pretrain" / "model.safetensors").unlink()
    assert workspace.run("pretrain").returncode == 0
    assert result(workspace.path / "pretrain") == expected


def test_a_run_with_other_settings_or_data_is_refused_by_name(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    before = result(workspace.path / "pretrain")
    other = workspace.run("pretrain", "--learning_rate=0.01", "--seed=7")
    assert other.returncode == 2
    assert "learning_rate was 0.004 and is 0.01" in other.stderr
    assert "seed was 1 and is 7" in other.stderr
    texts = workspace.path / "texts.jsonl"
    texts.write_text(texts.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert "the data is another" in workspace.run("pretrain").stderr
    assert result(workspace.path / "pretrain") == before


def test_speed_and_safety_settings_may_change_between_two_starts(workspace: Workspace) -> None:
    assert workspace.run("pretrain", "--max_steps=24").returncode == 0
    directory = workspace.path / "pretrain"
    shutil.rmtree(directory / "checkpoints" / "step-00000024")
    (directory / "training_summary.json").unlink()
    changed = workspace.run("pretrain", "--save_steps=3", "--gradient_accumulation_steps=2")
    assert changed.returncode == 0, changed.stderr
    assert "continuing at step 20" in changed.stdout


def test_a_run_keeps_the_number_format_it_began_with(workspace: Workspace) -> None:
    assert workspace.run("pretrain", "--dtype=bfloat16").returncode == 0
    directory = workspace.path / "pretrain"
    expected = result(directory)
    shutil.rmtree(directory / "checkpoints" / "step-00000024")
    (directory / "training_summary.json").unlink()
    again = workspace.run("pretrain", "--dtype=auto")
    assert again.returncode == 0, again.stderr
    assert "bfloat16" in again.stdout
    assert result(directory) == expected
    refused = workspace.run("pretrain", "--dtype=float32")
    assert "dtype was bfloat16 and is float32" in refused.stderr


def test_a_model_of_another_origin_is_not_overwritten(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    directory = workspace.path / "pretrain"
    shutil.rmtree(directory / "checkpoints")
    before = result(directory)
    refused = workspace.run("pretrain", "--seed=5")
    assert refused.returncode == 2
    assert "seed was 1 and is 5" in refused.stderr
    (directory / "training_summary.json").unlink()
    assert "was not made by this run" in workspace.run("pretrain").stderr
    assert result(directory) == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    directory = workspace.path / "pretrain"
    expected = result(directory)
    (directory / "training_summary.json").unlink()
    newest, older = sorted((directory / "checkpoints").iterdir(), reverse=True)
    flip_a_bit(newest / "optimizer.safetensors")
    again = workspace.run("pretrain")
    assert again.returncode == 0, again.stderr
    assert f"{newest.name}/optimizer.safetensors is damaged" in again.stdout.replace("\\", "/")
    assert f"continuing at step {int(older.name[5:])}" in again.stdout
    assert result(directory) == expected


def test_when_every_checkpoint_is_damaged_the_run_is_refused(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    directory = workspace.path / "pretrain"
    (directory / "training_summary.json").unlink()
    for checkpoint in (directory / "checkpoints").iterdir():
        flip_a_bit(checkpoint / "model.safetensors")
    again = workspace.run("pretrain")
    assert again.returncode == 2
    assert "every checkpoint is damaged" in again.stderr


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
