"""Which network learns most in equal minutes: a dense Llama, one with norms on queries and keys as
in Qwen3, or one with experts.

The networks first take turns at some training steps each. Then each trains for as many steps as fit
in the time of the dense one's, with a schedule of that length: what it learns depends on the steps
alone, so other work on the machine does not reach the result.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from config import PRESETS, DtypeName, UserError
from model.directory.storage import SUMMARY, explained, json_writer, read_object, replace_file
from tool.benchmarks.contenders import Contender, Shape, SpeedJob, probe
from tool.benchmarks.decoding_speed import DecodingJob, DecodingSpeed, measure_etude
from tool.benchmarks.measuring import (
    Failure,
    RemoteObject,
    aligned,
    chosen,
    run_repository_script,
    take_turns,
    train_tokenizer,
)
from tool.benchmarks.scaling import parameters_of
from tool.benchmarks.training_speed import Worker
from tool.settings import DecodingSpeedConfig, NetworksConfig

NETWORKS: dict[str, dict[str, Any]] = {
    "dense": {"use_qk_norm": False},
    "QK-norm": {"use_qk_norm": True},
    "QK-norm, heads of 128": {"use_qk_norm": True, "head_dim": 128},
    "QK-norm, 4 experts": {"use_qk_norm": True, "num_experts": 4},
    "QK-norm, 8 experts": {"use_qk_norm": True, "num_experts": 8},
}
"""Fields of a ModelConfig beside those of the preset. A token takes two experts of half the width:
as many weights as without them."""
DENSE = "dense"
NEVER = 1_000_000
"""A number that no run reaches, of steps or passes."""
WARMUP_STEPS = 3
"""Steps whose speed does not count; the first one compiles."""
HEAD = ("", "rate", "parameters", "speed", "steps", "bits per byte", "against dense", "seeds")
DECODING_HEAD = ("", "one answer", "8 at once", "reading a prompt")
FORMATS = ("float32", "int8")


@dataclass(frozen=True)
class Run:
    """A trained network."""

    network: str
    rate_factor: float
    seed: int
    steps: int
    bits_per_byte: float


def compare(config: NetworksConfig) -> int:
    """Measures speeds, trains what is not trained yet, prints tables and, last, all of it as one
    line of JSON.

    Raises:
        UserError: a run failed, or there is no network of a name.
    """
    chosen(config.networks, NETWORKS, "networks")
    names = [name for name in NETWORKS if name == DENSE or name in (config.networks or NETWORKS)]
    with explained(config.output_dir):
        config.output_dir.mkdir(parents=True, exist_ok=True)
    machine, dtype = probe(config.device, "auto")
    vocab_size = shape_of(config, DENSE).model.vocab_size
    tokenizer = train_tokenizer(config.output_dir / "tokenizer", config.pretrain_files, vocab_size)
    speed = relative_speeds(config, names, dtype)
    runs = [
        train(config, tokenizer, speed, name, factor, seed)
        for factor in config.rate_factors
        for seed in config.seeds
        for name in names
    ]
    print(table(config, speed["relative"], runs))
    decoding = decoding_speeds(config, names) if config.decoding_rounds else {}
    report = {
        "benchmark": "networks",
        "machine": machine,
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "speed": speed,
        "runs": [dataclasses.asdict(run) for run in runs],
        "decoding": decoding,
    }
    print(json.dumps(report))
    return 0


def shape_of(config: NetworksConfig, name: str) -> Shape:
    """A network at the preset's size, and its batch."""
    preset = PRESETS[config.preset]()
    model = dataclasses.replace(preset.model, **NETWORKS[name])
    return Shape(model, config.batch_size or preset.pretrain.batch_size, preset.pretrain.max_length)


def relative_speeds(
    config: NetworksConfig, names: Sequence[str], dtype: DtypeName
) -> dict[str, Any]:
    """Format of the products, and how many steps a network makes in the time of one of the dense
    one: the median over the rounds. What was measured is kept in the output directory.

    Raises:
        UserError: a network does not train.
    """
    path = config.output_dir / "speed.json"
    found: dict[str, Any] = {"dtype": dtype, "relative": {DENSE: 1.0}, "ratios": {}}
    if path.exists():
        found = read_object(path)
    new = [name for name in names if name not in found["relative"]]
    if new:
        rounds = step_seconds(config, [DENSE, *new], found["dtype"])
        for name in new:
            ratios = [a / b for a, b in zip(rounds[DENSE], rounds[name], strict=True)]
            found["ratios"][name] = ratios
            found["relative"][name] = statistics.median(ratios)
        replace_file(path, json_writer(found))
    return found


def step_seconds(
    config: NetworksConfig, names: Sequence[str], dtype: DtypeName
) -> dict[str, list[float]]:
    """The median step of each network in each round, in seconds of the processor, which other work
    hardly changes; they take turns, each in a process of its own."""
    rounds: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as processes:
        workers = {name: make_worker(config, name, dtype) for name in names}
        for worker in workers.values():
            processes.callback(worker.close)
        try:
            for name, worker in workers.items():  # nothing else runs while one compiles
                worker.call("steps", WARMUP_STEPS)
                print(f"{name} is ready", flush=True)
            for number in range(1, config.rounds + 1):
                for name, worker in workers.items():
                    seconds = worker.call("steps", config.speed_steps, time.process_time)
                    rounds[name].append(statistics.median(seconds))
                last = ", ".join(f"{name} {seconds[-1]:.3f} s" for name, seconds in rounds.items())
                print(f"round {number}: {last}", flush=True)
        except Failure as failure:
            raise UserError(f"speed of training: {failure}") from failure
    return rounds


