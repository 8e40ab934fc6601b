"""A function, or an object, in a process of its own, which starts from nothing and ends with it.

Allocator settings, compiled code, memory and a crash of one measurement then cannot reach another.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from config import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a function did not come to its end."""

    reason: str
    """In one line."""


def run_apart(function: Callable[..., Result], *args: object) -> Result | Failure:
    """What a function of a module returns, or why it failed; the whole error goes to standard
    error.

    Args:
        function: a function that can be imported by its name.
        args: what can be sent to another process.

    Raises:
        UserError: the function raised it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args).result()
        except UserError:
            raise
        except Exception as error:  # whatever it was, the other measurements go on
            return told(error)


def told(error: Exception) -> Failure:
    """An error in one line; the whole of it goes to standard error."""
    print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    return Failure(f"{type(error).__name__}: {first_line}")


class OwnProcess:
    """An object in a process of its own, whose methods are called from here. It waits without work
    between the calls, so several of them can take turns."""

    def __init__(self, make: Callable[..., object], *args: object) -> None:
        """Starts the process, which makes the object.

        Args:
            make: a class or function that can be imported by its name.
            args: what can be sent to another process.
        """
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, make, args), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, method: str, *args: object) -> Any:
        """What a method of the object returns, or the Failure that it ended with, or with which the
        object could not be made."""
        try:
            self.connection.send((method, args))
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Failure(f"its process ended with code {self.process.exitcode}")

    def close(self) -> None:
        """Ends the process."""
        self.connection.close()
        self.process.join()


def serve(connection: Connection, make: Callable[..., object], args: Sequence[object]) -> None:
    """Makes an object and calls what it is asked for, until the other side has gone."""
    made: object
    try:
        made = make(*args)
    except Exception as error:
        made = told(error)
    with suppress(EOFError):
        while True:
            method, given = connection.recv()
            answer: object = made
            if not isinstance(made, Failure):
                try:
                    answer = getattr(made, method)(*given)
                except Exception as error:
                    answer = told(error)
            connection.send(answer)
