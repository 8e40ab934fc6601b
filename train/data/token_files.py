"""Tokenising once: JSONL files become token files, cached by fingerprint.

A cache entry holds a stream of documents for training, and one for each script of the validation
records: `tokens` (uint16 or uint32; a border, then each document with a border after it), for
conversations also `mask` (1 where a token is trained), and a table of the documents. Rows are read
from these files; nothing of them is held in memory. The entry's name is the fingerprint of the
data, the tokenizer and the settings that shape it, so a stale entry can never be read.

Parts are tokenised side by side, then joined in order. The entry does not depend on the number of
workers, nor on how often the build was interrupted: parts are written whole or not at all, and a
later build keeps those that are there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray

from config import TrainOnName, UserError
from data_process.records.files import find_files
from data_process.records.opening import shown
from data_process.records.parts import (
    KnownFiles,
    Survey,
    refuse_changed,
    refuse_copies,
    signature_of,
    survey,
)
from data_process.running.step import byte_bar
from data_process.running.workers import available_cores, work_through
from model.directory.storage import DamagedDirectory, new_directory, verify
from model.tokenizer import EtudeTokenizer, tokenizer_json
from train.data.documents import Documents, count_twins, load_documents
from train.data.mixing import Mix
from train.data.token_parts import (
    DOCUMENT,
    STREAMS,
    KindName,
    Part,
    PartBuilder,
    functions_of,
    part_directory,
    token_dtype,
)
from train.machine import refuse_full_disk

FACTS = "streams.json"
COPIED_BYTES = 1 << 20
MOST_WORKERS = 8
"""A worker takes about 100 MB, so eight stay under 1 GB together."""


def build(
    directory: Path,
    kind: KindName,
    surveys: Sequence[Survey],
    measured: Sequence[Survey],
    tokenizer: EtudeTokenizer,
    validation_every: int,
    train_on: TrainOnName,
) -> None:
    """Tokenises files, and those to be measured only, into a new cache entry.

    Raises:
        UserError: a record is malformed (file:line), there are too few, or the disk is full.
    """
    records = sum(found.records for found in surveys)
    if records < validation_every:
        read, _ = functions_of(kind, train_on)
        for part in all_parts(surveys, ()):  # what is wrong with a line explains more
            deque(read(part.lines), maxlen=0)
        raise UserError(
            f"{shown(surveys[0].path)}: to keep every {validation_every}th record for validation "
            f"there must be {validation_every} at least, and there "
            f"{'is' if records == 1 else 'are'} {records}: add data, "
            "lower --validation_every (0: none), or name --validation_files"
        )
    # Some 3.5 bytes of text make a token of 2 bytes, which stands in a part and in the whole.
    size = sum(part.end - part.begin for found in (*surveys, *measured) for part in found.parts)
    way = "or name a --cache_dir on another disk"
    refuse_full_disk(directory.parent, size, "the tokens of the data", way)
    parts_place = directory.with_name(directory.name + ".parts")
    contents, chat_format = tokenizer_json(tokenizer), tokenizer.chat_format
    builder = PartBuilder(kind, contents, validation_every, parts_place, train_on, chat_format)
    parts = all_parts(surveys, measured)
    if mistake := tokenise_parts(builder, parts):
        shutil.rmtree(parts_place, ignore_errors=True)  # mended data will have another name
        raise mistake
    for found in (*surveys, *measured):
        refuse_changed(found.path, found.signature)
    with new_directory(directory) as aside:
        join(aside, [part_directory(parts_place, part) for part in parts], tokenizer)
    shutil.rmtree(parts_place, ignore_errors=True)


def all_parts(surveys: Sequence[Survey], measured: Sequence[Survey]) -> list[Part]:
    """The parts of all files in order, those to be measured last."""
    parts: list[Part] = []
    before = 0
    for number, found in enumerate((*surveys, *measured)):
        for lines in found.parts:
            is_validation = number >= len(surveys)
            parts.append(Part(len(parts), lines, before + lines.records, is_validation))
        before += found.records
    return parts


def tokenise_parts(builder: PartBuilder, parts: Sequence[Part]) -> UserError | None:
    """Builds all parts; the first mistake in the data, if there is one."""
    mistakes: dict[int, UserError] = {}
    size = sum(part.lines.end - part.lines.begin for part in parts)
    workers = min(available_cores(), MOST_WORKERS)
    with byte_bar("tokenise", size) as progress:
        for part, mistake in work_through(builder, parts, workers):
            if mistake:
                mistakes[part.number] = mistake
            progress.update(part.lines.end - part.lines.begin)
    return mistakes[min(mistakes)] if mistakes else None


def join(directory: Path, parts: Sequence[Path], tokenizer: EtudeTokenizer) -> None:
    """Writes the streams of a cache entry out of those of its parts.

    A stream is border, document, border, ..., document, border, so that rows are slices of it.
    """
    dtype = token_dtype(tokenizer)
    border = np.array([tokenizer.end_of_text_id], dtype)
    names = [s for s in STREAMS if any((part / f"{s}.documents.npy").exists() for part in parts)]
    for name in names:
        holding = [part for part in parts if (part / f"{name}.documents.npy").exists()]
        for kind, first in (("tokens", border), ("mask", np.zeros(1, np.uint8))):
            sources = [part / f"{name}.{kind}.bin" for part in holding]
            if sources[0].exists():
                copy_all(directory / f"{name}.{kind}.bin", first, sources)
        tables = [part / f"{name}.documents.npy" for part in holding]
        write_table(directory / f"{name}.documents.npy", tables)
    streams = {name: load_documents(directory, name, dtype) for name in names}
    train = streams.pop("train", None)
    twins = count_twins(train, streams) if train else 0
    facts = json.dumps({"dtype": dtype.name, "streams": names, "twins": twins})
    (directory / FACTS).write_text(facts, encoding="utf-8", newline="\n")


def copy_all(path: Path, first: NDArray[Any], sources: Iterable[Path]) -> None:
    """Writes an array and then the content of files."""
    with path.open("wb") as file:
        file.write(first.tobytes())
        for source in sources:
            with source.open("rb") as content:
                shutil.copyfileobj(content, file, COPIED_BYTES)


def write_table(path: Path, tables: Sequence[Path]) -> None:
    """Writes the parts' tables one after another, each document at its place in the joined
    stream."""
    counts = [len(np.load(table, mmap_mode="r")) for table in tables]
    with path.open("wb") as file:
        write_header(file, sum(counts))
        position = 1  # after the first border
        for table in tables:
            rows = np.load(table)
            rows["begin"] += position
            file.write(rows.tobytes())
            position = int(rows["begin"][-1]) + int(rows["length"][-1]) + 1


def write_header(file: IO[bytes], count: int) -> None:
    """The head of an .npy file of so many documents, whose rows follow one by one."""
    header = header_data_from_array_1_0(np.empty(0, DOCUMENT))
    write_array_header_1_0(file, {**header, "shape": (count,)})


FORMATS: dict[KindName, int] = {"pretrain": 2, "sft": 3, "preference": 2, "labelled": 2}
"""Raised whenever the files' content changes meaning."""
PART_BYTES = 8_000_000
"""A data file is tokenised in parts of about this size."""