def make_worker(config: NetworksConfig, name: str, dtype: DtypeName) -> RemoteObject:
    """A network in a process of its own."""
    contender = Contender(name, dtype, optimizer="muon")
    cache = str(config.output_dir / "compiled")
    job = SpeedJob(contender, shape_of(config, name), config.device, config.seed, cache)
    return RemoteObject(Worker, job)


def train(
    config: NetworksConfig,
    tokenizer: Path,
    speed: dict[str, Any],
    name: str,
    factor: float,
    seed: int,
) -> Run:
    """Trains one network by the trainer's own script, unless it is trained already.

    Raises:
        UserError: the run failed.
    """
    preset = PRESETS[config.preset]().pretrain
    steps = round(config.steps * speed["relative"][name])
    place = f"{name} {factor:g} {steps} {seed}".replace(",", "").replace(" ", "_")
    flags: dict[str, Any] = {
        **NETWORKS[name],
        "batch_size": shape_of(config, name).batch_size,
        "max_steps": steps,
        "num_train_epochs": NEVER,
        "eval_steps": NEVER,
        "save_steps": NEVER,
        "sample_tokens": 0,
        "validation_bytes": config.validation_bytes,
        "learning_rate": preset.learning_rate * factor,
        "muon_learning_rate": preset.muon_learning_rate * factor,
        "dtype": speed["dtype"],
        "device": config.device,
        "seed": seed,
        "tokenizer_dir": tokenizer,
        "cache_dir": config.output_dir / "cache",
        "pretrained_model_dir": config.output_dir / place,
    }
    given = [
        word
        for flag, value in flags.items()
        for word in ([switch(flag, value)] if isinstance(value, bool) else [f"--{flag}", value])
    ]
    run_repository_script(
        "train/train_pretrain.py",
        *("--preset", config.preset, *given, "--pretrain_files", *config.pretrain_files),
    )
    summary = read_object(config.output_dir / place / SUMMARY)
    return Run(name, factor, seed, steps, summary["bits_per_byte"]["all"])


def switch(name: str, on: bool) -> str:
    """A flag without a value."""
    return f"--{name}" if on else f"--no_{name}"


def table(config: NetworksConfig, relative: dict[str, float], runs: Sequence[Run]) -> str:
    """A row for each network and rate: mean and standard deviation over the seeds, and the mean
    difference to the dense network of the same rate and seed, with its standard error."""
    dense = {(r.rate_factor, r.seed): r.bits_per_byte for r in runs if r.network == DENSE}
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.network, run.rate_factor), []).append(run)
    rows = []
    for (name, factor), group in groups.items():
        shape = shape_of(config, name).model
        differences = [run.bits_per_byte - dense[factor, run.seed] for run in group]
        rows.append(
            (
                name,
                f"x {factor:g}",
                f"{parameters_of(shape, shape.vocab_size) / 1e6:.2f}M",
                f"{relative[name]:.3f}",
                str(group[0].steps),
                with_spread([run.bits_per_byte for run in group], ".4f", 1),
                "-" if name == DENSE else with_spread(differences, "+.4f", len(group)),
                str(len(group)),
            )
        )
    return aligned(HEAD, rows, {})


def with_spread(values: Sequence[float], kind: str, count: int) -> str:
    """A mean and its standard deviation: of the single value (count 1), or of the mean of so
    many."""
    mean = f"{statistics.mean(values):{kind}}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / count**0.5:.4f}"


def decoding_speeds(config: NetworksConfig, names: Sequence[str]) -> dict[str, Any]:
    """Tokens per second of the engine on random weights, and as multiples of the dense network's in
    the same format, printed as a table."""
    setup = DecodingSpeedConfig(device=config.device, seed=config.seed)
    calls = {
        f"{name}, {kind}": partial(
            measure_etude, DecodingJob(f"etude {kind}", "", setup, shape_of(config, name).model)
        )
        for kind in FORMATS
        for name in names
    }
    found, failures = take_turns(calls, config.decoding_rounds)
    rows = [
        (name, *map(decoding_cell, figures(speeds), figures(found[f"{DENSE}, {name.split()[-1]}"])))
        for name, speeds in found.items()
        if name not in failures
    ]
    print(aligned(DECODING_HEAD, rows, failures))
    return {name: [dataclasses.asdict(speed) for speed in speeds] for name, speeds in found.items()}


def figures(speeds: Sequence[DecodingSpeed]) -> list[tuple[float, ...]]:
    """Each figure of all rounds."""
    return list(zip(*map(dataclasses.astuple, speeds), strict=True))


def decoding_cell(own: Sequence[float], dense: Sequence[float]) -> str:
    """The median over the rounds; in brackets, that of the ratios of each round."""
    ratios = [a / b for a, b in zip(own, dense, strict=False)]
    return f"{statistics.median(own):,.0f} ({statistics.median(ratios):.2f}x)"
