"""What the tests of `train/distributed.py` run in several processes, and how they are started."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from config import ROOT, ModelConfig, PretrainConfig, UserError
from model.directory.pretrained import model_files
from model.transformer import Etude
from tests.reliability.launcher import PRELOADED, Started, start_warm
from tests.train.conftest import Workspace
from train import distributed
from train.checkpoint import (
    GUARD,
    Identity,
    Progress,
    optimizer_tensors,
    random_state,
    restore,
    save_checkpoint,
)
from train.distributed import World, clip_gradient, full_weights, join_world, no_sync, parallelize
from train.objective import SummedLoss
from train.optimizer import build_optimizers
from train.step import StepGuard

SHAPE = ModelConfig(101, 32, 72, 3, 4, 2, 64)
CONFIG = PretrainConfig(optimizer="muon", learning_rate=1e-3)
ROWS = 12
Job = Callable[[World, Any], Any]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rank_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in names.items()}}


def be_rank(rank: int, size: int, port: int) -> None:
    """Makes this process one of several."""
    os.environ.update(rank_environment(rank, size, port))


def work(
    place: tuple[int, int, int], parallel: Any, job: Job, given: Any, answers: Queue[Any]
) -> None:
    """A process's life: joins the others, does the job, answers with its result or its mistake."""
    be_rank(*place)
    torch.use_deterministic_algorithms(True)
    try:
        with join_world("cpu", parallel) as world:
            answers.put((place[0], portable(job(world, given))))
    except UserError as error:
        answers.put((place[0], str(error)))
        raise SystemExit(2) from error


def portable(result: Any) -> Any:
    """A result without tensors, whose memory would end with the process."""
    if isinstance(result, dict):
        return {name: portable(value) for name, value in result.items()}
    return result.detach().numpy() if isinstance(result, Tensor) else result


