"""Converting the data of others to our form, as a step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import tyro

from config import Settings, UserError
from data_process.records.files import RECORD_ENDINGS, RecordStepConfig, run_records
from data_process.records.formats import FORMATS, FormatName, Goal, converter, formats_of
from data_process.records.jsonl import TEXT, BadRecord, FilePart, Reading, Record
from data_process.records.kinds import BadLine, described, with_text_of
from data_process.records.opening import shown
from data_process.records.parts import FilesStep, jsonl_parts, refuse_twice
from data_process.records.recognition import LOOKED_AT, mistyped
from data_process.running.step import PartOutput
from data_process.running.work_dir import PIPE


@dataclass(frozen=True)
class Naming(Settings):
    """What the input is, where it should not be found out."""

    format: Annotated[FormatName | None, tyro.conf.arg(name="from")] = None
    """Format of the input; None: found out from the first records of each file."""
    question_key: str | None = None
    """Key of the question, with --answer_key."""
    answer_key: str | None = None
    """Key of the answer, with --question_key."""
    text_key: str = TEXT
    """Key of the text, which may be nested, such as meta.text; what has one there is a text."""
    to: Goal = "sft"
    """sft: conversations to learn from, with the chosen answer of preferences, and without answers
    that are labelled as bad. preference: {"conversations", "chosen", "rejected"}, both answers as
    texts, or {"conversations", "label"}."""

    def conflicts(self) -> list[str]:
        """What is wrong between the fields, a sentence each."""
        if (self.question_key is None) != (self.answer_key is None):
            return ["question_key and answer_key go together: give both or none"]
        if self.question_key and self.format not in (None, "question"):
            return [f"from is {self.format}: question_key and answer_key go with question"]
        return []


@dataclass(frozen=True)
class ConvertStep(FilesStep):
    """Converts records. The streams it writes: main, rejected."""

    formats: tuple[FormatName, ...]
    """What each part is written in."""
    naming: Naming
    reading: Reading
    title = "converting"

    def run(self, number: int, output: PartOutput) -> None:
        """Writes what becomes of the records of one part.

        Raises:
            BadRecord: a record is not written in the part's format, and bad_records is "stop".
        """
        name, naming, reading = self.formats[number], self.naming, self.reading
        convert = converter(name, naming.question_key, naming.answer_key, naming.to)
        on_bad = reading.on_bad(output)
        for record in reading.records(self.files[number], output):
            try:
                value = record.value
                if naming.text_key != TEXT:
                    value = with_text_of(value, naming.text_key)
                made = list(convert(value))
            except BadLine as error:
                mistake = BadRecord(record.place, [f"{error}; {name} is {FORMATS[name].example}"])
                if on_bad is None:
                    raise mistake from error
                on_bad(mistake)
                continue
            output.count("in")
            for new, reason, changes in made:
                if reason:
                    output.drop(new, reason)
                else:
                    output.keep(new)
                output.counts.update(changes)


def find_format(path: Path, records: Sequence[Record], naming: Naming) -> FormatName:
    """The format of a file, by its first records.

    Raises:
        UserError: they have none, or more than one.
    """
    if naming.text_key != TEXT:
        return "text"
    if naming.format or naming.question_key:
        return naming.format or "question"
    found: dict[FormatName, Record] = {}
    for record in records:
        names = formats_of(record.value)
        if len(names) > 1:
            raise UserError(
                f"{record.place}: may be {' or '.join(names)} ({described(record.value)}); name "
                "the right one with --from"
            )
        found.update({name: record for name in names if name not in found})
    if len(found) > 1:
        kinds = " and ".join(f"{name} (line {record.line})" for name, record in found.items())
        raise UserError(
            f"{shown(path)}: its first records are written in several ways, {kinds}; part them "
            "(filter --with_keys) and convert each file, or name one with --from and skip the "
            "others with --bad_records skip"
        )
    if not records:
        raise UserError(f"{shown(path)}: no record in it can be read; see process_jsonl.py check")
    if not found and (near := mistyped(records[0].value)):
        raise UserError(f"{records[0].place}: {near}")
    if not found:
        raise UserError(
            f"{records[0].place}: found {described(records[0].value)}, which is not a known "
            "format: name one with --from, or the keys of question and answer with "
            "--question_key and --answer_key"
        )
    return next(iter(found))


@dataclass(frozen=True)
class ConvertConfig(RecordStepConfig):
    """Alpaca, ShareGPT, OpenAI's messages, questions with answers, preferences, minimind's files
    and plain texts become {"conversations": [...]} or {"text": ...}; all other keys are kept."""

    naming: Naming = field(default_factory=Naming)
    """What the input is."""

    endings = (*RECORD_ENDINGS, ".json", ".csv", ".tsv")


def run_convert(config: ConvertConfig) -> None:
    """Converts files part by part."""
    run_records(config, lambda files: plan_conversion(files, config))


def plan_conversion(files: Sequence[Path], config: ConvertConfig) -> ConvertStep:
    """Finds out what files are, prints it, and cuts them into parts.

    Raises:
        UserError: one is of no known format, or they do not become records of one kind.
    """
    refuse_twice(files)
    parts: list[FilePart] = []
    formats: list[FormatName] = []
    reading = config.reading
    for path in files:
        lines = config.naming.format == "lines"
        found = jsonl_parts([path], longest=reading.max_line_bytes, lines=lines)
        records = chain.from_iterable(map(reading.records, found))
        name = find_format(path, list(islice(records, LOOKED_AT)), config.naming)
        parts += found
        formats += [name] * len(found)
        print(f"{shown(path)}: {name}", file=sys.stderr if config.output == PIPE else sys.stdout)
    refuse_two_kinds(parts, formats)
    return ConvertStep(tuple(parts), tuple(formats), config.naming, reading)


def refuse_two_kinds(parts: Sequence[FilePart], formats: Sequence[FormatName]) -> None:
    """Raises UserError when some files become texts and others conversations."""
    kinds = {name in ("text", "lines"): part for part, name in zip(parts, formats, strict=True)}
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True].path} has texts, but {kinds[False].path} conversations: they become "
            "different files, so convert them apart"
        )
