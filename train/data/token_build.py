"""Building a cache entry: parts are tokenised side by side, then joined in order.

The result does not depend on the number of workers, nor on how often the build was interrupted:
parts are written whole or not at all, and a later build takes up those that are there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray
from tqdm import tqdm

from config import UserError
from data_process.records.survey import Survey, records_before, refuse_changed
from data_process.running.workers import available_cores, work_through
from model.directory.storage import new_directory
from model.tokenizer import EtudeTokenizer, tokenizer_json
from train.data.token_parts import DOCUMENT, STREAMS, Part, PartBuilder, part_directory, token_dtype

FACTS = "streams.json"
COPIED_BYTES = 1 << 20
MOST_WORKERS = 8
"""A worker takes about 100 MB, so eight stay under 1 GB together."""


def build(
    directory: Path,
    kind: str,
    surveys: Sequence[Survey],
    tokenizer: EtudeTokenizer,
    validation_every: int,
) -> None:
    """Tokenises files into a new cache entry.

    Raises:
        UserError: a record is malformed (file:line), there are too few, or the disk is full.
    """
    records = sum(found.records for found in surveys)
    if records < validation_every:
        raise UserError(
            f"{surveys[0].path}: {records} records are too few to keep every {validation_every}th "
            "for validation; add data or lower --validation_every"
        )
    parts_place = directory.with_name(directory.name + ".parts")
    builder = PartBuilder(kind, tokenizer_json(tokenizer), validation_every, parts_place)
    parts = all_parts(surveys)
    if mistake := tokenise_parts(builder, parts):
        shutil.rmtree(parts_place, ignore_errors=True)  # mended data will have another name
        raise mistake
    for found in surveys:
        refuse_changed(found)
    with new_directory(directory) as aside:
        join(aside, [part_directory(parts_place, part) for part in parts], tokenizer)
    shutil.rmtree(parts_place, ignore_errors=True)


def all_parts(surveys: Sequence[Survey]) -> list[Part]:
    """The parts of all files in order."""
    parts: list[Part] = []
    for found, before in zip(surveys, records_before(surveys), strict=True):
        for lines in found.parts:
            parts.append(Part(len(parts), found.path, lines, before + lines.records))
    return parts


def tokenise_parts(builder: PartBuilder, parts: Sequence[Part]) -> UserError | None:
    """Builds all parts; the first mistake in the data, if there is one."""
    mistakes: dict[int, UserError] = {}
    size = sum(part.lines.end - part.lines.begin for part in parts)
    workers = min(available_cores(), MOST_WORKERS)
    with tqdm(
        total=size, desc="tokenise", unit="B", unit_scale=True, leave=False, disable=None
    ) as progress:
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
    facts = json.dumps({"dtype": dtype.name, "streams": names})
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
