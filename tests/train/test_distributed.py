"""Several processes train as one does, agree on what to do, and none waits for a dead one (the
promises R7 and R8)."""

from __future__ import annotations

import os
import signal
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load

from config import PretrainConfig, UserError
from model.directory.pretrained import weights_of
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.launcher import start_cold
from tests.train import ranks
from tests.train.conftest import Workspace
from train import distributed
from train.data.batches import RowOrder, step_batches
from train.distributed import World, join_world, own_device

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


@pytest.mark.promise("R7")
@each_parallel
def test_processes_find_the_gradient_of_one(parallel: str) -> None:
    expected = ranks.gradients(World(), 1)
    for found in ranks.run(2, parallel, ranks.gradients, 2):
        assert_close(found, expected, 1e-6)


@pytest.mark.full
@each_parallel
def test_muon_and_adamw_take_the_steps_of_one_process(parallel: str) -> None:
    expected = ranks.trained(World(), 4)
    main, other = ranks.run(2, parallel, ranks.trained, 4)
    assert_close(main, expected, 1e-5)
    assert other == {}


def test_the_first_step_of_a_start_adds_up_as_every_other() -> None:
    assert all(ranks.run(3, "ddp", ranks.same_gradient_twice))


@pytest.mark.full
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


def test_the_reader_of_torchtitan_reads_a_model_directory(model_dir: Path, model: Etude) -> None:
    expected = weights_of(model)
    found = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}
    reader = HuggingFaceStorageReader(str(model_dir))  # type: ignore[no-untyped-call]
    load(found, storage_reader=reader, no_dist=True)
    assert_close(found, expected, 0.0)


@pytest.mark.full
@pytest.mark.promise("R8")
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


@pytest.mark.full
@pytest.mark.promise("R8")
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


@pytest.mark.full
@pytest.mark.promise("R7")
@pytest.mark.parametrize(("stage", "parallel"), [("pretrain", "ddp"), ("sft", "fsdp")])
def test_a_run_may_go_from_one_process_to_two_and_back(
    workspace: Workspace, stage: str, parallel: str
) -> None:
    if stage == "sft":
        ranks.train_to_end(workspace, 1, "pretrain", "pretrain")
    ranks.train_to_end(workspace, 1, stage, "undisturbed")
    flag = f"--parallel={parallel}"
    first = ranks.interrupt(
        workspace, ranks.start_training(workspace, 1, stage, "moved"), "moved", 12, 15
    )
    pair = ranks.start_training(workspace, 2, stage, "moved", flag)
    second = ranks.interrupt(workspace, pair, "moved", 32, signal.SIGKILL)
    assert (first, second) == ([143], [2, -signal.SIGKILL])
    assert "continuing at step" in pair[0].output
    ranks.train_to_end(workspace, 1, stage, "moved")
    expected, found = (
        ranks.steps_of(workspace.path / "undisturbed"),
        ranks.steps_of(workspace.path / "moved"),
    )
    assert len(expected) == len(found) == 50
    for before, now in zip(expected, found, strict=True):
        assert now["loss"] == pytest.approx(before["loss"], abs=1e-4)
        assert now["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-2)
        same = ("step", "tokens", "trained_tokens", "learning_rate")
        assert [now[name] for name in same] == [before[name] for name in same]


@pytest.mark.full
@pytest.mark.promise("R8")
@each_parallel
def test_two_processes_killed_and_continued_repeat_themselves_to_the_bit(
    workspace: Workspace, parallel: str
) -> None:
    flag = f"--parallel={parallel}"
    ranks.train_to_end(workspace, 2, "pretrain", "undisturbed", flag)
    pair = ranks.start_training(workspace, 2, "pretrain", "killed", flag)
    began = time.monotonic()
    codes = ranks.interrupt(workspace, pair, "killed", 25, signal.SIGKILL)
    assert codes == [2, -signal.SIGKILL]
    assert time.monotonic() - began < 30
    assert "process 0 of 2 lost contact" in pair[0].output
    ranks.train_to_end(workspace, 2, "pretrain", "killed", flag)
    for name in ("loss_log.jsonl", "model.safetensors"):
        expected = (workspace.path / "undisturbed" / name).read_bytes()
        assert (workspace.path / "killed" / name).read_bytes() == expected


@pytest.mark.full
@each_parallel
def test_a_signal_to_one_process_saves_and_ends_all(workspace: Workspace, parallel: str) -> None:
    pair = ranks.start_training(workspace, 2, "pretrain", "stopped", f"--parallel={parallel}")
    assert ranks.interrupt(workspace, pair, "stopped", 3, signal.SIGTERM) == [143, 143]
    step = ranks.steps_of(workspace.path / "stopped")[-1]["step"]
    assert f"stopped and saved at step {step} of 50" in pair[0].output
    assert pair[1].output == ""
    assert (workspace.path / "stopped" / "checkpoints" / f"step-{step:08d}").is_dir()


@pytest.mark.promise("R7")
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
    for process in ranks.start_training(workspace, 3, "pretrain", "uneven"):
        assert process.wait() == 2
        assert "use a multiple of 3" in process.output


@pytest.mark.promise("R8")
@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of torchrun in /proc")
def test_torchrun_ends_or_starts_again_when_a_process_dies_and_saves_when_stopped(
    workspace: Workspace,
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    length = ("--max_steps=4000", "--save_steps=5", "--eval_steps=100000")
    training = workspace.command("pretrain", *length, output="run")[1:]
    log = workspace.path / "run" / "loss_log.jsonl"

    once = start_cold(torchrun + training, workspace.path)
    ranks.wait_for_lines(log, 7, [once])
    began = time.monotonic()
    os.kill(ranks.children_of(once)[1], signal.SIGKILL)
    assert once.wait() == 1
    assert time.monotonic() - began < 30
    assert "lost contact" in once.output or "SIGTERM" in once.output

    again = start_cold([*torchrun, "--max-restarts=1", *training], workspace.path)
    ranks.wait_for_lines(log, ranks.steps_of(log.parent)[-1]["step"] + 5, [again])
    os.kill(ranks.children_of(again)[1], signal.SIGKILL)
    while again.output.count("continuing at step") < 2:
        assert again.running(), again.output
        time.sleep(0.05)
    continued = int(again.output.rpartition("continuing at step ")[2].split()[0].rstrip(",.;"))
    ranks.wait_for_lines(log, continued + 2, [again])  # before its first step there is no save
    again.send(signal.SIGTERM)
    assert again.wait() == 1
    step = ranks.steps_of(log.parent)[-1]["step"]
    assert f"stopped and saved at step {step} of 4000" in again.output
    assert (log.parent / "checkpoints" / f"step-{step:08d}").is_dir()
