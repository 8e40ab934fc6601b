"""Reading text files in any encoding, in parts, in bounded memory.

A part ends at a line end, a blank line if there is one near, and knows how many characters come
before it. Line ends become `\\n`, as Python's `open` reads them.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from config import UserError
from data_process.text.encoding import Encoding, detect_encoding

CHUNK = 1 << 20
"""Bytes that are read at a time."""
NEAR = 1 << 16
"""Bytes after the wished end of a part in which a line end is looked for at once."""


@dataclass(frozen=True)
class TextPart:
    """Whole lines of a text file."""

    begin: int
    """Byte at which it begins."""
    end: int
    """Byte after its last."""
    characters_before: int
    """Characters of the file before it."""


@dataclass(frozen=True)
class TextFile:
    """What a text file holds."""

    path: Path
    encoding: Encoding
    parts: tuple[TextPart, ...]
    """Together they are the whole file."""
    characters: int
    """Characters in it."""
    damaged: int
    """Places that are no text in this encoding; they are read as U+FFFD."""


def survey_text(
    path: Path, part_bytes: int, encoding: str | None = None, mend: bool = False
) -> TextFile:
    """Reads a text file once, to know its encoding and where to cut it.

    Args:
        path: the file.
        part_bytes: about how long a part is.
        encoding: the file's encoding, if it is known.
        mend: read bytes that are no text as U+FFFD, and count them.

    Raises:
        UserError: it is missing, empty, no text, or (without `mend`) damaged.
    """
    try:
        if not path.stat().st_size:
            raise UserError(f"{path}: the file is empty; take it out, or put text into it")
        found = detect_encoding(path, encoding)
        return measured(path, found, part_borders(path, found.name, part_bytes), mend)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check its name and permissions"
        ) from error


def measured(path: Path, encoding: Encoding, borders: Sequence[int], mend: bool) -> TextFile:
    """Counts the characters of every part, and what is no text."""
    parts: list[TextPart] = []
    characters = damaged = 0
    line = 1
    for begin, end in pairwise(borders):
        part = TextPart(begin, end, characters)
        parts.append(part)
        for text in read_part(path, encoding.name, part, "replace" if mend else "strict"):
            characters += len(text)
            damaged += text.count("\ufffd") if mend else 0
            if "\0" in text:
                line += text.count("\n", 0, text.index("\0"))
                raise UserError(
                    f"{path}:{line}: a NUL character; the file is binary or damaged; take it out "
                    "or mend it"
                )
            line += text.count("\n")
    return TextFile(path, encoding, tuple(parts), characters, damaged)


def part_borders(path: Path, encoding: str, part_bytes: int) -> list[int]:
    """The bytes at which the parts of a file begin, and its size."""
    size = path.stat().st_size
    borders = [0]
    with path.open("rb") as file:
        mark = file.read(4)
        newline = "\n".encode(unmarked(encoding, mark))
        while (wished := borders[-1] + part_bytes) < size:
            border = line_end_after(file, wished - wished % 4, newline, size)
            if border >= size:
                break
            borders.append(border)
    return [*borders, size]


def line_end_after(file: io.BufferedReader, begin: int, newline: bytes, size: int) -> int:
    """The byte after the first blank line after `begin`, or else after the first line; the size of
    the file when there is none."""
    width = len(newline)
    while begin < size:
        file.seek(begin)
        data = file.read(NEAR)
        blank = aligned_find(data, newline + newline, width)
        if blank >= 0:
            return begin + blank + 2 * width
        line = aligned_find(data, newline, width)
        if line >= 0:
            return begin + line + width
        begin += NEAR
    return size


def aligned_find(data: bytes, wanted: bytes, width: int) -> int:
    """The first place of some bytes that is a multiple of the width, or -1."""
    place = data.find(wanted)
    while place >= 0 and place % width:
        place = data.find(wanted, place + 1)
    return place


def unmarked(encoding: str, mark: bytes) -> str:
    """The same encoding without a byte-order mark, for bytes from the middle of a file."""
    if encoding == "utf_8_sig":
        return "utf_8"
    little = mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE))
    name = codecs.lookup(encoding).name
    if name in ("utf-16", "utf-32"):
        return f"{name}-{'le' if little else 'be'}"
    return encoding


def text_chunks(file: TextFile, part: TextPart) -> Iterator[str]:
    """The text of a part, in chunks."""
    return read_part(file.path, file.encoding.name, part, "replace" if file.damaged else "strict")


def read_part(path: Path, encoding: str, part: TextPart, errors: str) -> Iterator[str]:
    """The text of a part, in chunks, with `\\n` as line end and without a byte-order mark.

    Raises:
        UserError: bytes are no text in this encoding, and errors is "strict".
    """
    with path.open("rb") as file:
        codec = unmarked(encoding, file.read(4))
        decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(codec)(errors), translate=True
        )
        file.seek(part.begin)
        position, is_first = part.begin, part.begin == 0
        while position < part.end:
            data = file.read(min(CHUNK, part.end - position))
            if not data:
                raise UserError(f"{path}: the file became shorter while it was read; run again")
            position += len(data)
            try:
                text = decoder.decode(data, final=position >= part.end)
            except UnicodeDecodeError as error:
                begin = position - len(error.object)  # bytes that waited are among them
                raise damaged_text(path, encoding, begin + error.start) from error
            yield text.removeprefix("\ufeff") if is_first else text
            is_first = False


def damaged_text(path: Path, encoding: str, byte: int) -> UserError:
    """Says where a file is no text."""
    newline = "\n".encode(encoding if "16" not in encoding and "32" not in encoding else "utf_8")
    return UserError(
        f"{path}:{lines_before(path, byte, newline) + 1}: not text in {encoding}, the encoding of "
        f"the rest (byte {byte + 1:,}); mend the file, name another with --encoding, or let "
        "--bad_records skip put U+FFFD there"
    )


def lines_before(path: Path, byte: int, newline: bytes) -> int:
    """How many line ends stand before a byte."""
    count = position = 0
    with path.open("rb") as file:
        while position < byte and (data := file.read(min(CHUNK, byte - position))):
            count += data.count(newline)
            position += len(data)
    return count


def is_encoding(name: str) -> bool:
    """Whether Python knows an encoding of text by this name."""
    try:
        return (
            isinstance("a".encode(name), bytes) and codecs.getincrementaldecoder(name) is not None
        )
    except (LookupError, ValueError):
        return False
