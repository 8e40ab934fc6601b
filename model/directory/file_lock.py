"""A file that one process holds at a time."""

from __future__ import annotations

import errno
import sys
from typing import IO


def lock_file(file: IO[bytes]) -> bool:
    """Locks a file for this process alone, not for its children; False when another process has it.
    Where the file system knows no locks, it goes on without."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
