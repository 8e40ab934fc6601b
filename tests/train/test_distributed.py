"""Several processes train as one does, agree on what to do, and none waits for a dead one (the
promises R7 and R8)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from config import PretrainConfig, UserError
from model.tokenizer import EtudeTokenizer
from tests.reliability.launcher import Started, start_cold, start_warm
from tests.train import ranks
from tests.train.conftest import Workspace
from train import distributed
from train.batches import RowOrder
from train.distributed import World, join_world, own_device
from train.prefetch import step_batches

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks processes")
each_parallel = pytest.mark.parametrize("parallel", ["ddp", "fsdp"])


def assert_close(found: dict[str, Any], expected: dict[str, Any], atol: float) -> None:
    """The same names, and nearly the same numbers."""
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(
            torch.as_tensor(found[name]), torch.as_tensor(tensor), rtol=0, atol=atol, msg=name
        )


@pytest.mark.parametrize("world_size", [None, "1"])
def test_one_process_makes_no_process_group(
    monkeypatch: pytest.MonkeyPatch, world_size: str | None
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    with join_world("cpu", "fsdp") as world:
        assert not dist.is_initialized()
        assert (world.rank, world.size, world.is_main, world.shards) == (0, 1, True, False)
        assert world.same({"a": 1}) == {"a": 1}
        assert world.any(True)
        assert not world.any(False)
        assert world.sum(torch.tensor(3)) == 3
        world.barrier()


@each_parallel
def test_processes_find_the_gradient_of_one(parallel: str) -> None:
    expected = ranks.gradients(World(), 1)
    for found in ranks.run(2, parallel, ranks.gradients, 2):
        assert_close(found, expected, 1e-6)


@each_parallel
def test_muon_and_adamw_take_the_steps_of_one_process(parallel: str) -> None:
    expected = ranks.trained(World(), 4)
    main, other = ranks.run(2, parallel, ranks.trained, 4)
    assert_close(main, expected, 1e-5)
    assert other == {}


def test_the_first_step_of_a_start_adds_up_as_every_other() -> None:
    assert all(ranks.run(3, "ddp", ranks.same_gradient_twice))


@each_parallel
def test_a_checkpoint_of_one_world_continues_in_another(
    parallel: str, tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    expected = ranks.trained(World(), 6)
    ranks.continued(World(), (tmp_path, 0, 2, tokenizer))
    ranks.run(2, parallel, ranks.continued, (tmp_path, 2, 4, tokenizer))
    found = ranks.continued(World(), (tmp_path, 4, 6, tokenizer))
    assert_close(found, expected, 1e-5)


def test_a_checkpoint_is_restored_to_the_bit(tmp_path: Path, tokenizer: EtudeTokenizer) -> None:
    expected = ranks.run(2, "fsdp", ranks.trained, 4)[0]
    ranks.run(2, "fsdp", ranks.continued, (tmp_path, 0, 2, tokenizer))
    found = ranks.run(2, "fsdp", ranks.continued, (tmp_path, 2, 4, tokenizer))[0]
    assert_close(found, expected, 0.0)


def test_processes_agree() -> None:
    for answer in ranks.run(2, "ddp", ranks.agreement):
        assert answer == (True, False, {"rank": 0, "name": "步"}, 3.0)


def test_what_one_process_makes_the_others_find(tmp_path: Path) -> None:
    assert ranks.run(2, "ddp", ranks.one_goes_first, tmp_path / "cache") == ["made", "made"]


@each_parallel
def test_a_killed_process_ends_the_others_with_a_hint(parallel: str) -> None:
    began = time.monotonic()
    (survivor, killed), answers = ranks.start(2, parallel, ranks.one_dies)
    rank, hint = answers.get(timeout=30)
    for process in (survivor, killed):
        process.join(30)
    assert time.monotonic() - began < 30
    assert (survivor.exitcode, killed.exitcode, rank) == (2, -signal.SIGKILL, 0)
    assert "process 0 of 2 lost contact" in hint
    assert "NCCL_SOCKET_IFNAME" in hint


def test_a_silent_process_ends_the_others_with_a_hint() -> None:
    (survivor, silent), answers = ranks.start(2, "ddp", ranks.one_hangs)
    try:
        rank, hint = answers.get(timeout=30)
        survivor.join(10)
        assert (survivor.exitcode, rank) == (2, 0)
        assert "one of them died or hangs" in hint
    finally:
        silent.kill()
        silent.join(10)


def test_every_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("auto") == torch.device("cuda:1")
    assert own_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES"):
        own_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--nproc-per-node 2"):
        own_device("cuda")


def test_a_mistake_of_ours_is_not_taken_for_a_lost_process() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), distributed.explained_loss(0, 2):
        torch.ones(2) + torch.ones(3)


def start_training(
    workspace: Workspace, size: int, stage: str, output: str, *flags: str
) -> list[Started]:
    """Starts a stage of 50 steps in some processes, as torchrun does."""
    length = ("--max_steps=50", "--save_steps=10", "--batch_size=16")  # slow enough to interrupt
    command = workspace.command(stage, *length, *flags, output=output)
    port = ranks.free_port()
    places = [partial(ranks.be_rank, rank, size, port) for rank in range(size)]
    return [start_warm(command, workspace.path, place) for place in places]


def train(workspace: Workspace, size: int, stage: str, output: str, *flags: str) -> None:
    """Runs a stage to its end."""
    for process in start_training(workspace, size, stage, output, *flags):
        assert process.wait() == 0, process.output


def interrupt(
    workspace: Workspace, started: list[Started], output: str, lines: int, number: int
) -> list[int]:
    """Sends a signal to the last process once the log has some lines; the exit codes of all."""
    log = workspace.path / output / "loss_log.jsonl"
    wait_for_lines(log, lines, started)
    started[-1].send(number)
    return [process.wait() for process in started]


def wait_for_lines(log: Path, lines: int, started: list[Started]) -> None:
    """Waits until a run has logged so much."""
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert all(process.running() for process in started), started[0].output
        time.sleep(0.005)


def steps_of(directory: Path) -> list[dict[str, Any]]:
    """The training lines of a run's log."""
    text = (directory / "loss_log.jsonl").read_text(encoding="utf-8")
    return [fields for fields in map(json.loads, text.splitlines()) if "loss" in fields]


