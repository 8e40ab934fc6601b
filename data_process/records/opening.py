"""Opening data files: what they are packed in, and what they hold as UTF-8 text.

A file is known by its first bytes. It may be compressed (gzip, bzip2, xz, Zstandard), in UTF-16,
UTF-32 or an East Asian encoding, and its lines may end with \\r alone.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

from config import UserError
from data_process.running.compression import COMPRESSIONS, Decompressed, Kept, inner_name
from data_process.running.work_dir import PIPE
from data_process.text.encoding import BOMS, NO_TEXT, encoding_in

Form = Literal["jsonl", "array", "objects", "table", "lines", "parquet", "arrow"]
"""Of the records in a file. objects: JSON objects over several lines each, as jq prints them."""
HEAD_BYTES = 1 << 16
"""By which a file is known."""
BOM = codecs.BOM_UTF8
SEPARATORS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
"""By the end of the file's name; the one that is most often in the first line."""
BINARY: dict[bytes, Form] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
"""First bytes of tables; the last ones are those of a stream of Arrow."""
OTHERS = {
    **NO_TEXT,
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"SQLite format 3": "a database of SQLite",
}
"""First bytes of what holds no records."""
NO_RECORDS = {
    "<mediawiki": "a dump of a wiki: python data_process/extract_wiki.py makes JSONL of it",
    "version https://git-lfs": "a pointer of Git LFS, not the data: fetch that with git lfs pull",
    "<!doctype html": "a web page, as servers send in place of a missing file: fetch it again",
}
"""How texts begin that hold no records."""
ZEROS: dict[tuple[bool, ...], str] = {
    (True, True, True, False): "utf_32_be",
    (True, False, True, False): "utf_16_be",
    (False, True, True, True): "utf_32_le",
    (False, True, False, True): "utf_16_le",
}
"""Which of the first four bytes of JSON are zero (RFC 4627, section 3)."""
TEXT_SUFFIXES = ("", ".txt", ".text", ".md")
"""Of files that are text if they do not begin as JSON does."""
EAST_ASIAN = ("gb18030", "gbk", "gb2312", "big5", "cp950", "cp932", "shift_jis", "euc_jp", "cp949")
"""Encodings that bytes of other ones do not fit by chance, as any bytes fit Latin-1."""
LEAST_FITTING = 50
"""Characters beyond ASCII for each that does not fit."""
DAMAGED = "damaged"
"""The error handler that makes what cannot be decoded a byte that is not UTF-8, so that its line is
refused."""
codecs.register_error(DAMAGED, lambda error: ("\udc80", cast("UnicodeDecodeError", error).end))


class Packing(NamedTuple):
    """What a file is packed in."""

    compression: str | None = None
    encoding: str = "utf_8"
    ends_with_cr: bool = False
    """Its lines do, alone."""
    form: Form = "jsonl"


def is_pipe(path: Path) -> bool:
    """Whether a path can be read only once, or by this process alone."""
    is_stream = path.exists() and not path.is_file() and not path.is_dir()
    return is_stream or path == PIPE or str(path).startswith(("/dev/stdin", "/dev/fd/", "/proc/"))


COPIES, ORIGIN = "unpacked", "origin"
"""What stands in CACHE/unpacked/NAME beside the file origin is a copy (see `parts.py`) of the file
that origin names."""


