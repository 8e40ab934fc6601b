"""A tiny step for tests of the machinery, and a script that runs it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import UserError
from data_process.records.jsonl import EmptyFile, FilePart, read_records
from data_process.records.parts import jsonl_parts
from data_process.running.run import run_step
from data_process.running.step import Part, PartOutput, Step
from data_process.running.work_dir import join_streams, remove_work_dir, work_dir_of
from data_process.running.workers import Execution

PART_BYTES = 70


@dataclass(frozen=True)
class Shout(Step):
    """Writes texts in capitals, and those with an x to another stream."""

    cut: tuple[FilePart, ...]
    mark: str = "!"
    """A setting."""
    trace: Path | None = None
    """A file that gets a line for each part that is begun."""
    nap: float = 0.0
    """Seconds that a part takes."""
    title = "shout"

    def parts(self) -> Sequence[Part]:
        return [part.part for part in self.cut]

    def plan(self) -> dict[str, Any]:
        return {"step": "shout", "input": [str(p.path) for p in self.cut], "mark": self.mark}

    def run(self, number: int, output: PartOutput) -> None:
        if self.trace:
            with self.trace.open("ab") as file:
                file.write(f"{number} {os.getpid()}\n".encode())
        part = self.cut[number]
        for record in (line.value for line in read_records(part)):
            output.count("in")
            if record["text"] == "empty":
                raise EmptyFile(part.path)
            text = record["text"].upper() + self.mark
            output.write({**record, "text": text}, "x" if "X" in text else "main")
        time.sleep(self.nap)


def make_input(path: Path, records: int = 30, special: str = "") -> Path:
    """A JSONL file of about 12 parts; the 20th text may be a special one."""
    texts = [f"tea {n} é 中{'x' * (n % 7 == 3)}" for n in range(records)]
    if special:
        texts[20] = special
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts), encoding="utf-8")
    return path


def shout(path: Path, **settings: Any) -> Shout:
    """The step for a file."""
    return Shout(tuple(jsonl_parts([path], PART_BYTES)), **settings)


def main() -> None:
    """Runs the step: INPUT OUTPUT WORKERS EXECUTOR NAP."""
    source, destination, workers, executor, nap = sys.argv[1:6]
    execution = Execution(int(workers), executor, slurm_partition="main")  # type: ignore[arg-type]
    if problems := execution.problems():
        raise UserError("\n".join(problems))
    output, path = Path(destination), Path(source)
    trace = output.with_name("trace.txt").resolve()
    step = shout(path, trace=trace, nap=float(nap))
    counts = run_step(step, work_dir_of(output), execution)
    join_streams(work_dir_of(output), "main", output)
    join_streams(work_dir_of(output), "x", output.with_name("x.jsonl"))
    remove_work_dir(work_dir_of(output))
    print(f"{counts['in']} records")


SCRIPT = "from cli import run_script; from tests.data_process.steps import main; run_script(main)"
COMMAND = [sys.executable, "-c", SCRIPT]
"""To be run in the repository's root, with the arguments that `main` names."""