@dataclass(frozen=True)
class TokenisedData:
    """Training and validation documents of some files under some tokenizer."""

    train: Documents
    validation: Mapping[str, Documents]
    """By script: han, latin, other; only those that there are."""
    fingerprint: str
    """Names the content of the data, the tokenizer and the split."""
    twins: int = 0
    """Validation documents that are trained on as well."""

    def twins_sentence(self) -> str:
        """What to know about twins."""
        held = sum(len(documents) for documents in self.validation.values())
        return (
            f"{self.twins:,} of {held:,} validation records are also trained on, word for word, so "
            "bits per byte is flattered: see data_process/dedup_jsonl.py"
        )


def tokenised_data(
    kind: KindName,
    files: Sequence[Path],
    tokenizer: EtudeTokenizer,
    validation_every: int,
    cache_dir: Path,
    validation_files: Sequence[Path] = (),
    train_on: TrainOnName = "all",
) -> TokenisedData:
    """The tokenised data of files, "pretrain" texts, "sft" conversations, "preference" pairs or
    "labelled" answers: from the cache, else read, tokenised and put there.

    Args:
        kind: what a record is.
        files: the files to train on, perhaps with weights (see train/data/mixing.py).
        tokenizer: makes tokens of their text.
        validation_every: every n-th of their records is measured and not trained; 0: none.
        cache_dir: where the tokens go.
        validation_files: files to measure in place of every n-th record.
        train_on: which answers of a conversation are trained.

    Raises:
        UserError: a file is missing, malformed (file:line), or the same as another; or the disk is
            full.
    """
    known = KnownFiles(cache_dir / "known_files.json")
    places, mix = Mix.of(files)
    files = [file for place in places for file in find_files([place])]
    surveys, measured = (
        [survey(file, PART_BYTES, known) for file in some]
        for some in (files, find_files(validation_files))
    )
    refuse_copies([(found.path, found.sha256) for found in (*surveys, *measured)])
    every = 0 if measured else validation_every
    fingerprint = fingerprint_of(kind, surveys, measured, tokenizer, every, train_on)
    directory = cache_dir / f"{kind}-{fingerprint[:16]}"
    if not is_whole(directory, known):
        print(f"tokenising {', '.join(file.name for file in files)} into {directory}")
        build(directory, kind, surveys, measured, tokenizer, every, train_on)
        known.remember(directory, "cache entry", signature_of(directory), "whole")
    data = load(directory, fingerprint)
    if mix is None:
        return data
    counts = [len(find_files([place])) for place in places]
    return mixed(data, mix, [found.records for found in surveys], counts, every)


