"""Mixing data files by weights: `--sft_files new.jsonl:0.8 old.jsonl:0.2`.

A weight is a share of the rows that are trained (of the prompts, where these are drawn). The order
stays a function of (seed, position): an epoch holds so many rows of each file as its weight says,
in a seeded order, and each file is gone through by seeded permutations of its own, one after
another. An epoch ends where the first file has been gone through, so that none is seen twice in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config import UserError


def split_weights(paths: Sequence[Path]) -> tuple[list[Path], list[float | None]]:
    """The files, and the weight that follows each after a colon; None where none does. A path that
    exists is a file, whatever it is called.

    Raises:
        UserError: a weight is not a number above 0.
    """
    files: list[Path] = []
    weights: list[float | None] = []
    for path in paths:
        name, colon, text = str(path).rpartition(":")
        is_file = path.exists() or not colon or "/" in text or "\\" in text
        if not is_file and (is_number(text) or Path(name).exists()):
            files.append(Path(name))
            weights.append(weight_of(path, text))
        else:
            files.append(path)
            weights.append(None)
    return files, weights


def is_number(text: str) -> bool:
    """Whether a text is a number, infinite and NaN among them."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def weight_of(path: Path, text: str) -> float:
    """The weight that follows a file's name; raises UserError when it is none."""
    weight = float(text) if is_number(text) else math.nan
    if not (0 < weight < math.inf):
        raise UserError(
            f"{path}: the weight {text!r} is not a number above 0; write it as in data.jsonl:0.2, "
            "or leave the file out"
        )
    return weight


@dataclass(frozen=True)
class Mix:
    """Files and their shares."""

    names: tuple[str, ...]
    weights: tuple[float | None, ...]
    """As they were given; a file without one takes its part, by size, of what the others leave of
    1."""
    ends: tuple[int, ...] = ()
    """Of the numbers from 0 of rows, documents or prompts: where those of each file end."""

    @classmethod
    def of(cls, paths: Sequence[Path]) -> tuple[list[Path], Mix | None]:
        """The files of a command line, and how they are mixed; None: one after another.

        Raises:
            UserError: a weight is not a number above 0, or nothing is left for files without one.
        """
        files, weights = split_weights(paths)
        if not any(weights):
            return files, None
        total = sum(weight or 0 for weight in weights)
        if None in weights and total >= 1:
            raise UserError(
                f"{files[weights.index(None)]} has no weight, and those of the other files add up "
                f"to {total:g}, which leaves nothing of 1 for it: give it a weight too"
            )
        return files, cls(tuple(file.name for file in files), tuple(weights))

    def within(self, ends: Sequence[int]) -> Mix:
        """The same over other numbers.

        Raises:
            UserError: a file has none of them, or its weight gives it none of an epoch.
        """
        mix = dataclasses.replace(self, ends=tuple(map(int, ends)))
        for name, size in zip(self.names, mix.sizes, strict=True):
            if not size:
                raise UserError(f"{name} has a part in the mix, and nothing of it can be trained")
        for name, share, count in zip(self.names, mix.shares, mix.counts, strict=True):
            if not count:
                raise UserError(
                    f"{name}: a share of {share:.2g} gives it none of the {mix.epoch_rows:,} rows "
                    "of an epoch, which ends where the first file has been gone through: raise its "
                    "weight"
                )
        return mix

    @property
    def sizes(self) -> list[int]:
        """How many each file has."""
        return np.diff([0, *self.ends]).tolist()

    @property
    def shares(self) -> list[float]:
        """The share of each file; their sum is 1."""
        left = 1 - sum(weight or 0 for weight in self.weights)
        pairs = list(zip(self.weights, self.sizes, strict=True))
        open_size = sum(size for weight, size in pairs if weight is None)
        found = [left * size / open_size if weight is None else weight for weight, size in pairs]
        return [share / sum(found) for share in found]

    @property
    def epoch_rows(self) -> int:
        """Rows of an epoch."""
        pairs = zip(self.sizes, self.shares, strict=True)
        # A share such as 1/3 is rounded: 3 * (1/3) rows must be 1 row.
        return max(1, math.floor(min(size / share for size, share in pairs) + 1e-6))

    @property
    def counts(self) -> list[int]:
        """Rows of each file in an epoch, by the largest remainders."""
        exact = [share * self.epoch_rows for share in self.shares]
        counts = [math.floor(rows + 1e-6) for rows in exact]
        by_rest = sorted(range(len(exact)), key=lambda n: counts[n] - exact[n])
        for number in by_rest[: self.epoch_rows - sum(counts)]:
            counts[number] += 1
        return counts

    def rows_of(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """(epoch_rows,) the rows of an epoch in their order."""
        counts = self.counts
        draw = np.random.Generator(np.random.PCG64([seed, epoch]))
        files = draw.permutation(np.repeat(np.arange(len(counts)), counts))
        rows = np.empty(len(files), dtype=np.int64)
        for number, (count, size) in enumerate(zip(counts, self.sizes, strict=True)):
            first, inside = divmod(epoch * count, size)
            several = [
                np.random.Generator(np.random.PCG64([seed, time, number + 1])).permutation(size)
                for time in range(first, first + 1 + (inside + count - 1) // size)
            ]
            begin = self.ends[number] - size
            rows[files == number] = begin + np.concatenate(several)[inside : inside + count]
        return rows

    def sentence(self, rows: float, what: str = "rows") -> str:
        """What a run over so many rows takes of each file."""
        parts = []
        for name, size, share in zip(self.names, self.sizes, self.shares, strict=True):
            times = rows * share / size
            parts.append(f"{name} {share:.1%} ({size:,} {what}, gone through {times:.2f} times)")
        return f"mix: {', '.join(parts)}; an epoch is {self.epoch_rows:,} {what}"
