"""Reading text files in any encoding, in parts, in bounded memory.

A part ends at a line end, a blank line if there is one near, and knows how many characters come
before it. Line ends become `\\n`, as Python's `open` reads them.
"""

from __future__ import annotations

import codecs
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from config import UserError
from data_process.running.step import Part
from data_process.text import web
from data_process.text.encoding import Encoding, detect_encoding

TEXT_ENDINGS = (".txt", ".md", ".markdown", *web.ENDINGS)
"""Of files that are texts; of web pages what they show is the text, Markdown stays as it is."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""
NEAR = 1 << 16
"""Bytes after the wished end of a part in which a line end is looked for at once."""


@dataclass(frozen=True)
class TextPart:
    """Whole lines of a text file, as a part of a step."""

    path: Path
    encoding: Encoding
    """The file's."""
    begin: int
    """Byte at which it begins."""
    end: int
    """Byte after its last."""
    characters_before: int
    """Characters of the file before it."""
    damaged: int = 0
    """Places that are no text in this encoding; they are read as U+FFFD."""
    source: str = ""
    """What its pieces are said to come from."""

    @property
    def part(self) -> Part:
        """Its name and size."""
        return Part(f"{self.path} from byte {self.begin + 1:,}", self.end - self.begin)


def text_parts(
    path: Path,
    part_bytes: int,
    encoding: str | None = None,
    mend: bool = False,
    taken: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> list[TextPart]:
    """Reads a text file once, to know its encoding and where to cut it.

    Args:
        path: the file.
        part_bytes: about how long a part is.
        encoding: the file's encoding, if it is known.
        mend: read bytes that are no text as U+FFFD, and count them.
        taken: gives what is taken of the text of a part, whose characters are counted.

    Raises:
        UserError: it is missing, empty, no text, or (without `mend`) damaged.
    """
    try:
        if not path.stat().st_size:
            raise UserError(f"{path}: the file is empty; take it out, or put text into it")
        found = detect_encoding(path, encoding)
        return measured_parts(path, found, part_bytes, mend, taken)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check its name and permissions"
        ) from error


def measured_parts(
    path: Path,
    encoding: Encoding,
    part_bytes: int,
    mend: bool,
    taken: Callable[[Iterable[str]], Iterable[str]],
) -> list[TextPart]:
    """Cuts a file, and counts the characters of every part and what is no text."""
    parts: list[TextPart] = []
    characters, line = 0, 1
    for begin, end in pairwise(part_borders(path, encoding.name, part_bytes)):
        part = TextPart(path, encoding, begin, end, characters)
        text = CheckedText(part, mend, line)
        characters += sum(map(len, taken(text)))
        line = text.line
        parts.append(replace(part, damaged=text.damaged))
    return parts


class CheckedText:
    """The text of a part, in chunks, in which lines and what is no text are counted."""

    def __init__(self, part: TextPart, mend: bool, line: int) -> None:
        """line: the number of its first line."""
        self.part = part
        self.mend = mend
        self.line = line
        self.damaged = 0

    def __iter__(self) -> Iterator[str]:
        for text in text_chunks(self.part, self.mend):
            self.damaged += text.count("\ufffd") if self.mend else 0
            if "\0" in text:
                self.line += text.count("\n", 0, text.index("\0"))
                raise UserError(
                    f"{self.part.path}:{self.line}: a NUL character; the file is binary or "
                    "damaged; take it out or mend it"
                )
            self.line += text.count("\n")
            yield text


def part_borders(path: Path, encoding: str, part_bytes: int) -> list[int]:
    """The bytes at which the parts of a file begin, and its size. A file in which a line does not
    end with the byte of `\\n` (UTF-16, UTF-32) is one part, and so is a web page."""
    size = path.stat().st_size
    borders = [0]
    if "a\n".encode(encoding).endswith(b"a\n") and not web.is_page(path):
        with path.open("rb") as file:
            while (border := line_end_after(file, borders[-1] + part_bytes)) < size:
                borders.append(border)
    return [*borders, size]


def line_end_after(file: io.BufferedReader, begin: int) -> int:
    """The byte after the first blank line near `begin`, or else after the first line; the size of
    the file when there is none."""
    file.seek(begin)
    while data := file.read(NEAR):
        for end in (b"\n\n", b"\n"):
            if (place := data.find(end)) >= 0:
                return begin + place + len(end)
        begin += len(data)
    return begin


def text_chunks(part: TextPart, mend: bool = False) -> Iterator[str]:
    """The text of a part, in chunks, with `\\n` as line end and without a byte-order mark; of a web
    page what it shows.

    Args:
        part: which part.
        mend: read bytes that are no text as U+FFFD; in a damaged part this is always done.

    Raises:
        UserError: bytes are no text in this encoding, and are not mended; or a page cannot be read.
    """
    chunks = decoded_chunks(part, mend)
    if not web.is_page(part.path):
        return chunks
    try:
        return iter([web.page_text("".join(chunks))])
    except ValueError as error:
        raise UserError(
            f"{part.path}: {error}; take the page out, or save its text as .txt"
        ) from error


def decoded_chunks(part: TextPart, mend: bool) -> Iterator[str]:
    """What a part holds, decoded."""
    make_decoder = codecs.getincrementaldecoder(part.encoding.name)
    errors = "replace" if mend or part.damaged else "strict"
    decoder = io.IncrementalNewlineDecoder(make_decoder(errors), translate=True)
    with part.path.open("rb") as file:
        file.seek(part.begin)
        position, is_first = part.begin, part.begin == 0
        while position < part.end:
            data = file.read(min(CHUNK, part.end - position))
            if not data:
                raise UserError(f"{part.path}: the file became shorter while being read; run again")
            position += len(data)
            try:
                text = decoder.decode(data, final=position >= part.end)
            except UnicodeDecodeError as error:
                begin = position - len(error.object)  # bytes that waited are among them
                raise damaged_text(part, begin + error.start) from error
            yield text.removeprefix("\ufeff") if is_first else text
            is_first = False


def damaged_text(part: TextPart, byte: int) -> UserError:
    """Names the place where a file is no text."""
    return UserError(
        f"{part.path}:{lines_before(part.path, byte) + 1}: not text in {part.encoding.name}, the "
        f"encoding of the rest (byte {byte + 1:,}); mend the file, name another with --encoding, "
        "or let --bad_records skip put U+FFFD there"
    )


def lines_before(path: Path, byte: int) -> int:
    """How many line ends stand before a byte."""
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(min(CHUNK, byte - file.tell())), b"")
        return sum(piece.count(b"\n") for piece in pieces)


def blocks(chunks: Iterable[str], size: int) -> Iterator[tuple[str, bool]]:
    """The same text in blocks of `size` characters up to twice as many, and whether each is the
    last."""
    waiting = ""
    for piece in (text[at : at + size] for text in chunks for at in range(0, len(text), size)):
        if len(waiting) >= size:
            yield waiting, False
            waiting = ""
        waiting += piece
    yield waiting, True


def data_lines(path: Path) -> list[str]:
    """The lines of a list that comes with the code, but for blank ones and those that begin with
    #."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and line[0] != "#"]


@functools.cache
def word_list(path: Path) -> frozenset[str]:
    """The words of such a list, read once."""
    return frozenset(word for line in data_lines(path) for word in line.split())
