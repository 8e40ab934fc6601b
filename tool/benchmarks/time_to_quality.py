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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from config import SHAPE, PretrainConfig, UserError
from model.directory.storage import SUMMARY, explained, json_writer, replace_file
from tool.benchmarks.contenders import (
    SHAPES,
    ClockedJob,
    LlamaRecipe,
    Point,
    Shape,
    TextData,
    measure_directory,
    probe,
    train_llama,
)
from tool.benchmarks.measuring import (
    Failure,
    aligned,
    run_apart,
    run_repository_script,
    train_tokenizer,
)
from tool.settings import TimeToQualityConfig
from train.run.logs import METRICS, read_log

SHARE = 1 / 3
"""Of transformers' time, what Etude gets."""
DEFAULTS = ("--preset", "nano")
"""Etude's recipe."""
ETUDE = "etude"


@dataclass(frozen=True)
class QualityRun:
    """A contender's run."""

    name: str
    points: tuple[Point, ...]
    """Measurements, the last one at the end; of transformers only that."""
    learning_rates: Mapping[float, float] = dataclasses.field(default_factory=dict)
    """Bits per byte of each rate that was tried."""
    failure: Failure | None = None

    @property
    def bits_per_byte(self) -> float:
        """At the end; infinite where it failed."""
        return math.inf if self.failure or not self.points else self.points[-1].bits_per_byte

    def to_json(self) -> dict[str, Any]:
        """The run for JSON, which has no infinity: null stands for a run that diverged."""
        end = self.points[-1] if self.points else None
        return {
            "bits_per_byte": finite(self.bits_per_byte),
            "seconds": end and end.seconds,
            "tokens": end and end.tokens,
            "learning_rates": {f"{rate:g}": finite(v) for rate, v in self.learning_rates.items()},
            "error": self.failure and self.failure.reason,
        }


def finite(value: float) -> float | None:
    """A number that JSON can hold."""
    return value if math.isfinite(value) else None


def compare(config: TimeToQualityConfig) -> int:
    """Trains both, prints the table and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: the data cannot be used, or an earlier comparison lies in the directory.
    """
    make_output_dir(config)
    machine, dtype = probe(config.device, "auto")
    shape, data = SHAPES["T"], prepare_data(config)
    recipes = {"transformers": LlamaRecipe()}
    if config.tuned:
        recipes["transformers tuned"] = LlamaRecipe(tuned=True, dtype=dtype)
    runs = [run_llama(name, recipe, config, shape, data) for name, recipe in recipes.items()]
    runs.append(run_etude(config, shape, data))
    report = {
        "benchmark": "quality",
        "machine": machine,
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "runs": {run.name: run.to_json() for run in runs},
        "verdicts": {run.name: verdict(run, runs[-1]) for run in runs[:-1]},
    }
    replace_file(config.output_dir / "time_to_quality.json", json_writer(report))
    print(table(runs, config.minutes))
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


def prepare_data(config: TimeToQualityConfig) -> TextData:
    """The texts under their tokenizer, which is trained where none is given.

    Raises:
        UserError: the tokenizer could not be trained.
    """
    tokenizer_dir = config.tokenizer_dir or train_tokenizer(
        config.output_dir / "tokenizer", config.pretrain_files, config.vocab_size
    )
    return TextData(
        files=config.pretrain_files,
        tokenizer_dir=tokenizer_dir,
        cache_dir=config.output_dir / "cache",
        validation_every=PretrainConfig.validation_every,
        max_length=SHAPES["T"].max_length,
    )


def run_llama(
    name: str, recipe: LlamaRecipe, config: TimeToQualityConfig, shape: Shape, data: TextData
) -> QualityRun:
    """transformers with the best of the learning rates."""
    tried: dict[float, float] = {}
    jobs = {rate: make_job(recipe, config, shape, data, rate) for rate in config.learning_rates}
    for rate, job in jobs.items():
        point = run_apart(train_llama, dataclasses.replace(job, minutes=config.tune_minutes))
        if isinstance(point, Failure):
            return QualityRun(name, (), tried, failure=point)
        tried[rate] = point.bits_per_byte
        print(f"{name}, rate {rate:g}: {sentence(point)}", flush=True)
    best = min(tried, key=tried.__getitem__)
    point = run_apart(train_llama, jobs[best])
    if isinstance(point, Failure):
        return QualityRun(name, (), tried, failure=point)
    print(f"{name}, rate {best:g}: {sentence(point)}", flush=True)
    diverged = Failure(f"it diverged with a rate of {best:g}; try lower --learning_rates")
    failure = None if math.isfinite(point.bits_per_byte) else diverged
    return QualityRun(name, (point,), tried, failure=failure)


