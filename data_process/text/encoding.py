"""Which encoding a text file has.

A byte-order mark says it; else bytes that are UTF-8 throughout are UTF-8; else it is the one in
which the bytes around the first that are not UTF-8 are likeliest to be writing (guessing.py). When
two are about as likely, it is not guessed.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from config import UserError
from data_process.running.compression import COMPRESSIONS
from data_process.text.guessing import guess_encoding
from data_process.text.web import declared_encoding, is_page

BOMS = (
    (codecs.BOM_UTF8, "utf_8_sig"),
    (codecs.BOM_UTF32_LE, "utf_32"),
    (codecs.BOM_UTF32_BE, "utf_32"),
    (codecs.BOM_UTF16_LE, "utf_16"),
    (codecs.BOM_UTF16_BE, "utf_16"),
)
UNMARKED = ("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be")
NO_TEXT = {
    **{found.magic: f"compressed ({name})" for name, found in COMPRESSIONS.items()},
    b"PK\x03\x04": "a ZIP archive, as .docx and .epub are",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"{\\rtf": "RTF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
}
"""First bytes of files that people mistake for text."""
ESCAPES = {b"\x1b$B": "iso2022_jp", b"\x1b$@": "iso2022_jp", b"\x1b$)C": "iso2022_kr"}
"""What begins the letters beyond ASCII in encodings of seven bits."""
USUAL = re.compile(
    r"[\t\r\n\x20-\u137f\u2010-\u2030\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uff5e]"
)
"""Characters that writing is made of."""
SAMPLE = 1 << 16
"""Bytes that an encoding is guessed from."""


@dataclass(frozen=True)
class Encoding:
    """An encoding, and how it was found."""

    name: str
    """As Python's codecs call it."""
    evidence: str
    """named, byte-order mark, UTF-8 throughout, zero bytes, named in the page, or guessed."""


def detect_encoding(path: Path, named: str | None = None) -> Encoding:
    """The encoding of a file.

    Args:
        path: a text file that is not empty.
        named: an encoding that the user knows it has.

    Raises:
        UserError: it is no text, or nothing fits.
    """
    with path.open("rb") as file:
        return encoding_in(file, path, named)


def encoding_in(file: IO[bytes], path: Path, named: str | None = None) -> Encoding:
    """The encoding of a file that is open; `path`: its name. See `detect_encoding`."""
    head = file.read(SAMPLE)
    for magic, what in NO_TEXT.items():
        if head.startswith(magic):
            raise UserError(f"{path}: the file is {what}; make a text file of it first")
    if named is not None:
        return Encoding(named, "named")
    for mark, name in BOMS:
        if head.startswith(mark):
            return Encoding(name, "byte-order mark")
    if b"\0" in head:
        return encoding_with_zeros(path, head)
    first_error = first_byte_not_utf8(file)
    if first_error is None:
        for escape, name in ESCAPES.items():
            if escape in head:
                return Encoding(name, "guessed")
        return Encoding("utf_8", "UTF-8 throughout")
    return guessed_encoding(path, head, sample_at(file, first_error), first_error)


def encoding_with_zeros(path: Path, head: bytes) -> Encoding:
    """UTF-16 or UTF-32 without a mark: the one that makes most letters of the bytes. UTF-8 with a
    few zeros in it is damaged UTF-8, though its letters, taken by two, may look Chinese."""
    has_few = head.count(0) < len(head) / 4  # of ASCII in UTF-16 half are zero
    others = head.replace(b"\0", b"")
    if has_few and damage_as(others, "utf_8") < 0.5 and letters_in(others, "utf_8") > 0.9:
        return Encoding("utf_8", "zero bytes")
    whole = head[: len(head) // 4 * 4]
    likeness = {name: letters_in(whole, name) for name in UNMARKED}
    name = max(likeness, key=lambda name: likeness[name])
    if likeness[name] < 0.9:
        raise UserError(
            f"{path}: the file has NUL bytes and is neither UTF-16 nor UTF-32, so it is binary or "
            "damaged; take it out, or name its encoding with --encoding"
        )
    return Encoding(name, "zero bytes")


def letters_in(data: bytes, encoding: str) -> float:
    """The share of characters that writing is made of (0 when most bytes are no characters)."""
    text = data.decode(encoding, errors="replace")
    return len(USUAL.findall(text)) / max(1, len(text))


def first_byte_not_utf8(file: IO[bytes]) -> int | None:
    """The first byte that cannot be UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = file.seek(0)
    while True:
        data = file.read(1 << 20)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            return position - pending + error.start
        if not data:
            return None
        position += len(data)


def guessed_encoding(path: Path, head: bytes, sample: bytes, first_error: int) -> Encoding:
    """The likeliest encoding of a file that is not UTF-8, by its head and a sample from around the
    first byte that shows it."""
    if damage_as(head + sample, "utf_8") < 0.5:
        return Encoding("utf_8", "guessed")
    if is_page(path) and is_encoding(stated := declared_encoding(head)):
        return Encoding(codecs.lookup(stated).name, "named in the page")
    name, rivals = guess_encoding(sample)
    if name is None:
        found = f"it may be {' or '.join(rivals)}" if rivals else "none that is known fits"
        raise UserError(
            f"{path}: which encoding? byte {first_error + 1:,} is not UTF-8, and {found}; name it "
            "with --encoding, or take the file out"
        )
    return Encoding(name, "guessed")


def is_encoding(name: str) -> bool:
    """Whether Python knows an encoding of text by this name."""
    try:
        "a".encode(name)  # refuses codecs that are not of text
        return codecs.getincrementaldecoder(name) is not None
    except (LookupError, ValueError):
        return False


def sample_at(file: IO[bytes], position: int) -> bytes:
    """Some whole lines of a file, from the one that holds a byte on."""
    begin = file.seek(max(0, position - 4096))
    data = file.read(SAMPLE)
    line = data.rfind(b"\n", 0, position - begin) + 1
    end = data.rfind(b"\n", position - begin) + 1 if len(data) == SAMPLE else len(data)
    return data[line if line or not begin else position - begin : end or len(data)]


def damage_as(sample: bytes, encoding: str) -> float:
    """Bytes that are no text in an encoding, for each character beyond ASCII that is (or 1)."""
    text = sample.decode(encoding, errors="replace")
    wrong = text.count("\ufffd")
    right = sum(c > "\x7f" for c in text) - wrong
    return wrong / max(right, 1)
