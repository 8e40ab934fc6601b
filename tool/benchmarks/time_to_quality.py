"""Whether Etude's defaults reach in a third of the time what transformers + AdamW reaches.

transformers trains with each of some learning rates for a short time, and with the best one for
the whole time; its clock counts training and compiling, not measuring. Etude is the trainer as its
users run it; its clock counts everything from the first step on: compiling, measuring, saving.
Both are measured on the same records by the same code.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

from config import ROOT, DtypeName, PretrainConfig, UserError
from model.directory.storage import explained
from tool.benchmarks.clocked_training import (
    ClockedJob,
    Point,
    TextData,
    measure_directory,
    train_llama,
)
from tool.benchmarks.contenders import probe
from tool.benchmarks.llama_training import LlamaRecipe
from tool.benchmarks.machine import machine_sentence
from tool.benchmarks.own_process import Failure, run_apart
from tool.benchmarks.quality_report import QualityRun, make_report, table, write_results
from tool.benchmarks.shapes import SHAPES, Shape
from tool.settings import TimeToQualityConfig
from train.run.logs import METRICS, read_log

SHARE = 1 / 3
"""Of transformers' time, what Etude gets."""
DEFAULTS = ("--preset", "nano")
"""Etude's recipe."""
MEASUREMENTS = 10
"""Points on the curve of transformers' long run."""
ETUDE = "etude"


def compare_time_to_quality(config: TimeToQualityConfig) -> int:
    """Trains both, prints the table and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: the data cannot be used, or an earlier comparison lies in the directory.
    """
    make_output_dir(config)
    probed = run_apart(probe, config.device, "auto")
    if isinstance(probed, Failure):
        raise UserError(f"the machine could not be measured: {probed.reason}")
    machine, dtype = probed
    print(machine_sentence(machine), flush=True)
    shape, data = SHAPES["T"], prepare_data(config)
    recipes = {"transformers": LlamaRecipe()}
    if config.tuned:
        recipes["transformers tuned"] = tuned_recipe(dtype)
    runs = [run_llama(name, recipe, config, shape, data) for name, recipe in recipes.items()]
    runs.append(run_etude(config, shape, data))
    report = make_report(runs, config, machine)
    write_results(config.output_dir, runs, report)
    print(table(runs, config))
    print(json.dumps(report))
    return int(any(run.failure for run in runs))


def make_output_dir(config: TimeToQualityConfig) -> None:
    """Makes the directory; UserError where Etude's run would continue an earlier one in it."""
    directory = config.output_dir / ETUDE
    with explained(config.output_dir):
        config.output_dir.mkdir(parents=True, exist_ok=True)
    if directory.exists():
        raise UserError(
            f"{directory}: an earlier comparison lies there; remove it, or choose another "
            "--output_dir"
        )


def tuned_recipe(dtype: DtypeName) -> LlamaRecipe:
    """transformers, tuned."""
    return LlamaRecipe(tuned=True, dtype=dtype)


def prepare_data(config: TimeToQualityConfig) -> TextData:
    """The texts under their tokenizer, which is trained where none is given.

    Raises:
        UserError: the tokenizer could not be trained.
    """
    directory = config.tokenizer_dir
    if directory is None:
        directory = config.output_dir / "tokenizer"
        code = run_command(
            "train/train_tokenizer.py",
            *("train", "--vocab_size", config.vocab_size, "--tokenizer_dir", directory),
            *("--pretrain_files", *config.pretrain_files),
        )
        if code:
            raise UserError(f"the tokenizer could not be trained (exit code {code}); see above")
    return TextData(
        files=config.pretrain_files,
        tokenizer_dir=directory,
        cache_dir=config.output_dir / "cache",
        validation_every=PretrainConfig.validation_every,
        max_length=SHAPES["T"].max_length,
    )


def run_command(script: str, *arguments: object) -> int:
    """Runs one of the repository's scripts and returns its exit code. What it prints is shown.

    It finds no compiled code of earlier runs: it must pay for compiling as a first run does.
    """
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print(f"$ python {' '.join([script, *command[2:]])}", flush=True)
    with TemporaryDirectory() as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        return subprocess.run(command, env=environment, check=False).returncode


