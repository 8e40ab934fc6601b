"""What a comparison of time to quality found: the verdict, the table, the files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.directory.storage import json_writer, replace_file, text_writer
from tool.benchmarks.clocked_training import Point
from tool.benchmarks.own_process import Failure
from tool.settings import TimeToQualityConfig


@dataclass(frozen=True)
class QualityRun:
    """A contender's run: its measurements, the last one at its end."""

    name: str
    points: tuple[Point, ...]
    learning_rates: Mapping[float, float] = dataclasses.field(default_factory=dict)
    """Bits per byte of each rate that was tried."""
    wall_seconds: float | None = None
    """Of the whole process, with imports and reading data; None where that is not counted."""
    failure: Failure | None = None

    @property
    def bits_per_byte(self) -> float:
        """At the end; infinite where it failed."""
        return math.inf if self.failure or not self.points else self.points[-1].bits_per_byte


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


def make_report(
    runs: Sequence[QualityRun], config: TimeToQualityConfig, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """All of it, for JSON."""
    etude = runs[-1]
    return {
        "benchmark": "quality",
        "machine": dict(machine),
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "runs": {run.name: run_json(run) for run in runs},
        "verdicts": {run.name: verdict(run, etude) for run in runs[:-1]},
    }


def run_json(run: QualityRun) -> dict[str, Any]:
    """A run, for JSON, which has no infinity: null stands for a run that diverged."""
    end = run.points[-1] if run.points else None
    return {
        "bits_per_byte": finite(run.bits_per_byte),
        "seconds": end and end.seconds,
        "tokens": end and end.tokens,
        "wall_seconds": run.wall_seconds,
        "learning_rates": {f"{rate:g}": finite(v) for rate, v in run.learning_rates.items()},
        "error": run.failure and run.failure.reason,
    }


def finite(value: float) -> float | None:
    """A number that JSON can hold."""
    return value if math.isfinite(value) else None


def write_results(directory: Path, runs: Sequence[QualityRun], report: Mapping[str, Any]) -> None:
    """Writes the report, and the curves of all runs, a measurement a line."""
    lines = [
        json.dumps(
            {"run": run.name, **dataclasses.asdict(p), "bits_per_byte": finite(p.bits_per_byte)}
        )
        for run in runs
        for p in run.points
    ]
    replace_file(directory / "curves.jsonl", text_writer("".join(f"{line}\n" for line in lines)))
    replace_file(directory / "time_to_quality.json", json_writer(dict(report)))


def table(runs: Sequence[QualityRun], config: TimeToQualityConfig) -> str:
    """All of it, for people."""
    etude = runs[-1]
    lines = [f"\n{'':20} {'bits per byte':>13} {'time':>9} {'tokens':>9}"]
    for run in runs:
        if run.failure:
            lines.append(f"{run.name:20} failed: {run.failure.reason}")
            continue
        end = run.points[-1]
        lines.append(
            f"{run.name:20} {end.bits_per_byte:>13.4f} {end.seconds:>7.0f} s "
            f"{end.tokens / 1e6:>7.2f} M"
        )
    if etude.wall_seconds is not None:
        lines.append(
            f"time: of transformers, training and compiling; of etude, also measuring and saving "
            f"(its whole process, imports and reading data included: {etude.wall_seconds:.0f} s)"
        )
    lines += [sentence(run, verdict(run, etude), config) for run in runs[:-1]]
    return "\n".join([*lines, f"curves: {config.output_dir / 'curves.jsonl'}"])


def sentence(run: QualityRun, judged: Mapping[str, Any] | None, config: TimeToQualityConfig) -> str:
    """A verdict in words."""
    goal = f"{run.name} in a third of its {config.minutes:g} minutes"
    if judged is None:
        return f"{goal}: not known, for a run failed"
    better = judged["bits_per_byte_better"]
    if not judged["reached"]:
        return f"{goal}: not reached, {-better:.4f} bits per byte are missing"
    return (
        f"{goal}: reached, by {better:.4f} bits per byte; first after "
        f"{judged['reached_after_seconds']:.0f} s, {judged['times_faster']:.1f} times as fast"
    )
