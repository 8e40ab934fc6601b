"""Memory and disk: compared with what a run wants before it starts, and explained when short."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from config import ModelConfig, PretrainConfig, SFTConfig, UserError
from tests.train.conftest import Workspace
from train import machine
from train.distributed import World
from train.machine import free_memory, refuse_full_disk
from train.run import limits
from train.run.limits import out_of_memory_explained, refuse_too_large

SMALL = ModelConfig(400, 32, 64, 2, 2, 1, 64)


def test_a_batch_that_cannot_fit_is_refused_with_the_pieces_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "free_memory", lambda device: (8 * 10**9, "are free"))
    huge = PretrainConfig(batch_size=1_000_000, max_length=64)
    with pytest.raises(UserError, match=r"GB and 8\.0 GB are free: use .*_steps (\d+) ") as caught:
        refuse_too_large(SMALL, huge, World())
    pieces = int(str(caught.value).split("_steps ")[1].split()[0])
    cut = PretrainConfig(batch_size=1_000_000, max_length=64, gradient_accumulation_steps=pieces)
    refuse_too_large(SMALL, cut, World())
    refuse_too_large(SMALL, PretrainConfig(max_length=64), World())
    refuse_too_large(SMALL, PretrainConfig(batch_size=1_000_000, dry_run=True), World())


def test_a_model_that_cannot_fit_is_refused_before_it_is_made() -> None:
    wide = ModelConfig(16_384, 1_000_000, 4_000_000, 100, 1_000, 1_000)
    with pytest.raises(UserError, match="not even one row at a time fits"):
        refuse_too_large(wide, SFTConfig(), World())


def control_group(path: Path, files: dict[str, object]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_text(f"{content}\n", encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts_without_what_can_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(machine, "CONTROL_GROUP_ROOT", tmp_path)
    free, _ = free_memory(torch.device("cpu"))
    assert free > 100_000_000
    if version == 2:
        control_group(tmp_path, {"memory.max": 5_000_000, "memory.current": 4_000_000})
        control_group(tmp_path, {"memory.stat": "anon 1\ninactive_file 1000000"})
    else:
        use = {"memory.limit_in_bytes": 5_000_000, "memory.usage_in_bytes": 4_000_000}
        stat = "inactive_file 7\ntotal_inactive_file 1000000"
        control_group(tmp_path / "memory", {**use, "memory.stat": stat})
    assert free_memory(torch.device("cpu")) == (2_000_000, "are left of the container's limit")
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    (tmp_path / "memory" / "memory.stat").unlink(missing_ok=True)
    assert free_memory(torch.device("cpu"))[0] > 100_000_000


def test_the_innermost_and_every_outer_control_group_bound_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CONTROL_GROUP_ROOT", tmp_path)
    monkeypatch.setattr(
        Path, "read_text", lambda *_, **__: "5:cpu:/x\n4:cpuset,memory:/a/b\n0::/c\n"
    )
    assert machine.control_groups("memory") == [
        tmp_path / "memory" / "a" / "b",
        tmp_path / "memory" / "a",
        tmp_path / "memory",
    ]
    assert machine.control_groups("") == [tmp_path / "c", tmp_path]


def test_a_full_disk_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    place = tmp_path / "not" / "there"
    refuse_full_disk(place, 10**9, "the model", "or not")
    with pytest.raises(UserError, match=r"there: the model need about 1\.5 GB and 1\.0 GB are"):
        refuse_full_disk(place, 1_500_000_000, "the model", "or not")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12_345))
    with pytest.raises(UserError, match=r"need about 3\.1 MB and 0\.0 MB are free there"):
        refuse_full_disk(place, 3_100_000, "the model", "or not")


@pytest.mark.parametrize(("steps", "there", "new"), [(100, 0, 4), (10, 0, 1), (100, 3, 1)])
def test_the_disk_must_hold_the_checkpoints_that_are_yet_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, there: int, new: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(limits, "refuse_full_disk", lambda *given: asked.append(given))
    for number in range(there):
        (tmp_path / "checkpoints" / f"step-{number:08d}").mkdir(parents=True)
    model = torch.nn.Linear(10, 100, bias=False)
    config = PretrainConfig(save_steps=10, save_total_limit=2)
    stage: Any = SimpleNamespace(config=config, output_dir=tmp_path, model=model)
    limits.refuse_without_room(stage, steps)
    assert asked[0][:3] == (
        tmp_path,
        new * 3 * 4_000 + 4_000,
        f"{new} checkpoints and the model",
    )


OUT_OF_MEMORY = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:20])
def test_running_out_of_memory_names_the_way_on(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "checkpoints" / "step-00000040").mkdir(parents=True)
    config = PretrainConfig(batch_size=8, gradient_accumulation_steps=2, max_length=64)
    with (
        pytest.raises(UserError, match=r"4 rows of 64 tokens.*_steps \(now 2.*step 40 is saved"),
        out_of_memory_explained(config, tmp_path),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), OSError(2, "no"), UserError("x")]
)
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(type(error), match=str(error.args[-1])),
        out_of_memory_explained(PretrainConfig(), tmp_path),
    ):
        raise error


@pytest.mark.full
def test_a_run_under_a_limit_of_memory_ends_with_one_sentence(workspace: Workspace) -> None:
    resource = pytest.importorskip("resource")
    for limit, sentence in ((3, "a step needs about"), (6, "out of memory: 16384 rows")):
        size = limit * 1_000_000_000
        done = subprocess.run(
            workspace.command("pretrain", "--batch_size=16384", "--sample_tokens=0"),
            cwd=workspace.path,
            capture_output=True,
            encoding="utf-8",
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_AS, (size, size)),
            check=False,
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert f"error: {sentence}" in done.stderr
        assert "--gradient_accumulation_steps" in done.stderr
