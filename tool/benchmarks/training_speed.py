"""How fast Etude trains, against transformers on the same machine in the same minutes.

Each contender has a process of its own, and they take turns at a few steps each, so that a machine
that slows down slows all of them. A speed is the median over all steps, a ratio the median of the
ratios of each round.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from config import DtypeName
from data_process.running.step import progress
from model.device import pick_device
from tool.benchmarks.contenders import SHAPES, Contender, Shape, SpeedJob, build, probe
from tool.benchmarks.measuring import RemoteObject, aligned, chosen, turn
from tool.settings import TrainingSpeedConfig
from train.data.batches import Batch
from train.machine import matmul_speed, memory_in_use, peak_memory
from train.run.plan import flops_per_token

EAGER = "transformers"
LOSS_TOLERANCE = 0.01
"""Largest difference of two contenders' first losses, as a share; short formats round."""


@dataclass(frozen=True)
class Facts:
    """What a run gave beside the time of its steps."""

    first_step_seconds: float
    """The first step compiles."""
    memory_bytes: int
    """Largest resident memory of the process, or the largest allocation on a GPU."""
    first_loss: float
    """In nats, before anything was learnt: the same for all contenders."""
    peak_flops: float
    """Of a matrix product in the contender's format, measured after the steps."""


class Worker:
    """A contender in the process that it has for itself, trained some steps at a time."""

    def __init__(self, job: SpeedJob) -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = job.cache_dir
        self.job, self.device = job, pick_device(job.device)
        self.train = build(job, self.device)
        self.number = 0
        self.first_loss = self.first_seconds = 0.0

    def steps(
        self, count: int, clock: Callable[[], float] = time.perf_counter
    ) -> tuple[float, ...]:
        """Seconds of each of the next steps.

        Raises:
            ArithmeticError: a loss is not finite.
        """
        seconds = []
        for _ in range(count):
            batch = random_batch(self.job, self.number, self.device)
            synchronize(self.device)
            began = clock()
            loss = self.train(batch)
            synchronize(self.device)
            seconds.append(clock() - began)
            if not math.isfinite(float(loss)):
                raise ArithmeticError(f"the loss of step {self.number + 1} is not finite")
            if not self.number:
                self.first_loss, self.first_seconds = float(loss), seconds[0]
            self.number += 1
        return tuple(seconds)

    def facts(self) -> Facts:
        """All the rest, after the steps."""
        on_gpu = self.device.type == "cuda"
        return Facts(
            first_step_seconds=self.first_seconds,
            memory_bytes=memory_in_use(self.device) if on_gpu else peak_memory(),
            first_loss=self.first_loss,
            peak_flops=matmul_speed(self.device, getattr(torch, self.job.contender.dtype)),
        )


def random_batch(job: SpeedJob, number: int, device: torch.device) -> Batch:
    """A batch of random tokens; speed does not depend on what they say."""
    generator = torch.Generator().manual_seed(job.seed * 1_000_003 + number)
    size = (job.shape.batch_size, job.shape.max_length + 1)
    ids = torch.randint(0, job.shape.model.vocab_size, size, generator=generator)
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).to(device)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Result:
    """A contender's rounds at a shape."""

    contender: Contender
    shape: Shape
    rounds: tuple[tuple[float, ...], ...] = ()
    """Seconds of each step of each round."""
    facts: Facts | None = None
    failure: str | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """By the median of all measured steps; None where it failed."""
        return self.shape.tokens / self.step_seconds if self.facts and not self.failure else None

    @property
    def step_seconds(self) -> float:
        """The median of all measured steps."""
        return statistics.median(second for seconds in self.rounds for second in seconds)


def compare(config: TrainingSpeedConfig) -> int:
    """Measures, prints a table for each shape and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: there is no such device or contender.
    """
    machine, dtype = probe(config.device, config.dtype)
    known = {c.name: c for c in make_contenders(dtype, config.lora_rank)}
    contenders = [known[name] for name in chosen(config.contenders, known, "contenders")]
    results = {}
    for name in config.shapes:
        results[name] = run_rounds(name, contenders, config)
        print(table(name, results[name]), flush=True)
    shapes = {
        name: {
            "shape": dataclasses.asdict(group[0].shape),
            "contenders": {r.contender.name: numbers(r, group) for r in group},
        }
        for name, group in results.items()
    }
    report = {
        "benchmark": "train",
        "machine": machine,
        "settings": dataclasses.asdict(config),
        "shapes": shapes,
    }
    print(json.dumps(report))
    return int(any(result.failure for group in results.values() for result in group))


def make_contenders(dtype: DtypeName, lora_rank: int) -> list[Contender]:
    """All that are measured; of the tuned transformers, the faster one counts. With a rank, those
    that train adapters; none of them is tuned, for peft is not compiled."""
    if lora_rank:
        found = [Contender(EAGER, "float32", "sdpa", lora_rank=lora_rank)]
        if dtype != "float32":
            found.append(Contender(f"{EAGER}, {dtype}", dtype, "sdpa", lora_rank=lora_rank))
            found.append(Contender("etude, float32", "float32", lora_rank=lora_rank))
        return [*found, Contender(f"etude, {dtype}", dtype, lora_rank=lora_rank)]
    return [
        Contender(EAGER, "float32", "sdpa"),
        Contender("transformers tuned, sdpa attention", dtype, "sdpa", tuned=True),
        Contender("transformers tuned, eager attention", dtype, "eager", tuned=True),
        Contender("etude, adamw", dtype, optimizer="adamw"),
        Contender("etude, adamw, compiled whole", dtype, optimizer="adamw", whole=True),
        Contender("etude, muon", dtype, optimizer="muon"),
    ]


