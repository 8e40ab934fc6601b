"""Running process_jsonl.py, or another script, inside the process of the tests, which takes a tenth
of the time."""

from __future__ import annotations

import io
import json
import runpy
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from config import ROOT

SCRIPT = ROOT / "data_process" / "process_jsonl.py"


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    raw: bytes
    """What it wrote to standard output."""
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode("utf-8")

    def count(self, name: str) -> int:
        """A number of the table at the end."""
        lines = [line.split(maxsplit=1) for line in (self.out + self.err).splitlines()]
        return next((int(n[0].replace(",", "")) for n in lines if n[1:] == [name]), 0)


def run(*arguments: object, stdin: bytes = b"", script: Path = SCRIPT) -> Ran:
    """Runs the script as from the command line."""
    out, err, given = (io.TextIOWrapper(io.BytesIO(b), encoding="utf-8") for b in (b"", b"", stdin))
    argv = [str(script), *map(str, arguments)]
    with (
        patch.object(sys, "argv", argv),
        patch.object(sys, "stdout", out),
        patch.object(sys, "stderr", err),
        patch.object(sys, "stdin", given),
        patch.object(sys, "path", [*sys.path]),
    ):
        code = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        out.flush()
        err.flush()
        return Ran(code, raw_of(out), raw_of(err).decode("utf-8"))


def raw_of(stream: io.TextIOWrapper) -> bytes:
    """What was written."""
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue()


def write(path: Path, records: Iterable[Any]) -> Path:
    """A JSONL file of records."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_bytes("".join(lines).encode("utf-8"))
    return path


def read(path: Path) -> list[Any]:
    """The records of a JSONL file."""
    return [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]


def texts(count: int, prefix: str = "text") -> list[dict[str, Any]]:
    """Different records with a text and a key of their own."""
    return [
        {"text": f"{prefix} {number} " + "word " * (number % 7), "id": number}
        for number in range(count)
    ]


def chat(*contents: str, **others: Any) -> dict[str, Any]:
    """A conversation of turns of user and assistant."""
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    return {"conversations": turns, **others}