@pytest.mark.parametrize(("stage", "parallel"), [("pretrain", "ddp"), ("sft", "fsdp")])
def test_a_run_may_go_from_one_process_to_two_and_back(
    workspace: Workspace, stage: str, parallel: str
) -> None:
    if stage == "sft":
        train(workspace, 1, "pretrain", "pretrain")
    train(workspace, 1, stage, "undisturbed")
    flag = f"--parallel={parallel}"
    first = interrupt(workspace, start_training(workspace, 1, stage, "moved"), "moved", 12, 15)
    pair = start_training(workspace, 2, stage, "moved", flag)
    second = interrupt(workspace, pair, "moved", 32, signal.SIGKILL)
    assert (first, second) == ([143], [2, -signal.SIGKILL])
    assert "continuing at step" in pair[0].output
    train(workspace, 1, stage, "moved")
    expected, found = steps_of(workspace.path / "undisturbed"), steps_of(workspace.path / "moved")
    assert len(expected) == len(found) == 50
    for before, now in zip(expected, found, strict=True):
        assert now["loss"] == pytest.approx(before["loss"], abs=1e-4)
        assert now["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-2)
        same = ("step", "tokens", "trained_tokens", "learning_rate")
        assert [now[name] for name in same] == [before[name] for name in same]


@each_parallel
def test_two_processes_killed_and_continued_repeat_themselves_to_the_bit(
    workspace: Workspace, parallel: str
) -> None:
    flag = f"--parallel={parallel}"
    train(workspace, 2, "pretrain", "undisturbed", flag)
    pair = start_training(workspace, 2, "pretrain", "killed", flag)
    began = time.monotonic()
    codes = interrupt(workspace, pair, "killed", 25, signal.SIGKILL)
    assert codes == [2, -signal.SIGKILL]
    assert time.monotonic() - began < 30
    assert "process 0 of 2 lost contact" in pair[0].output
    train(workspace, 2, "pretrain", "killed", flag)
    for name in ("loss_log.jsonl", "model.safetensors"):
        expected = (workspace.path / "undisturbed" / name).read_bytes()
        assert (workspace.path / "killed" / name).read_bytes() == expected


@each_parallel
def test_a_signal_to_one_process_saves_and_ends_all(workspace: Workspace, parallel: str) -> None:
    pair = start_training(workspace, 2, "pretrain", "stopped", f"--parallel={parallel}")
    assert interrupt(workspace, pair, "stopped", 3, signal.SIGTERM) == [143, 143]
    step = steps_of(workspace.path / "stopped")[-1]["step"]
    assert f"stopped and saved at step {step} of 50" in pair[0].output
    assert pair[1].output == ""
    assert (workspace.path / "stopped" / "checkpoints" / f"step-{step:08d}").is_dir()


def test_every_row_of_a_step_goes_to_one_process_in_the_same_order() -> None:
    order, rows = RowOrder(num_rows=20, batch_size=12, seed=3), NumberedRows()
    for step in range(4):
        for size, micro_batches in ((1, 1), (1, 3), (2, 2), (3, 4), (4, 1)):
            config = PretrainConfig(batch_size=12, gradient_accumulation_steps=micro_batches)
            worlds = [World(rank=rank, size=size) for rank in range(size)]
            parts = [step_batches(rows, order, config, world, step) for world in worlds]  # type: ignore[arg-type]
            assert {len(part) for part in parts} == {micro_batches}
            assert list(chain(*chain(*parts))) == order.rows_of(step)  # type: ignore[arg-type]


class NumberedRows:
    """Rows that are their own numbers."""

    def batch(self, chosen: list[int]) -> list[int]:
        return chosen


def test_a_batch_that_the_processes_cannot_share_is_refused(workspace: Workspace) -> None:
    for process in start_training(workspace, 3, "pretrain", "uneven"):
        assert process.wait() == 2
        assert "use a multiple of 3" in process.output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of torchrun in /proc")
def test_torchrun_ends_when_a_process_dies_and_saves_when_it_is_stopped(
    workspace: Workspace,
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    length = ("--max_steps=4000", "--save_steps=5", "--eval_steps=100000")
    command = torchrun + workspace.command("pretrain", *length, output="run")[1:]
    log = workspace.path / "run" / "loss_log.jsonl"

    killed = start_cold(command, workspace.path)
    wait_for_lines(log, 7, [killed])
    began = time.monotonic()
    os.kill(children_of(killed)[1], signal.SIGKILL)
    assert killed.wait() == 1
    assert time.monotonic() - began < 30
    assert "lost contact" in killed.output or "SIGTERM" in killed.output

    stopped = start_cold(command, workspace.path)
    wait_for_lines(log, steps_of(log.parent)[-1]["step"] + 5, [stopped])
    stopped.send(signal.SIGTERM)
    assert stopped.wait() == 1
    assert "continuing at step" in stopped.output
    step = steps_of(log.parent)[-1]["step"]
    assert f"stopped and saved at step {step} of 4000" in stopped.output
    assert (log.parent / "checkpoints" / f"step-{step:08d}").is_dir()


def children_of(started: Started) -> list[int]:
    """The process ids of what a process has started."""
    threads = Path(f"/proc/{started.process.pid}/task")
    listed = " ".join(p.read_text(encoding="ascii") for p in threads.glob("*/children"))
    return [int(number) for number in listed.split()]