def run_rounds(
    name: str, contenders: Sequence[Contender], config: TrainingSpeedConfig
) -> list[Result]:
    """Lets the contenders take turns at a shape; one that failed is out."""
    shape = SHAPES[name]
    rounds: dict[str, list[tuple[float, ...]]] = {c.name: [] for c in contenders}
    failures: dict[str, str] = {}
    with TemporaryDirectory() as caches, ExitStack() as processes:
        workers = {}
        for place, contender in enumerate(contenders):
            cache = str(Path(caches) / str(place))
            job = SpeedJob(contender, shape, config.device, config.seed, cache)
            workers[contender.name] = RemoteObject(Worker, job)
            processes.callback(workers[contender.name].close)
        calls = {n: partial(w.call, "steps", config.warmup_steps) for n, w in workers.items()}
        for ready, _ in turn(calls, failures):  # nothing else runs while one compiles
            print(f"{name}: {ready} is ready", flush=True)
        calls = {n: partial(w.call, "steps", config.steps) for n, w in workers.items()}
        for _ in progress(range(config.rounds), f"{name}: rounds"):
            for measured, seconds in turn(calls, failures):
                rounds[measured].append(seconds)
        facts = dict(turn({n: partial(w.call, "facts") for n, w in workers.items()}, failures))
    return same_loss(
        [
            Result(c, shape, tuple(rounds[c.name]), facts.get(c.name), failures.get(c.name))
            for c in contenders
        ]
    )


def same_loss(results: Sequence[Result]) -> list[Result]:
    """The results; one whose first loss is not that of the first contender failed, for it computes
    something else."""
    expected = next((r.facts.first_loss for r in results if r.facts), 0.0)
    checked = []
    for result in results:
        loss = result.facts.first_loss if result.facts else expected
        if abs(loss - expected) > LOSS_TOLERANCE * expected:
            reason = f"its first loss is {loss:.4f}, not {expected:.4f}: not the same computation"
            result = dataclasses.replace(result, failure=reason)
        checked.append(result)
    return checked


def numbers(result: Result, results: Sequence[Result]) -> dict[str, Any]:
    """A contender's numbers, and its ratios to the others of its shape; null where one failed."""
    speed = result.tokens_per_second
    if speed is None or result.facts is None:
        return {"error": result.failure}
    flops = speed * flops_per_token(result.shape.model, result.shape.max_length)
    if result.contender.lora_rank:  # weights that stay take no gradient, a third of the products
        flops *= 2 / 3
    return {
        "tokens_per_second": speed,
        "times_eager": ratio(result, [r for r in results if r.contender.name == EAGER]),
        "times_tuned": ratio(result, [r for r in results if r.contender.tuned]),
        "flops": flops,
        "share_of_peak": flops / result.facts.peak_flops,
        "dtype": result.contender.dtype,
        "step_seconds": result.step_seconds,
        **dataclasses.asdict(result.facts),
        "all_step_seconds": [list(seconds) for seconds in result.rounds],
        "error": None,
    }


def ratio(result: Result, others: Sequence[Result]) -> float | None:
    """How many times as fast a contender is as the fastest of others: the median over the rounds;
    None where there is none."""
    fastest = max(others, key=lambda other: other.tokens_per_second or 0.0, default=None)
    if fastest is None or fastest.tokens_per_second is None:
        return None
    pairs = zip(result.rounds, fastest.rounds, strict=True)
    return statistics.median(statistics.median(b) / statistics.median(a) for a, b in pairs)


def table(name: str, results: Sequence[Result]) -> str:
    """The results at a shape as a table."""
    heads = ["tokens/s", "x eager", "x tuned", "TFLOP/s", "of peak", "step", "first step", "memory"]
    rows = [row(result, results) for result in results if not result.failure]
    failures = {r.contender.name: r.failure for r in results if r.failure}
    title = f"\nshape {name}: {results[0].shape.sentence()}\n"
    return title + aligned(["", *heads], rows, failures)


def row(result: Result, results: Sequence[Result]) -> tuple[str, ...]:
    """A contender's row of the table."""
    found = numbers(result, results)
    eager, tuned = found["times_eager"], found["times_tuned"]
    return (
        result.contender.name,
        f"{found['tokens_per_second']:,.0f}",
        "-" if eager is None else f"{eager:.2f}",
        "-" if tuned is None else f"{tuned:.2f}",
        f"{found['flops'] / 1e12:.3f}",
        f"{found['share_of_peak']:.0%}",
        f"{found['step_seconds']:.3f} s",
        f"{found['first_step_seconds']:.1f} s",
        f"{found['memory_bytes'] / 1e9:.2f} GB",
    )
