"""Running a function in a process of its own, which starts from nothing and ends with it.

Allocator settings, compiled code, memory and a crash of one measurement then cannot reach another.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

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
            print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
            first_line = (str(error).strip().splitlines() or ["no message"])[0]
            return Failure(f"{type(error).__name__}: {first_line}")
