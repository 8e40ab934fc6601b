"""Bringing the data of others to our form, as a step."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import tyro

from config import UserError
from data_process.records.formats import (
    FORMATS,
    Format,
    FormatName,
    formats_of,
    question_format,
)
from data_process.records.jsonl import EmptyFile
from data_process.records.jsonl_parts import JsonlPart, jsonl_parts, refuse_twice
from data_process.records.kinds import described
from data_process.records.known_files import signature_of
from data_process.records.output import tell, writing_streams
from data_process.records.record_lines import (
    BAD,
    PIPE_NAME,
    Reading,
    RecordLine,
    is_pipe,
    read_all,
    rejecter,
)
from data_process.records.sources import WholeFile, packing_of, read_source, read_whole
from data_process.records.steps import RecordStepConfig
from data_process.running.run import StepResult, run_and_join, run_single
from data_process.running.step import REJECTED, Part, PartOutput, Step
from data_process.running.work_dir import PIPE

LOOKED_AT = 100
"""Records of each file by which its format is found."""


@dataclass(frozen=True)
class Naming:
    """What the input is, where it should not be found out."""

    format: Annotated[FormatName | None, tyro.conf.arg(name="from")] = None
    """Format of the input; None: found out from the first records of each file."""
    question_key: str | None = None
    """Key of the question, with --answer_key."""
    answer_key: str | None = None
    """Key of the answer, with --question_key."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        if (self.question_key is None) != (self.answer_key is None):
            return ["question_key and answer_key go together: give both or none"]
        if self.question_key and self.format not in (None, "question"):
            return [f"from is {self.format}: question_key and answer_key go with question"]
        return []

    @property
    def named(self) -> FormatName | None:
        """The format that was named, by itself or by its keys."""
        return "question" if self.question_key else self.format

    def format_called(self, name: FormatName) -> Format:
        """A format, with the keys that were named."""
        if name == "question" and self.question_key:
            return question_format(self.question_key, self.answer_key)
        return FORMATS[name]


