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
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from config import SHAPE, PretrainConfig, UserError
from model.directory.storage import SUMMARY, explained, json_writer, replace_file
from tool.benchmarks.contenders import (
    SHAPES,
    ClockedJob,
    Contender,
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
    turn,
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
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The run for JSON; null stands for what a run that failed has not."""
        end = self.points[-1] if self.points else None
        return {
            "bits_per_byte": end and end.bits_per_byte,
            "seconds": end and end.seconds,
            "tokens": end and end.tokens,
            "learning_rates": {f"{rate:g}": finite(v) for rate, v in self.learning_rates.items()},
            "error": self.failure,
        }


def finite(value: float) -> float | None:
    """A number that JSON can hold, where null stands for a run that diverged."""
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
    contenders = [Contender("transformers", "float32", "sdpa")]
    if config.tuned:
        contenders.append(Contender("transformers tuned", dtype, "sdpa", tuned=True))
    calls = {c.name: partial(run_llama, c, config, shape, data) for c in contenders}
    calls[ETUDE] = partial(run_etude, config, shape, data)
    failures: dict[str, str] = {}
    done = dict(turn(calls, failures))
    runs = [done.get(name) or QualityRun(name, (), failure=failures[name]) for name in calls]
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
        max_length=SHAPES["T"].max_length,
    )


def run_llama(
    contender: Contender, config: TimeToQualityConfig, shape: Shape, data: TextData
) -> QualityRun:
    """transformers with the best of the learning rates."""
    name, tried = contender.name, dict[float, float]()
    jobs = {rate: make_job(contender, config, shape, data, rate) for rate in config.learning_rates}
    for rate, job in jobs.items():
        point = run_apart(train_llama, dataclasses.replace(job, minutes=config.tune_minutes))
        tried[rate] = point.bits_per_byte
        print(f"{name}, rate {rate:g}: {sentence(point)}", flush=True)
    best = min(tried, key=tried.__getitem__)
    point = run_apart(train_llama, jobs[best])
    print(f"{name}, rate {best:g}: {sentence(point)}", flush=True)
    if not math.isfinite(point.bits_per_byte):
        raise Failure(f"it diverged with a rate of {best:g}; try lower --learning_rates")
    return QualityRun(name, (point,), tried)


def make_job(
    contender: Contender, config: TimeToQualityConfig, shape: Shape, data: TextData, rate: float
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
    return ClockedJob(data, shape.model, contender, training, config.minutes, config.device)


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
    with TemporaryDirectory() as cache:
        variables = {"TORCHINDUCTOR_CACHE_DIR": cache}
        try:
            run_repository_script("train/train_pretrain.py", *arguments, environment=variables)
        except UserError as error:
            raise Failure(str(error)) from error
    measured = run_apart(measure_directory, directory, data, config.device)
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
    theirs, ours = run.points[-1], etude.points[-1]
    reached = [p.seconds for p in etude.points if p.bits_per_byte <= theirs.bits_per_byte]
    first = min(reached, default=None)
    return {
        "reached": ours.bits_per_byte <= theirs.bits_per_byte,
        "bits_per_byte_better": theirs.bits_per_byte - ours.bits_per_byte,
        "reached_after_seconds": first,
        "times_faster": theirs.seconds / first if first else None,
    }


def table(runs: Sequence[QualityRun], minutes: float) -> str:
    """The runs as a table, and the verdicts in words."""
    rows = [
        (run.name, f"{end.bits_per_byte:.4f}", f"{end.seconds:.0f} s", f"{end.tokens / 1e6:.2f}M")
        for run in runs
        if not run.failure
        for end in run.points[-1:]
    ]
    failures = {run.name: run.failure for run in runs if run.failure}
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
