"""Finding everything that is wrong with files of records."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from config import UserError, in_range
from data_process.records.jsonl import WrongFile, is_blank, parse_object, read_raw_lines
from data_process.records.jsonl_parts import JsonlPart, jsonl_parts, plan_of, refuse_twice
from data_process.records.kinds import PROBLEMS, Kind, kind_of
from data_process.records.record_lines import Reading, parse_lines
from data_process.records.sources import packing_of
from data_process.records.steps import InputConfig, passing_work_dir
from data_process.running.run import outcome, run_step
from data_process.running.step import Part, PartOutput, Step, stream_files
from data_process.running.workers import Execution

ERRORS = "errors"
"""Name of the stream of what is wrong."""
LOOKED_AT = 100
"""Records of each file by which it is told what they are meant to be."""
VARYING = re.compile(r"\d[\d,]*|'[^']*'|\"[^\"]*\"|\[.*?\]|\(.*?\)|[:;].*")
"""What differs between two errors of one kind."""


@dataclass(frozen=True)
class Checked:
    """A part of a file, and what its records are meant to be."""

    lines: JsonlPart
    kind: Kind


@dataclass(frozen=True)
class CheckStep(Step):
    """Checks records. The stream it writes: errors."""

    files: tuple[Checked, ...]
    max_line_bytes: int
    max_errors: int
    title = "checking"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.lines.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files, what they are meant to be, and the settings."""
        return {
            "step": "check 1",
            **plan_of([file.lines for file in self.files]),
            "kinds": [file.kind for file in self.files],
            "settings": [self.max_line_bytes, self.max_errors],
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Checks the records of one part."""
        file = self.files[number]
        for problems in bad_lines(file.lines, file.kind, self.max_line_bytes, output):
            output.count("bad records")
            for sentence in problems:
                output.count("errors")
                what = VARYING.sub("…", sentence.partition(": ")[2]).strip()
                output.count(f"error: {what}")
                if not self.max_errors or output.counts["errors"] <= self.max_errors:
                    output.write(sentence, ERRORS)


def bad_lines(part: JsonlPart, kind: Kind, longest: int, output: PartOutput) -> Iterator[list[str]]:
    """For each record with problems, a sentence for each of them; all records are counted."""
    path = part.path
    for number, raw in read_raw_lines(path, part.lines, longest):
        if is_blank(raw):
            continue
        output.count("in")
        try:
            record = parse_object(path, number, raw, longest)
        except UserError as mistake:
            yield [str(mistake)]
            continue
        if found := [f"{path}:{number}: {problem}" for problem in PROBLEMS[kind](record)]:
            yield found


@dataclass(frozen=True)
class CheckConfig(InputConfig):
    """Every error as file:line: what is wrong; what to do. Ends with code 1 when there is one."""

    kind: Literal["auto", "text", "conversations", "questions", "any"] = "auto"
    """What the records should be: text ({"text"}), conversations, questions (of an evaluation
    file), any (JSON objects); auto: what most of a file's first records have the keys of."""
    max_errors: int = 50
    """Errors that are listed; all are counted. 0: all are listed."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems()
        return found + in_range(self, 0, 10**9, "max_errors")


def run_check(config: CheckConfig) -> int:
    """Checks all files; 0 when they are good."""
    start = time.perf_counter()
    checked: list[Checked] = []
    wrong: list[str] = []
    files = config.files()
    refuse_twice(files)
    for path in files:
        try:
            checked += look_through(path, config)
        except UserError as mistake:
            wrong.append(str(mistake))
    counts, listed = Counter[str](), list(wrong)
    if checked:
        step = CheckStep(tuple(checked), config.reading.max_line_bytes, config.max_errors)
        with passing_work_dir(step) as work_dir:
            counts = run_step(step, work_dir, config.execution)
            limit = config.max_errors or None
            listed += islice(errors_in(work_dir), limit and max(limit - len(wrong), 0))
    counts["errors"] += len(wrong)
    for sentence in listed:
        print(sentence)
    tell_check(counts, checked, wrong, len(listed), start)
    return 1 if counts["errors"] else 0


def look_through(path: Path, config: CheckConfig) -> list[Checked]:
    """A file's parts, and what its records are meant to be.

    Raises:
        UserError: it cannot be read as JSONL at all.
    """
    if packing_of(path) not in ("jsonl", "array"):
        raise WrongFile(f"{path}: no JSONL, by its name; see process_jsonl.py convert")
    longest = config.reading.max_line_bytes
    kind: Kind = "any"
    if config.kind == "auto":
        lines = read_raw_lines(path, None, longest)
        records = parse_lines(path, lines, Reading("skip", longest))
        kinds = Counter(kind_of(line.record) for line in islice(records, LOOKED_AT))
        if kinds:
            kind = kinds.most_common(1)[0][0]
    else:
        kind = config.kind
    return [Checked(part, kind) for part in jsonl_parts([path])]


def errors_in(work_dir: Path) -> Iterator[str]:
    """The sentences that the parts wrote, in order."""
    for path in stream_files(work_dir, ERRORS):
        with path.open("r", encoding="utf-8") as file:
            for line in file:
                yield str(json.loads(line))


def tell_check(
    counts: Counter[str],
    checked: Sequence[Checked],
    wrong: Sequence[str],
    listed: int,
    start: float,
) -> None:
    """Prints how many errors of which kind there are, and what was checked."""
    if (hidden := counts["errors"] - listed) > 0:
        print(f"... and {hidden:,} more errors (--max_errors 0 lists all)")
    for path, kind in {file.lines.path: file.kind for file in checked}.items():
        print(f"{path}: checked as {kind}")
    good = counts["in"] - counts["bad records"]
    table = Counter({"in": counts["in"], "bad records": counts["bad records"], "out": good})
    table["files that cannot be read"] = len(wrong)
    table.update({name: count for name, count in counts.items() if name.startswith("error: ")})
    size = sum(file.lines.part.size for file in checked)
    for line in outcome(table, size, time.perf_counter() - start):
        print(line)