def start(
    size: int, parallel: str, job: Job, given: Any = None
) -> tuple[Sequence[ForkServerProcess], Queue[Any]]:
    """Starts a job in several processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, __name__])
    answers: Queue[Any] = context.Queue()
    port = free_port()
    processes = [
        context.Process(target=work, args=((rank, size, port), parallel, job, given, answers))
        for rank in range(size)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        for process in processes:
            process.start()
    return processes, answers


def run(size: int, parallel: str, job: Job, given: Any = None) -> list[Any]:
    """Runs a job in several processes; the results, by rank."""
    processes, answers = start(size, parallel, job, given)
    results = dict(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0, results
    return [results[rank] for rank in range(size)]


class Trainee:
    """A tiny model with all that a step needs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.model = Etude(SHAPE)
        self.model.initialize(torch.Generator().manual_seed(1))
        self.loss = SummedLoss(self.model)
        self.module = parallelize(self.loss, self.model, world)
        self.optimizers = build_optimizers(self.model, CONFIG)
        self.guard = StepGuard(CONFIG, SHAPE.vocab_size, torch.float32, world.device)

    def gradient_step(self, number: int, micro_batches: int = 2) -> Tensor:
        """The gradient of a step, clipped; its norm."""
        generator = torch.Generator().manual_seed(100 + number)
        ids = torch.randint(0, SHAPE.vocab_size, (ROWS, 16), generator=generator)
        count = ROWS // self.world.size
        mine = ids[self.world.rank * count : (self.world.rank + 1) * count]
        parts = mine.chunk(micro_batches)
        for index, part in enumerate(parts, start=1):
            with no_sync(self.module, last=index == len(parts)):
                loss = self.module(part, part, None)
                (loss * self.world.size / ids.numel()).backward()
        return clip_gradient(self.model, 0.5)

    def train(self, first: int, last: int) -> None:
        """Steps of a run."""
        for number in range(first, last):
            self.gradient_step(number)
            for optimizer in self.optimizers.values():
                optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer state, whole, on the main process."""
        return full_weights(self.model, self.world) | optimizer_tensors(self.optimizers, self.world)


def gradients(world: World, micro_batches: int) -> dict[str, Tensor]:
    """The clipped gradient of one step, whole, and its norm."""
    trainee = Trainee(world)
    norm = trainee.gradient_step(0, micro_batches)
    named = trainee.model.named_parameters()
    found = {n: distributed.full_tensor(p.grad).clone() for n, p in named if p.grad is not None}
    return {**found, "norm": norm}


def same_gradient_twice(world: World, given: None) -> bool:
    """Whether the first step of a start and a later one give the same bits."""
    trainee = Trainee(world)
    seen = []
    for _ in range(3):
        trainee.gradient_step(0)
        seen.append([p.grad.clone() for p in trainee.model.parameters() if p.grad is not None])
        trainee.module.zero_grad(set_to_none=True)
    return all(torch.equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))


def trained(world: World, steps: int) -> dict[str, Tensor]:
    """Weights and optimizer state after some steps."""
    trainee = Trainee(world)
    trainee.train(0, steps)
    return trainee.tensors()


def continued(world: World, given: tuple[Path, int, int, Any]) -> dict[str, Tensor]:
    """Trains from a saved step (0: from the start) to another, and saves there, as the trainer
    does."""
    directory, first, last, tokenizer = given
    trainee, identity = Trainee(world), Identity({}, {})
    if first:
        path = directory / f"step-{first:08d}"
        progress = restore(path, trainee.model, trainee.optimizers, trainee.guard)
        assert progress.step == first
    trainee.train(first, last)
    weights = full_weights(trainee.model, world)
    tensors = optimizer_tensors(trainee.optimizers, world)
    if world.is_main:
        files = model_files(SHAPE, weights, tokenizer, {}, is_chat=False)
        tensors |= random_state() | {GUARD: trainee.guard.state}
        save_checkpoint(directory, Progress(last), files, tensors, identity, save_total_limit=3)
    world.barrier()
    return trainee.tensors()


def agreement(world: World, _: None) -> tuple[bool, bool, Any, float]:
    """What the processes agree on."""
    total = world.sum(torch.tensor(float(world.rank + 1)))
    facts = {"rank": world.rank, "name": "步"}
    return world.any(world.rank == 1), world.any(False), world.same(facts), float(total)


def one_goes_first(world: World, path: Path) -> str:
    """What the others find, while the main process takes its time."""
    with distributed.main_first(world):
        if world.is_main:
            time.sleep(0.5)
            path.write_text("made", encoding="utf-8")
        return path.read_text(encoding="utf-8")


def one_dies(world: World, _: None) -> None:
    """The last process is killed in the middle of training."""
    trainee = Trainee(world)
    for step in range(1000):
        trainee.train(step, step + 1)
        if step == 3 and world.rank == world.size - 1:
            os.kill(os.getpid(), 9)


def one_hangs(world: World, _: None) -> None:
    """The last process does not answer."""
    impatient = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=1))
    world = dataclasses.replace(world, control=impatient)
    world.any(False)
    if world.rank == world.size - 1:
        time.sleep(600)
    world.any(False)


def start_training(
    workspace: Workspace, size: int, stage: str, output: str, *flags: str
) -> list[Started]:
    """Starts a stage of 50 steps in some processes, as torchrun does."""
    length = ("--max_steps=50", "--save_steps=10", "--batch_size=8")  # slow enough to interrupt
    command = workspace.command(stage, *length, *flags, output=output)
    port = free_port()
    places = [partial(be_rank, rank, size, port) for rank in range(size)]
    return [start_warm(command, workspace.path, place) for place in places]


def train_to_end(workspace: Workspace, size: int, stage: str, output: str, *flags: str) -> None:
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


def children_of(started: Started) -> list[int]:
    """The process ids of what a process has started."""
    threads = Path(f"/proc/{started.process.pid}/task")
    listed = " ".join(p.read_text(encoding="ascii") for p in threads.glob("*/children"))
    return [int(number) for number in listed.split()]
