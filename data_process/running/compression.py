"""Compressed files and Parquet: what other programs write, and what an output's name asks for."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from config import UserError
from data_process.running.step import grouped

READ_BYTES = 1 << 16
LONGEST = 1 << 31
"""Bytes of a line of a compressed file; a bomb has longer ones."""
BATCH_BYTES = 16 << 20
"""JSON that becomes a row group of Parquet."""


class Kept(io.RawIOBase):
    """A file behind a wrapper that would close it; `head`: what was already read of it."""

    def __init__(self, file: IO[bytes], head: bytes = b"") -> None:
        super().__init__()
        self.file, self.head = file, head
        self.read_some: Callable[[int], bytes] = getattr(file, "read1", file.read)

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It may be."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what is there."""
        data = self.head[: len(buffer)] if self.head else self.read_some(len(buffer))
        self.head = self.head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Writes all."""
        return self.file.write(data)


class Decompressed(io.RawIOBase):
    """A compressed file as it was; where it is damaged or cut, it raises UserError with the line
    that is reached."""

    def __init__(self, file: IO[bytes], name: str, compression: str) -> None:
        super().__init__()
        self.file = COMPRESSIONS[compression].reader(file)
        self.name, self.compression, self.line = name, compression, 1
        self.since = 0  # bytes since the last line end

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads and decompresses."""
        try:
            data = self.file.read(min(len(buffer), READ_BYTES))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise UserError(
                f"{self.name}:{self.line}: here the {self.compression} data is cut or damaged "
                f"({error}); fetch the file again"
            ) from error
        self.line += data.count(b"\n")
        self.since = (
            len(data) - 1 - end if (end := data.rfind(b"\n")) >= 0 else self.since + len(data)
        )
        if self.since > LONGEST:
            raise UserError(
                f"{self.name}:{self.line}: a line of more than {LONGEST:,} bytes; it is no text"
            )
        buffer[: len(data)] = data
        return len(data)


def zstd_reader(file: IO[bytes]) -> IO[bytes]:
    """Reads Zstandard."""
    import pyarrow as pa  # slow to import

    return cast("IO[bytes]", pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))


def zstd_writer(file: IO[bytes]) -> IO[bytes]:
    """Writes Zstandard."""
    import pyarrow as pa

    stream = pa.PythonFile(Kept(file), mode="w")
    return cast("IO[bytes]", pa.CompressedOutputStream(stream, "zstd"))


def gzip_writer(file: IO[bytes]) -> IO[bytes]:
    """Writes gzip without name and time, so that the same content gives the same bytes."""
    return cast("IO[bytes]", gzip.GzipFile("", "wb", 6, cast("Any", file), mtime=0))


class Compression(NamedTuple):
    """A way to compress a file."""

    magic: bytes
    """Its first bytes."""
    suffix: str
    reader: Callable[[IO[bytes]], IO[bytes]]
    writer: Callable[[IO[bytes]], IO[bytes]]


COMPRESSIONS = {
    "gzip": Compression(
        b"\x1f\x8b", ".gz", lambda file: cast("Any", gzip.GzipFile(fileobj=file)), gzip_writer
    ),
    "bzip2": Compression(
        b"BZh", ".bz2", bz2.BZ2File, lambda file: cast("Any", bz2.BZ2File(file, "wb"))
    ),
    "xz": Compression(
        b"\xfd7zXZ\0",
        ".xz",
        lzma.LZMAFile,
        lambda file: cast("Any", lzma.LZMAFile(file, "wb")),  # noqa: SIM115
    ),
    "zstd": Compression(b"\x28\xb5\x2f\xfd", ".zst", zstd_reader, zstd_writer),
}
"""By name."""
SUFFIXES = tuple(compression.suffix for compression in COMPRESSIONS.values())


def inner_name(path: Path) -> Path:
    """A path without the ending of a compression."""
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


@contextmanager
def packed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """What takes the lines of JSON of an output, and writes them as its name asks for: compressed
    (.gz, .bz2, .xz, .zst), as Parquet (.parquet), or as they are."""
    suffix = Path(name).suffix.lower()
    writer = next((c.writer for c in COMPRESSIONS.values() if c.suffix == suffix), None)
    if writer:
        with writer(file) as stream:
            yield stream
    elif suffix == ".parquet":
        with tempfile.TemporaryFile("w+b") as lines:
            yield lines
            if lines.tell():
                write_parquet(lines, file, name)
    else:
        yield file


def write_parquet(lines: IO[bytes], file: IO[bytes], name: str) -> None:
    """Writes lines of JSON objects as a table, a column for each key.

    Raises:
        UserError: the values of a key are of several types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def batches() -> Iterator[list[dict[str, Any]]]:
        lines.seek(0)
        for group in grouped(lines, len, BATCH_BYTES):
            yield [json.loads(line) for line in group]

    def schema_of(rows: list[dict[str, Any]]) -> Any:
        keys = dict.fromkeys(chain.from_iterable(rows))
        return pa.table({key: [row.get(key) for row in rows] for key in keys}).schema

    try:
        schema = pa.unify_schemas(map(schema_of, batches()), promote_options="permissive")
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in batches():
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    except (pa.ArrowException, OverflowError) as error:
        raise UserError(
            f"{name}: Parquet has one type for each key ({str(error).splitlines()[0]}); let the "
            "output's name end with .jsonl or .jsonl.gz"
        ) from error
