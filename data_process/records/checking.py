"""Finding everything that is wrong with files of records."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from config import UserError
from data_process.records.files import InputConfig, passing_work_dir
from data_process.records.jsonl import BadRecord, FilePart, read_records
from data_process.records.kinds import PROBLEMS, Kind, kind_of
from data_process.records.opening import shown
from data_process.records.parts import FilesStep, jsonl_parts, refuse_twice
from data_process.records.recognition import LOOKED_AT, advice
from data_process.running.run import outcome, run_step
from data_process.running.step import PartOutput, stream_records
from data_process.running.workers import Execution
from terminal import output_is_the_result

ERRORS = "errors"
"""Name of the stream of what is wrong, and what its sentences are counted as."""
UNREADABLE = "files that cannot be read"
VARYING = re.compile(r"\d[\d,]*|'[^']*'|\"[^\"]*\"|\[.*?\]|\(.*?\)|[:;].*")
"""What differs between two errors of one kind."""


@dataclass(frozen=True)
class CheckStep(FilesStep):
    """Checks records. The stream it writes: errors."""

    kinds: tuple[Kind, ...]
    """What the records of each part are meant to be."""
    max_line_bytes: int
    max_errors: int
    title = "checking"

    def run(self, number: int, output: PartOutput) -> None:
        """Checks the records of one part."""

        def note(bad: BadRecord) -> None:
            output.count("in")
            output.count("bad records")
            for sentence in bad.problems:
                output.count(ERRORS)
                what = VARYING.sub("…", sentence.partition(": ")[2]).strip()
                output.count(f"error: {what}")
                if not self.max_errors or output.counts[ERRORS] <= self.max_errors:
                    output.write(sentence, ERRORS)

        problems = PROBLEMS[self.kinds[number]]
        for _ in read_records(self.files[number], problems, note, self.max_line_bytes):
            output.count("in")
            output.count("out")


@dataclass(frozen=True)
class CheckConfig(InputConfig):
    """Every error as file:line: what is wrong; what to do. Ends with code 1 when there is one."""

    kind: Literal["auto", "text", "conversations", "preference", "questions", "any"] = "auto"
    """What the records should be: text ({"text"}), conversations, preference (chosen and rejected,
    or label), questions (of an evaluation file), any (JSON objects); auto: what most of a file's
    first records have the keys of."""
    max_errors: Annotated[int, Ge(0)] = 50
    """Errors that are listed; all are counted. 0: all are listed."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""


def run_check(config: CheckConfig) -> int:
    """Checks all files; 0 when they are good."""
    start = time.perf_counter()
    kinds: dict[Path, Kind] = {}
    parts: list[FilePart] = []
    listed: list[str] = []  # of files that cannot be read, first
    files = config.files()
    refuse_twice(files)
    for path in files:
        try:
            found = jsonl_parts([path], longest=config.reading.max_line_bytes)
            kinds[found[0].path] = kind_in(found[0], config)
            parts += found
        except UserError as mistake:
            listed.append(str(mistake))
    counts = Counter({UNREADABLE: len(listed)})
    if parts:
        of_parts = tuple(kinds[part.path] for part in parts)
        longest = config.reading.max_line_bytes
        step = CheckStep(tuple(parts), of_parts, longest, config.max_errors)
        with passing_work_dir(step) as work_dir:
            counts += run_step(step, work_dir, config.execution)
            limit = max(config.max_errors - len(listed), 0) if config.max_errors else None
            listed += islice(stream_records(work_dir, ERRORS), limit)
    output_is_the_result()
    for sentence in listed:
        print(sentence)
    errors = counts.pop(ERRORS, 0) + counts[UNREADABLE]
    if (hidden := errors - len(listed)) > 0:
        print(f"... and {hidden:,} more errors (--max_errors 0 lists all)")
    for path, kind in kinds.items():
        print(f"{shown(path)}: checked as {kind}")
    for line in outcome(counts, sum(part.part.size for part in parts), time.perf_counter() - start):
        print(line)
    return 1 if errors else 0


def kind_in(part: FilePart, config: CheckConfig) -> Kind:
    """What the records of a file are meant to be, by those of its first part.

    Raises:
        UserError: they are written as others do.
    """
    if config.kind != "auto":
        return config.kind
    records = read_records(part, on_bad=lambda bad: None, longest=config.reading.max_line_bytes)
    first = list(islice(records, LOOKED_AT))
    kinds = Counter(kind_of(record.value) for record in first)
    kind = kinds.most_common(1)[0][0] if kinds else "any"
    if kind == "any" and first and (help := advice(first[0].value, shown(part.path))):
        raise UserError(f"{first[0].place}: {help}")
    return kind