def shown(path: Path) -> str:
    """A path as messages name it; of a copy the file that it was made of."""
    while path.parent.parent.name == COPIES:
        path = Path((path.parent / ORIGIN).read_text(encoding="utf-8"))
    return "standard input" if path == PIPE else str(path)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file or a pipe to read; UserError when it is missing or cannot be read."""
    if path == PIPE:
        yield sys.stdin.buffer
        return
    if not path.is_file() and not is_pipe(path):
        what = "is a directory, not a file" if path.is_dir() else "there is no such file"
        raise UserError(
            f"{path}: {what}; put your data there, name yours, or make the built-in sample with "
            "`python data_process/make_sample.py`"
        )
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions and disk"
        ) from error


def decompressed(path: Path, file: IO[bytes]) -> tuple[str | None, bytes, IO[bytes]]:
    """How a file is compressed, its first bytes, and all of it from its beginning, decompressed."""
    if file.seekable():
        begin = file.tell()
        head, whole = file.read(HEAD_BYTES), file
        file.seek(begin)
    else:
        head = file.readline(HEAD_BYTES)  # more may not be there yet
        whole = cast("Any", io.BufferedReader(Kept(file, head), HEAD_BYTES))
    compression = next((n for n, c in COMPRESSIONS.items() if head.startswith(c.magic)), None)
    if compression:
        unpacked = io.BufferedReader(Decompressed(whole, shown(path), compression), HEAD_BYTES)
        head = unpacked.read(HEAD_BYTES)
        whole = cast("Any", io.BufferedReader(Kept(unpacked, head), HEAD_BYTES))
    return compression, head, whole


def look_into(path: Path, file: IO[bytes]) -> tuple[Packing, IO[bytes]]:
    """What a file is packed in, and what it holds from its beginning: of tables (Parquet, Arrow)
    their bytes, else text in UTF-8 with \\n line ends.

    Raises:
        UserError: it holds no records.
    """
    compression, head, whole = decompressed(path, file)
    for magic, form in BINARY.items():
        if head.startswith(magic):
            return Packing(compression, form=form), whole
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            raise UserError(f"{shown(path)}:1: the file is {what}; take the data out of it first")
    encoding = encoding_of(head)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    for beginning, what in NO_RECORDS.items():
        if text.lower().startswith(beginning):
            raise UserError(f"{shown(path)}:1: the file is {what}")
    ends_with_cr = "\r" in text and "\n" not in text
    form = form_of(inner_name(path).suffix.lower(), text.removeprefix("\ufeff").lstrip())
    packing = Packing(compression, encoding, ends_with_cr, form)
    if encoding != "utf_8" or ends_with_cr:
        return packing, cast("Any", io.BufferedReader(Recoded(whole, encoding), HEAD_BYTES))
    return packing, whole


def encoding_of(head: bytes) -> str:
    """The encoding of a text by its first bytes; utf_8 where no other one is certain."""
    for mark, name in BOMS:
        if head.startswith(mark):
            return "utf_8" if mark == BOM else name
    if unmarked := ZEROS.get(tuple(byte == 0 for byte in head[:4])):
        return unmarked
    try:
        codecs.getincrementaldecoder("utf_8")().decode(head)
    except UnicodeDecodeError:
        return east_asian(head) or "utf_8"
    return "utf_8"


def east_asian(head: bytes) -> str | None:
    """The East Asian encoding that nearly all bytes of a text fit."""
    try:
        name = encoding_in(io.BytesIO(head), Path()).name
    except UserError:
        return None
    text = head.decode(name, "replace")
    fits = text.count("\ufffd") <= sum(c > "\x7f" for c in text) / LEAST_FITTING
    return name if name in EAST_ASIAN and fits else None


class Recoded(io.RawIOBase):
    """A text in any encoding, with any line ends, as UTF-8 with \\n."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        super().__init__()
        self.text = io.TextIOWrapper(cast("Any", file), encoding, errors=DAMAGED, newline=None)
        self.waiting = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads and recodes."""
        if not self.waiting:
            self.waiting = self.text.read(HEAD_BYTES).encode("utf_8", "surrogateescape")
        data, self.waiting = self.waiting[: len(buffer)], self.waiting[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def form_of(suffix: str, text: str) -> Form:
    """How a text holds its records, by the ending of its file's name and by how it begins."""
    if suffix in SEPARATORS:
        return "table"
    first, _, more = text.partition("\n")
    if text.startswith("["):
        is_line = suffix == ".jsonl" and first.rstrip().endswith("]") and more
        return "jsonl" if is_line else "array"  # a list in the first line is a bad record
    if text.startswith("{"):
        return "objects" if first.rstrip() == "{" and more else "jsonl"
    return "lines" if suffix in TEXT_SUFFIXES else "jsonl"