def run_llama(
    name: str,
    recipe: LlamaRecipe,
    config: TimeToQualityConfig,
    shape: Shape,
    data: TextData,
) -> QualityRun:
    """transformers with the best of the learning rates."""
    tried: dict[float, float] = {}
    for rate in config.learning_rates:
        short = make_job(recipe, config, shape, data, rate)
        short = dataclasses.replace(short, minutes=config.tune_minutes, measurements=1)
        points = run_apart(train_llama, short)
        if isinstance(points, Failure):
            return QualityRun(name, (), tried, failure=points)
        tried[rate] = points[-1].bits_per_byte
        print(f"{name}, rate {rate:g}: {told(points[-1])}", flush=True)
    best = min(tried, key=tried.__getitem__)
    points = run_apart(train_llama, make_job(recipe, config, shape, data, best))
    if isinstance(points, Failure):
        return QualityRun(name, (), tried, failure=points)
    print(f"{name}, rate {best:g}: {told(points[-1])}", flush=True)
    diverged = Failure(f"it diverged with a rate of {best:g}; try lower --learning_rates")
    failure = None if math.isfinite(points[-1].bits_per_byte) else diverged
    return QualityRun(name, tuple(points), tried, failure=failure)


def make_job(
    recipe: LlamaRecipe,
    config: TimeToQualityConfig,
    shape: Shape,
    data: TextData,
    learning_rate: float,
) -> ClockedJob:
    """A run of transformers for the whole time."""
    training = PretrainConfig(
        batch_size=config.batch_size,
        max_length=shape.max_length,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=config.warmup_ratio,
        min_lr_ratio=config.min_lr_ratio,
        seed=config.seed,
    )
    return ClockedJob(
        data, shape.model, recipe, training, config.minutes, MEASUREMENTS, config.device
    )


def told(point: Point) -> str:
    """A measurement in words."""
    return (
        f"{point.bits_per_byte:.4f} bits per byte after {point.seconds:.0f} s and "
        f"{point.tokens / 1e6:.2f}M tokens"
    )


def etude_arguments(config: TimeToQualityConfig, shape: Shape, data: TextData) -> list[str]:
    """The command line of Etude's run: the defaults, at this shape, in a share of the time."""
    model = shape.model
    flags: dict[str, object] = {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "max_length": shape.max_length,
        "max_minutes": config.minutes * SHARE,
        "device": config.device,
        "seed": config.seed,
        "tokenizer_dir": data.tokenizer_dir,
        "cache_dir": data.cache_dir,
        "pretrained_model_dir": config.output_dir / ETUDE,
    }
    given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [*DEFAULTS, *given, "--pretrain_files", *map(str, data.files)]


def run_etude(config: TimeToQualityConfig, shape: Shape, data: TextData) -> QualityRun:
    """Etude's trainer, as its users run it, and its model measured anew."""
    directory = config.output_dir / ETUDE
    began = time.perf_counter()
    code = run_command("train/train_pretrain.py", *etude_arguments(config, shape, data))
    wall = time.perf_counter() - began
    if code:
        failure = Failure(f"train/train_pretrain.py ended with exit code {code}; see above")
        return QualityRun(ETUDE, (), failure=failure)
    measured = run_apart(measure_directory, directory, data, config.device)
    if isinstance(measured, Failure):
        return QualityRun(ETUDE, (), failure=measured)
    summary = json.loads((directory / "training_summary.json").read_text(encoding="utf-8"))
    along = [
        Point(line["seconds"], line["tokens"], line["bits_per_byte"])
        for line in read_log(directory / METRICS)
        if "bits_per_byte" in line and line["step"] < summary["step"]
    ]
    end = Point(summary["seconds"], summary["tokens_seen"], measured)
    return QualityRun(ETUDE, (*along, end), wall_seconds=wall)
