"""How fast Etude trains, against transformers on the same machine in the same minutes.

Each contender has a process of its own, and they take turns at a few steps each, so that a machine
that slows down slows all of them. A speed is the median over all steps, a ratio the median of the
ratios of each round.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from config import DtypeName, UserError
from tool.benchmarks.contenders import Contender, Facts, SpeedJob, Stand, probe
from tool.benchmarks.llama_training import LlamaRecipe
from tool.benchmarks.machine import machine_sentence
from tool.benchmarks.own_process import Failure, OwnProcess, run_apart
from tool.benchmarks.shapes import SHAPES, Shape
from tool.settings import TrainingSpeedConfig
from train.run.plan import flops_per_token

EAGER = "transformers"
TUNED = "transformers tuned"
LOSS_TOLERANCE = 0.01
"""Largest difference of two contenders' first losses, as a share; short formats round."""


@dataclass(frozen=True)
class Result:
    """A contender's rounds at a shape."""

    contender: Contender
    shape: Shape
    rounds: tuple[tuple[float, ...], ...] = ()
    """Seconds of each step of each round."""
    facts: Facts | None = None
    failure: Failure | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """By the median of all measured steps; None where it failed."""
        return self.shape.tokens / self.step_seconds if self.facts and not self.failure else None

    @property
    def step_seconds(self) -> float:
        """The median of all measured steps."""
        return statistics.median(second for seconds in self.rounds for second in seconds)

    @property
    def is_tuned(self) -> bool:
        """Whether it is transformers, tuned."""
        return self.contender.llama is not None and self.contender.llama.tuned


def compare_training_speed(config: TrainingSpeedConfig) -> int:
    """Measures, prints a table for each shape and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: there is no such device.
    """
    probed = run_apart(probe, config.device, config.dtype)
    if isinstance(probed, Failure):
        raise UserError(f"the machine could not be measured: {probed.reason}")
    machine, dtype = probed
    print(machine_sentence(machine), flush=True)
    contenders = make_contenders(dtype, config.compile_modes)
    results = {name: run_rounds(name, contenders, config) for name in config.shapes}
    peaks = peak_flops([r for group in results.values() for r in group])
    for name, group in results.items():
        print(table(name, group, peaks))
    shapes = {name: shape_json(group, peaks) for name, group in results.items()}
    report = {
        "benchmark": "train",
        "machine": machine,
        "settings": dataclasses.asdict(config),
        "peak_flops": peaks,
        "shapes": shapes,
    }
    print(json.dumps(report))
    return int(any(result.failure for group in results.values() for result in group))


def make_contenders(dtype: DtypeName, compile_modes: Sequence[str]) -> list[Contender]:
    """All that are measured; of the tuned transformers, the fastest counts."""
    tuned = [
        Contender(
            f"{TUNED}, {attention} attention" + ("" if mode == "default" else f", {mode}"),
            dtype,
            LlamaRecipe(tuned=True, dtype=dtype, attention=attention, compile_mode=mode),
        )
        for mode in compile_modes
        for attention in ("sdpa", "eager")
    ]
    return [
        Contender(EAGER, "float32", LlamaRecipe()),
        *tuned,
        Contender("etude, adamw", dtype, optimizer="adamw"),
        Contender("etude, adamw, compiled whole", dtype, optimizer="adamw", whole=True),
        Contender("etude, muon", dtype, optimizer="muon"),
    ]


def run_rounds(
    name: str, contenders: Sequence[Contender], config: TrainingSpeedConfig
) -> list[Result]:
    """Lets the contenders take turns at a shape; one that failed is out."""
    results = [Result(contender, SHAPES[name]) for contender in contenders]
    with TemporaryDirectory() as caches, ExitStack() as processes:
        stands = []
        for place, result in enumerate(results):
            stand = OwnProcess(Stand, job_of(result, config, Path(caches) / str(place)))
            processes.callback(stand.close)
            stands.append(stand)
            warm = stand.ask("steps", config.warmup_steps)  # nobody else works while it compiles
            results[place] = extended(result, warm, keep=False)
            print(f"{name}: {result.contender.name} {told(results[place])}", flush=True)
        for _ in tqdm(range(config.rounds), f"{name}: rounds", leave=False, disable=None):
            for place, stand in enumerate(stands):
                if not results[place].failure:
                    results[place] = extended(results[place], stand.ask("steps", config.steps))
        for place, stand in enumerate(stands):
            if not results[place].failure:
                facts = stand.ask("facts")
                known = {"failure" if isinstance(facts, Failure) else "facts": facts}
                results[place] = dataclasses.replace(results[place], **known)
    return same_loss(results)


