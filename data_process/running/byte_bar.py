"""The progress bar of all work that reads bytes."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def byte_bar(title: str, total: int | None, initial: int = 0) -> tqdm[Any]:
    """Shows bytes and their speed, in a terminal, once the work takes longer than a second.

    Args:
        title: what is done.
        total: bytes in all; None: not known.
        initial: bytes that were done before.
    """
    return tqdm(
        desc=title,
        total=total,
        initial=initial,
        unit="B",
        unit_scale=True,
        delay=1,
        leave=False,
        disable=None,
    )
