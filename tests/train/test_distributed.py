"""Several processes train as one does, agree on what to do, and none waits for a dead one."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from config import UserError
from model.tokenizer import EtudeTokenizer
from tests.train import ranks
from train import distributed
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
