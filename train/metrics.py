"""What a run writes down: two logs of one JSON object a line.

`loss_log.jsonl` holds what is exact (step, loss, gradient norm, bits per byte): it is
byte-identical however often the run was interrupted. `metrics.jsonl` holds the same and what
depends on the machine (tokens per second).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from model.storage import explained, replace_file, text_writer

LOSS_LOG = "loss_log.jsonl"
METRICS = "metrics.jsonl"


class RunLog:
    """The two logs of a run, continued at a step."""

    def __init__(self, directory: Path, step: int) -> None:
        """Opens the logs and takes away what was written after the checkpoint of `step`: every
        training line beyond it, and an evaluation at it, which is made again."""
        self.directory = directory
        self.files: dict[str, IO[str]] = {}
        for name in (LOSS_LOG, METRICS):
            path = directory / name
            if path.exists():
                replace_file(path, text_writer("".join(kept_lines(path, step))))
            self.files[name] = path.open("a", encoding="utf-8", newline="\n")

    def write(self, exact: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> None:
        """Appends one line to both logs."""
        lines = {LOSS_LOG: dict(exact), METRICS: {**exact, **(measured or {})}}
        with explained(self.directory):
            for name, fields in lines.items():
                self.files[name].write(json.dumps(fields) + "\n")
                self.files[name].flush()

    def sync(self) -> None:
        """Flushes the logs to disk, so that a checkpoint never knows more than they."""
        with explained(self.directory):
            for file in self.files.values():
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes the logs."""
        for file in self.files.values():
            file.close()


def kept_lines(path: Path, step: int) -> list[str]:
    """The lines of a log up to a checkpoint; a last line without its end was torn by a crash and
    goes too."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        fields = json.loads(line)
        if fields["step"] > step or (fields["step"] == step and "bits_per_byte" in fields):
            break
        kept.append(line)
    return kept


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
