"""What a run does beside its steps: the plan, the clock, samples, metrics, the best checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tqdm import tqdm

from config import PretrainConfig, UserError
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from train.checkpoint import Identity, Progress, list_checkpoints, save_checkpoint
from train.data.batches import StreamRows
from train.distributed import World
from train.evaluation import ValidationGroup, sample_prompts
from train.run.limits import refuse_uneven_batch
from train.run.logs import BAR
from train.run.plan import flops_per_token


def log_of(workspace: Workspace, stage: str, name: str = "loss_log.jsonl") -> list[dict[str, Any]]:
    text = (workspace.path / stage / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_dry_run_prints_the_plan_and_writes_no_model(workspace: Workspace) -> None:
    done = workspace.run("pretrain", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "plan: 24 steps of 4 x 64 tokens" in done.stdout
    assert not (workspace.path / "pretrain").exists()


@pytest.mark.full
def test_max_minutes_ends_a_run_on_time_with_its_schedule_finished(workspace: Workspace) -> None:
    flags = ("--max_steps=1000000", "--max_minutes=0.15", "--save_steps=100000")
    done = workspace.run("pretrain", *flags)
    assert done.returncode == 0, done.stderr
    steps = [line for line in log_of(workspace, "pretrain", "metrics.jsonl") if "loss" in line]
    rates = [line["learning_rate"] for line in steps]
    assert len(rates) > 20
    assert rates[-1] < 0.15 * max(rates)  # nano's schedule ends at 0
    assert max(rates) == pytest.approx(0.004, rel=0.1)
    summary = json.loads((workspace.path / "pretrain" / "training_summary.json").read_text("utf-8"))
    assert summary["complete"]
    assert summary["seconds"] <= 9 * 1.2
    lines = log_of(workspace, "pretrain", "metrics.jsonl")
    evaluated = [line["step"] for line in lines if "bits_per_byte" in line]
    assert evaluated[-1] == steps[-1]["step"]  # the end is measured
    assert len(evaluated) < 1 + len(steps) // 8  # of those that --eval_steps asks for, some not
    assert "is complete" in workspace.run("pretrain", *flags).stdout


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_every_evaluation_logs_what_the_model_says(workspace: Workspace, stage: str) -> None:
    assert workspace.run("pretrain").returncode == 0
    if stage == "sft":
        assert workspace.run("sft").returncode == 0
    lines = log_of(workspace, stage)
    evaluated = [line["step"] for line in lines if "bits_per_byte" in line]
    samples = [line for line in lines if "samples" in line]
    assert [line["step"] for line in samples] == evaluated == [8, 16, 24]
    for line in samples:
        assert all(sample["prompt"] for sample in line["samples"])
    if stage == "sft":
        # The prompt is all that stands before the first answer.
        assert all("My name is" in s["prompt"] for line in samples for s in line["samples"])
        assert not any("Hello" in s["prompt"] for line in samples for s in line["samples"])


def test_a_samples_prompt_does_not_end_inside_a_character(tokenizer: EtudeTokenizer) -> None:
    for before in ("", "a", "ab"):
        ids = tokenizer.encode(before + "龘" * 30)  # an unknown character: three tokens each
        tokens = np.asarray([tokenizer.end_of_text_id, *ids], dtype=np.uint16)
        rows = StreamRows(len(ids), tokenizer.end_of_text_id, True, tokens, 1)
        (prompt,) = sample_prompts({"han": ValidationGroup(rows, 1)}, tokenizer, is_chat=False)
        assert 8 <= len(prompt) <= 10
        assert tokenizer.decode(prompt).endswith("龘")


@pytest.mark.full
def test_metrics_tell_speed_share_of_peak_memory_and_time(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    steps = [line for line in log_of(workspace, "pretrain", "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 25))
    for line in steps:
        assert line["tokens_per_second"] > 0
        assert 0 < line["share_of_peak"] < 1.5
        assert 0.05 < line["memory_gb"] < 4
    for name in ("seconds", "cpu_seconds"):
        times = [line[name] for line in steps]
        assert times == sorted(times)


@pytest.mark.full
def test_gradient_checkpointing_gives_the_same_losses(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    expected = log_of(workspace, "pretrain")
    flags = ("--gradient_checkpointing",)
    assert workspace.run("pretrain", *flags, output="recomputed").returncode == 0
    assert log_of(workspace, "recomputed") == expected


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    identity, tensors = Identity({}, {}), {"adamw.0.step": torch.zeros(1)}
    best_at = {1: None, 2: 1, 3: 1, 4: 1, 5: 1, 6: 5, 7: 5}
    kept = []
    for step, best in best_at.items():
        save_checkpoint(tmp_path, Progress(step), {}, tensors, identity, 2, best)
        kept.append([int(path.name[5:]) for path in list_checkpoints(tmp_path)])
    assert kept[3:] == [[4, 3, 1], [5, 4, 1], [6, 5], [7, 6, 5]]


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    config = PretrainConfig(batch_size=12, gradient_accumulation_steps=2)
    refuse_uneven_batch(config, World(size=3))
    with pytest.raises(UserError, match="use a multiple of 8"):
        refuse_uneven_batch(config, World(size=4))


def test_the_operations_of_a_token_are_counted_as_in_the_papers(model_config: Any) -> None:
    # 2 layers: q and o 32 x 32, k and v 32 x 16, three of 32 x 64; the head 32 x vocabulary.
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 32 * model_config.vocab_size
    attention = 6 * 2 * 32 * 100  # 6 * layers * hidden * length
    assert flops_per_token(model_config, 100) == 6 * weights + attention


def test_a_run_without_a_terminal_prints_its_loss_in_lines(workspace: Workspace) -> None:
    result = workspace.run("pretrain", "--max_steps=40")
    lines = re.findall(r"^step +(\d+) of 40  loss \d\.\d{3}  [\d,]+ tokens/s", result.stdout, re.M)
    assert [int(step) for step in lines] == [1, *range(2, 41, 2)]
    assert "\r" not in result.stdout + result.stderr
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_bar_shows_the_loss_on_narrow_terminals(columns: int) -> None:
    shown = tqdm.format_meter(
        123456,
        200000,
        3600.0,
        ncols=columns,
        prefix="pretrain loss 3.214",
        postfix="123,456 tok/s, 1.234 bpb",
        bar_format=BAR,
    )
    assert "loss 3.214" in shown
    assert "123456/200000" in shown
    assert len(shown) <= columns