def job_of(result: Result, config: TrainingSpeedConfig, cache: Path) -> SpeedJob:
    """What a contender's process is told."""
    return SpeedJob(result.contender, result.shape, config.device, config.seed, str(cache))


def extended(result: Result, seconds: Any, keep: bool = True) -> Result:
    """A result after one more round, or after the failure of one."""
    if isinstance(seconds, Failure):
        return dataclasses.replace(result, failure=seconds)
    return dataclasses.replace(result, rounds=(*result.rounds, seconds)) if keep else result


def told(result: Result) -> str:
    """How a start went."""
    return f"failed: {result.failure.reason}" if result.failure else "is ready"


def same_loss(results: Sequence[Result]) -> list[Result]:
    """The results; one whose first loss is not that of the first contender failed, for it computes
    something else."""
    losses = [r.facts.first_loss for r in results if r.facts]
    if not losses:
        return list(results)
    expected, checked = losses[0], []
    for result in results:
        if result.facts:
            loss = result.facts.first_loss
            if abs(loss - expected) > LOSS_TOLERANCE * expected:
                told = f"its first loss is {loss:.4f}, not {expected:.4f}: not the same computation"
                result = dataclasses.replace(result, failure=Failure(told))
        checked.append(result)
    return checked


def peak_flops(results: Sequence[Result]) -> dict[str, float]:
    """Operations per second of a matrix product by format: the best that any run saw."""
    peaks: dict[str, float] = {}
    for result in results:
        if result.facts:
            dtype = result.contender.dtype
            peaks[dtype] = max(peaks.get(dtype, 0.0), result.facts.peak_flops)
    return peaks


def numbers(
    result: Result, results: Sequence[Result], peaks: Mapping[str, float]
) -> dict[str, Any]:
    """A contender's numbers, and its ratios to the others of its shape; null where one failed."""
    speed = result.tokens_per_second
    if speed is None or result.facts is None:
        assert result.failure
        return {"error": result.failure.reason}
    flops = speed * flops_per_token(result.shape.model, result.shape.max_length)
    return {
        "tokens_per_second": speed,
        "times_eager": ratio(result, [r for r in results if r.contender.name == EAGER]),
        "times_tuned": ratio(result, [r for r in results if r.is_tuned]),
        "flops": flops,
        "share_of_peak": flops / peaks[result.contender.dtype],
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


def shape_json(results: Sequence[Result], peaks: Mapping[str, float]) -> dict[str, Any]:
    """All of a shape."""
    return {
        "shape": dataclasses.asdict(results[0].shape),
        "contenders": {r.contender.name: numbers(r, results, peaks) for r in results},
    }


def table(name: str, results: Sequence[Result], peaks: Mapping[str, float]) -> str:
    """All of a shape, for people."""
    lines = [
        f"\nshape {name}: {results[0].shape.sentence()}",
        f"{'':38} {'tokens/s':>9} {'x eager':>8} {'x tuned':>8} {'TFLOP/s':>8} {'of peak':>8} "
        f"{'step':>8} {'optimizer':>9} {'first step':>10} {'memory':>8}",
    ]
    for result in results:
        found = numbers(result, results, peaks)
        if found["error"]:
            lines.append(f"{result.contender.name:38} failed: {found['error']}")
            continue
        lines.append(
            f"{result.contender.name:38} {found['tokens_per_second']:>9,.0f} "
            f"{shown(found['times_eager']):>8} {shown(found['times_tuned']):>8} "
            f"{found['flops'] / 1e12:>8.3f} {found['share_of_peak']:>8.0%} "
            f"{found['step_seconds']:>6.3f} s {found['optimizer_seconds']:>7.3f} s "
            f"{found['first_step_seconds']:>8.1f} s {found['memory_bytes'] / 1e9:>5.2f} GB"
        )
    of = ", ".join(f"{dtype} {peak / 1e12:.3f} TFLOP/s" for dtype, peak in peaks.items())
    return "\n".join([*lines, f"peak of a matrix product, measured in the same run: {of}"])


def shown(ratio: float | None) -> str:
    """A ratio for people."""
    return "-" if ratio is None else f"{ratio:.2f}"