@dataclass(frozen=True)
class ConvertStep(Step):
    """Converts records. The streams it writes: main, rejected."""

    sources: tuple[JsonlPart | WholeFile, ...]
    """What each part reads."""
    formats: tuple[FormatName, ...]
    """What each part is written in."""
    naming: Naming
    reading: Reading
    title = "converting"

    def parts(self) -> Sequence[Part]:
        """The parts of JSONL files, other files whole."""
        return [source.part for source in self.sources]

    def plan(self) -> dict[str, Any]:
        """The files, their formats and the settings."""
        paths = dict.fromkeys(source.path for source in self.sources)
        return {
            "step": "convert 1",
            "files": [[str(path), signature_of(path)] for path in paths],
            "cuts": [[part.name, part.size] for part in self.parts()],
            "formats": list(self.formats),
            "settings": [asdict(self.naming), asdict(self.reading)],
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Converts the records of one part."""
        lines = read_source(self.sources[number], self.reading, output)
        convert_records(lines, self.formats[number], self.naming, self.reading, output)


def convert_records(
    lines: Iterator[RecordLine],
    name: FormatName,
    naming: Naming,
    reading: Reading,
    output: PartOutput,
) -> None:
    """Writes what becomes of records that are written in one format.

    Raises:
        UserError: a record is not, and bad_records is "stop".
    """
    format = naming.format_called(name)
    for line in lines:
        try:
            made = list(format.convert(line.record))
        except UserError as error:
            mistake = UserError(f"{line.place}: {error}; {name} is {format.example}")
            if reading.bad_records == "stop":
                raise mistake from error
            output.count(BAD)
            rejecter(output)(mistake)
            continue
        for record, reason, changes in made:
            if reason:
                output.count(f"dropped: {reason}")
                output.write({**record, "reason": reason}, REJECTED)
            else:
                output.count("out")
                output.write(record)
            for change in changes:
                output.count(change)


def find_format(path: Path, lines: Sequence[RecordLine], naming: Naming) -> FormatName:
    """The format of a file, by its first records.

    Raises:
        UserError: they have none, or more than one.
    """
    if naming.named:
        return naming.named
    found: dict[FormatName, RecordLine] = {}
    for line in lines:
        names = formats_of(line.record)
        if len(names) > 1:
            raise UserError(
                f"{line.place}: may be {' or '.join(names)} ({described(line.record)}); name the "
                "right one with --from"
            )
        found.update({name: line for name in names if name not in found})
    if len(found) > 1:
        kinds = " and ".join(f"{name} (line {line.number})" for name, line in found.items())
        raise UserError(
            f"{path}: its first records are written in several ways, {kinds}; part them (filter "
            "--with_keys) and convert each file, or name one with --from and skip the others with "
            "--bad_records skip"
        )
    if not lines:
        raise UserError(f"{path}: no record in it can be read; see process_jsonl.py check")
    if not found:
        raise UserError(
            f"{lines[0].place}: found {described(lines[0].record)}, which is no format known here: "
            "name one with --from, or the keys of question and answer with --question_key and "
            "--answer_key"
        )
    return next(iter(found))


@dataclass(frozen=True)
class ConvertConfig(RecordStepConfig):
    """Alpaca, ShareGPT, OpenAI's messages, questions with answers, preferences, minimind's files
    and plain texts become {"conversations": [...]} or {"text": ...}; all other keys are kept. Reads
    .jsonl, .json (one array), .csv, .tsv and .txt (a document in each line, with --from lines)."""

    naming: Naming = field(default_factory=Naming)
    """What the input is."""

    @property
    def endings(self) -> Sequence[str]:
        """Of the files that are taken from folders."""
        return (".jsonl", ".json", ".csv", ".tsv")

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        return self.naming.problems() + super().problems()


def run_convert(config: ConvertConfig) -> int:
    """Converts files part by part, or a pipe record by record."""
    if config.is_stream:
        convert_stream(config)
        return 0

    def work(work_dir: Path) -> StepResult:
        step = plan_conversion(config.files(), config)
        return run_single(step, work_dir, config.execution)

    run_and_join(config, work)
    return 0


def convert_stream(config: ConvertConfig) -> None:
    """Converts what comes from a pipe, or goes to one."""
    start = time.perf_counter()
    files, size = config.files(), None
    config.refuse_outputs()
    with writing_streams(config.output, config.rejected, REJECTED, config.overwrite) as output:
        if any(map(is_pipe, files)):
            lines = read_all(files, config.reading, output.counts, "converting", rejecter(output))
            first = list(islice(lines, LOOKED_AT))
            name = find_format(PIPE_NAME, first, config.naming)
            convert_records(chain(first, lines), name, config.naming, config.reading, output)
        else:
            step = plan_conversion(files, config)
            size = step.input_bytes
            for number in range(len(step.sources)):
                step.run(number, output)
    tell(output.counts, start, config.written, size)


def plan_conversion(files: Sequence[Path], config: ConvertConfig) -> ConvertStep:
    """Finds out what files are, prints it, and cuts them into parts.

    Raises:
        UserError: one is of no known format, or they do not become records of one kind.
    """
    refuse_twice(files)
    sources: list[JsonlPart | WholeFile] = []
    formats: list[FormatName] = []
    for path in files:
        packing = packing_of(path)
        if packing == "lines" and config.naming.format != "lines":
            raise UserError(
                f"{path}: a text file; cut it into documents with data_process/split_text.py, or, "
                "if each line is one, name --from lines"
            )
        whole = WholeFile(path, packing)
        bad: list[UserError] = []
        first = list(islice(read_whole(whole, config.reading, bad.append), LOOKED_AT))
        if not first and not bad:
            raise EmptyFile(path)
        name = find_format(path, first, config.naming)
        found = jsonl_parts([path]) if packing == "jsonl" else [whole]
        sources += found
        formats += [name] * len(found)
    refuse_two_kinds(sources, formats)
    names = {source.path: name for source, name in zip(sources, formats, strict=True)}
    for path, name in names.items():
        print(f"{path}: {name}", file=sys.stderr if config.output == PIPE else sys.stdout)
    return ConvertStep(tuple(sources), tuple(formats), config.naming, config.reading)


def refuse_two_kinds(
    sources: Sequence[JsonlPart | WholeFile], formats: Sequence[FormatName]
) -> None:
    """Raises UserError when some files become texts and others conversations."""
    kinds = {
        name in ("text", "lines"): source for source, name in zip(sources, formats, strict=True)
    }
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True].path} has texts, but {kinds[False].path} conversations: they become "
            "different files, so convert them apart"
        )
