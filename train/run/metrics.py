"""What a run writes down: two logs of one JSON object a line.

`loss_log.jsonl` holds what is exact (step, loss, gradient norm, bits per byte, samples): it is
byte-identical however often the run was interrupted. `metrics.jsonl` holds the same and what
depends on the machine: tokens per second, the share of the matrix-product peak that they use,
memory, and seconds of training over all starts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from model.directory.storage import explained, replace_file, text_writer
from train.run.log_lines import LOSS_LOG, METRICS
from train.run.writers import MetricsWriter


class RunLog:
    """The two logs of a run, continued at a step, and where else its metrics go."""

    def __init__(self, directory: Path, step: int, writers: Sequence[MetricsWriter] = ()) -> None:
        """Opens the logs and takes away what was written after the checkpoint of `step`: every
        training line beyond it, and an evaluation at it, which is made again."""
        self.directory, self.writers = directory, writers
        self.evaluations: dict[int, float] = {}
        """Bits per byte by step."""
        self.files: dict[str, IO[str]] = {}
        for name in (LOSS_LOG, METRICS):
            path = directory / name
            if path.exists():
                kept = kept_lines(path, step)
                self.evaluations.update(evaluations_of(kept))
                replace_file(path, text_writer("".join(kept)))
            self.files[name] = path.open("a", encoding="utf-8", newline="\n")

    def write(self, exact: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> None:
        """Appends one line to both logs."""
        if "bits_per_byte" in exact:
            self.evaluations[exact["step"]] = exact["bits_per_byte"]
        lines = {LOSS_LOG: dict(exact), METRICS: {**exact, **(measured or {})}}
        with explained(self.directory):
            for name, fields in lines.items():
                self.files[name].write(json.dumps(fields, ensure_ascii=False) + "\n")
                self.files[name].flush()
        for writer in self.writers:
            writer.write(lines[METRICS])

    def best_step(self) -> int | None:
        """The step with the fewest bits per byte so far."""
        return min(self.evaluations, key=self.evaluations.__getitem__, default=None)

    def sync(self) -> None:
        """Flushes the logs to disk, so that a checkpoint never knows more than they."""
        with explained(self.directory):
            for file in self.files.values():
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes the logs."""
        for file in self.files.values():
            file.close()
        for writer in self.writers:
            writer.close()


def kept_lines(path: Path, step: int) -> list[str]:
    """The lines of a log up to a checkpoint. What cannot be read goes: at the end it was torn by a
    crash, and before that the disk has damaged it, and it is named."""
    kept: list[str] = []
    unreadable: list[int] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        fields = fields_of(line)
        if fields is None:
            unreadable.append(number)
            continue
        if fields["step"] > step or (fields["step"] == step and "loss" not in fields):
            break
        for damaged in unreadable:
            print(f"{path}:{damaged}: the line is damaged and is left out")
        unreadable = []
        kept.append(line.decode("utf-8") + "\n")
    return kept


def fields_of(line: bytes) -> dict[str, Any] | None:
    """The fields of a log's line, or None when it is none."""
    try:
        fields = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    is_line = isinstance(fields, dict) and isinstance(fields.get("step"), int)
    return fields if is_line else None


def evaluations_of(lines: Iterable[str]) -> dict[int, float]:
    """Bits per byte by step in the lines of a log."""
    parsed = (json.loads(line) for line in lines)
    return {f["step"]: f["bits_per_byte"] for f in parsed if "bits_per_byte" in f}
