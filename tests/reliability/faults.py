"""Faults at the operations that change a disk: the process dies there, the disk is full from there
on, or the operation fails once."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest
import safetensors.torch
from safetensors import SafetensorError

from config import UserError

Kind = Literal["kill", "full disk", "I/O error", "Ctrl-C", "none"]
KINDS: tuple[Kind, ...] = ("kill", "full disk", "I/O error", "Ctrl-C")
DEATH = 137
"""The exit code of a process that died at a fault."""
NEEDS_SPACE = {"open", "write", "mkdir", "save_file", "fsync"}
"""What a full disk refuses; names can still be moved and removed."""


class Faults:
    """Counts the operations that change the disk, and fails at one of them.

    Args:
        kind: what happens there.
        fail_at: the number of the operation; the ones before it happen.
        share: how much of the data gets to the disk when a write fails.
    """

    def __init__(self, kind: Kind, fail_at: int, share: float = 0.5) -> None:
        self.kind, self.fail_at, self.share = kind, fail_at, share
        self.names: list[str] = []

    def reach(self, name: str) -> bool:
        """Counts an operation; whether it is to fail."""
        self.names.append(name)
        if self.kind == "full disk":
            return len(self.names) >= self.fail_at and name in NEEDS_SPACE
        return self.kind != "none" and len(self.names) == self.fail_at

    def strike(self) -> OSError:
        """Dies, or returns the error to raise."""
        if self.kind == "kill":
            os._exit(DEATH)
        if self.kind == "Ctrl-C":
            raise KeyboardInterrupt
        number = errno.ENOSPC if self.kind == "full disk" else errno.EIO
        return OSError(number, os.strerror(number))

    def wrap(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        """An operation of os that may fail."""

        def faulty(*args: Any, **kwargs: Any) -> Any:
            if self.reach(name):
                raise self.strike()
            return operation(*args, **kwargs)

        return faulty

    def wrap_open(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """`open`, which may fail, and whose files may be written in part."""

        def faulty(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wxa+"):
                return operation(file, mode, *args, **kwargs)
            if "+" not in mode and self.reach("open"):
                raise self.strike()
            return FaultyFile(operation(file, mode, *args, **kwargs), self)

        return faulty

    def wrap_serialize(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        """The writing of a safetensors file, of which only a part may arrive."""

        def faulty(tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            fails = self.reach("save_file")
            operation(tensors, filename, *args, **kwargs)
            if fails:
                os.truncate(filename, int(os.path.getsize(filename) * self.share))
                error = self.strike()
                raise SafetensorError(f"I/O error: {error.strerror} (os error {error.errno})")

        return faulty


class FaultyFile:
    """A file whose writing may fail in the middle."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        """Writes, or writes a part and fails."""
        if self.faults.reach("write"):
            self.file.write(data[: int(len(data) * self.faults.share)])
            self.file.flush()
            raise self.faults.strike()
        return int(self.file.write(data))


def in_a_child(work: Callable[[], Any]) -> int:
    """Does something in a forked process, as a script would; its exit code."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 1
    try:
        work()
        code = 0
    except UserError:
        code = 2
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


OF_OS = ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink", "remove")


def install(patch: pytest.MonkeyPatch, faults: Faults) -> None:
    """Puts faults into this process."""
    for name in OF_OS:
        patch.setattr(os, name, faults.wrap(name, getattr(os, name)))
    faulty_open = faults.wrap_open(io.open)
    patch.setattr(io, "open", faulty_open)
    patch.setattr(builtins, "open", faulty_open)
    serialize = vars(safetensors.torch)["serialize_file"]
    patch.setattr(safetensors.torch, "serialize_file", faults.wrap_serialize(serialize))


@contextmanager
def faults(kind: Kind, fail_at: int, share: float = 0.5) -> Iterator[Faults]:
    """Faults while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        faulty = Faults(kind, fail_at, share)
        install(patch, faulty)
        yield faulty


def install_for_good(kind: Kind, fail_at: int, share: float, count_file: Path | None) -> None:
    """Faults for the rest of this process; the number of operations goes to a file at its end."""
    faulty = Faults(kind, fail_at, share)
    if count_file is not None:
        leave = os._exit

        def count_and_leave(code: int) -> None:
            count_file.write_bytes(str(len(faulty.names)).encode())
            leave(code)

        os._exit = count_and_leave  # type: ignore[assignment]  # how multiprocessing ends
    install(pytest.MonkeyPatch(), faulty)