def make_job(
    recipe: LlamaRecipe, config: TimeToQualityConfig, shape: Shape, data: TextData, rate: float
) -> ClockedJob:
    """A run of transformers for the whole time."""
    training = PretrainConfig(
        batch_size=config.batch_size,
        max_length=shape.max_length,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_ratio=config.warmup_ratio,
        min_lr_ratio=config.min_lr_ratio,
        seed=config.seed,
    )
    return ClockedJob(data, shape.model, recipe, training, config.minutes, config.device)


def sentence(point: Point) -> str:
    """A measurement in words."""
    return (
        f"{point.bits_per_byte:.4f} bits per byte after {point.seconds:.0f} s and "
        f"{point.tokens / 1e6:.2f}M tokens"
    )


def etude_arguments(config: TimeToQualityConfig, shape: Shape, data: TextData) -> list[str]:
    """The command line of Etude's run: the defaults, at this shape, in a share of the time."""
    flags: dict[str, object] = {
        **{name: getattr(shape.model, name) for name in SHAPE},
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
    """Etude's trainer, as its users run it, and its model measured again by the same code.

    It finds no compiled code of earlier runs: it must pay for compiling as a first run does.
    """
    directory = config.output_dir / ETUDE
    arguments = etude_arguments(config, shape, data)
    try:
        with TemporaryDirectory() as cache:
            variables = {"TORCHINDUCTOR_CACHE_DIR": cache}
            run_repository_script("train/train_pretrain.py", *arguments, environment=variables)
    except UserError as error:
        return QualityRun(ETUDE, (), failure=Failure(str(error)))
    measured = run_apart(measure_directory, directory, data, config.device)
    if isinstance(measured, Failure):
        return QualityRun(ETUDE, (), failure=measured)
    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    along = [
        Point(line["seconds"], line["tokens"], line["bits_per_byte"])
        for line in read_log(directory / METRICS)
        if "bits_per_byte" in line and line["step"] < summary["step"]
    ]
    end = Point(summary["seconds"], summary["tokens_seen"], measured)
    return QualityRun(ETUDE, (*along, end))


def verdict(run: QualityRun, etude: QualityRun) -> dict[str, Any] | None:
    """Whether Etude reached a run's bits per byte, when, and by how much; None where one failed."""
    if run.failure or etude.failure:
        return None
    reached = [p.seconds for p in etude.points if p.bits_per_byte <= run.bits_per_byte]
    first = min(reached, default=None)
    return {
        "reached": etude.bits_per_byte <= run.bits_per_byte,
        "bits_per_byte_better": run.bits_per_byte - etude.bits_per_byte,
        "reached_after_seconds": first,
        "times_faster": run.points[-1].seconds / first if first else None,
    }


def table(runs: Sequence[QualityRun], minutes: float) -> str:
    """The runs as a table, and the verdicts in words."""
    rows = [
        (run.name, f"{end.bits_per_byte:.4f}", f"{end.seconds:.0f} s", f"{end.tokens / 1e6:.2f}M")
        for run in runs
        if not run.failure
        for end in run.points[-1:]
    ]
    failures = {run.name: run.failure.reason for run in runs if run.failure}
    verdicts = [verdict_sentence(run, runs[-1], minutes) for run in runs[:-1]]
    found = aligned(("", "bits per byte", "time", "tokens"), rows, failures)
    return "\n".join(["", found, *verdicts])


def verdict_sentence(run: QualityRun, etude: QualityRun, minutes: float) -> str:
    """A verdict in words."""
    goal = f"{run.name} in a third of its {minutes:g} minutes"
    found = verdict(run, etude)
    if found is None:
        return f"{goal}: not known, for a run failed"
    better = found["bits_per_byte_better"]
    if not found["reached"]:
        return f"{goal}: not reached, {-better:.4f} bits per byte are missing"
    return (
        f"{goal}: reached, by {better:.4f} bits per byte; first after "
        f"{found['reached_after_seconds']:.0f} s, {found['times_faster']:.1f} times as fast"
    )