def mixed(
    data: TokenisedData, mix: Mix, records: Sequence[int], counts: Sequence[int], every: int
) -> TokenisedData:
    """The data with what its mix needs.

    Args:
        data: of all files, one after another.
        mix: of what was named.
        records: of each file.
        counts: files of each thing that was named (of a folder, several).
        every: every so many records is not trained; 0: all are.
    """
    before = np.cumsum([0, *records])[np.cumsum(counts)]
    ends = before - (before // every if every else 0)
    assert ends[-1] == len(data.train)
    named = hashlib.sha256(f"{data.fingerprint} {mix.weights}".encode()).hexdigest()
    mix = replace(mix, ends=tuple(ends.tolist()))
    return replace(data, train=replace(data.train, mix=mix), fingerprint=named)


def fingerprint_of(
    kind: KindName,
    surveys: Sequence[Survey],
    measured: Sequence[Survey],
    tokenizer: EtudeTokenizer,
    validation_every: int,
    train_on: TrainOnName,
) -> str:
    """sha256 over everything that decides what the cache holds."""
    digest = hashlib.sha256(f"{FORMATS[kind]} {kind} {validation_every}".encode())
    for found in surveys:
        digest.update(found.sha256.encode())
    for found in measured:
        digest.update(f" validation {found.sha256}".encode())
    digest.update(b"" if train_on == "all" else f" {train_on}".encode())
    digest.update(tokenizer.fingerprint.encode())
    if kind != "pretrain" and not tokenizer.chat_format.is_etudes:
        digest.update(tokenizer.chat_format.fingerprint.encode())
    return digest.hexdigest()


def is_whole(directory: Path, known: KnownFiles) -> bool:
    """Whether an entry is there and undamaged. One that nobody wrote to since it was last checked
    is not read again."""
    if not directory.exists():
        return False
    if known.recall(directory, "cache entry"):
        return True
    signature = signature_of(directory)
    try:
        verify(directory)
    except DamagedDirectory as damage:
        print(f"{damage}; tokenising again")
        return False
    known.remember(directory, "cache entry", signature, "whole")
    return True


def load(directory: Path, fingerprint: str) -> TokenisedData:
    """Opens a verified cache entry."""
    facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
    dtype = np.dtype(facts["dtype"])
    streams = {name: load_documents(directory, name, dtype) for name in facts["streams"]}
    train = streams.pop("train")
    validation = {name.removeprefix("validation-"): stream for name, stream in streams.items()}
    # Entries of earlier versions do not say it.
    twins = facts["twins"] if "twins" in facts else count_twins(train, validation)
    return TokenisedData(train, validation, fingerprint, twins)
