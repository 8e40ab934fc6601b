"""Training runs as series of numbers, read from their logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import UserError
from model.directory.storage import SUMMARY
from train.run.logs import LOSS_LOG, METRICS, read_log

Points = tuple[list[float], list[float]]
"""The x and the y of a curve."""


@dataclass(frozen=True)
class Run:
    """What one run wrote down."""

    label: str
    stage: str
    """pretrain, sft, ..."""
    lines: Sequence[dict[str, Any]]

    def series(self, against: str, field: str) -> Points:
        """A field against tokens or seconds, where a line has both; null (a step that was not
        finite) is left out."""
        chosen = [
            line
            for line in self.lines
            if line.get(field) is not None and line.get(against) is not None
        ]
        return [line[against] for line in chosen], [line[field] for line in chosen]

    def skipped(self, against: str) -> list[float]:
        """Where steps were skipped."""
        return [line[against] for line in self.lines if line.get("skipped") and against in line]


def read_runs(directories: Sequence[Path], labels: Sequence[str] = ()) -> list[Run]:
    """The runs of model directories, each under the label given for it, or the end of its path.

    Raises:
        UserError: one has no log, a damaged one, or one without a training step.
    """
    names = labels or distinct_names(directories)
    return [read_run(path, name) for path, name in zip(directories, names, strict=True)]


def read_run(directory: Path, label: str) -> Run:
    """One run: metrics.jsonl, or loss_log.jsonl where there is no other; raises as `read_runs`."""
    path = directory / METRICS
    if not path.is_file():
        path = directory / LOSS_LOG
    if not path.is_file():
        raise UserError(
            f"{directory}: there is no {METRICS} or {LOSS_LOG}; name the directory of a training "
            f"run"
        )
    lines = read_log(path)
    if not any("loss" in line for line in lines):
        raise UserError(f"{path}: the log holds no training step yet")
    return Run(label, stage_of(directory, lines), lines)


def stage_of(directory: Path, lines: Sequence[dict[str, Any]]) -> str:
    """The stage of a run: as its summary or a checkpoint's says, else told by whether the first
    step trained every token."""
    for path in [directory / SUMMARY, *sorted(directory.glob(f"checkpoints/*/{SUMMARY}"))]:
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["stage"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not written yet, or just being replaced
    first = next(line for line in lines if "loss" in line)
    everything = first["tokens"] / first["step"]
    return "pretrain" if first.get("trained_tokens", everything) == everything else "sft"


def distinct_names(directories: Sequence[Path]) -> list[str]:
    """The ends of paths, as short as tells them apart; etude_sft_model alone is called sft."""
    parts = [directory.resolve().parts for directory in directories]
    longest = max(map(len, parts))
    for depth in range(1, longest + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [name.removeprefix("etude_").removesuffix("_model") for name in names]
