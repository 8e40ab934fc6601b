"""Counting what was tried: each trial is a line in a raw log, and the table at the end says what
the numbers prove."""

from __future__ import annotations

import json
import os
import platform
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from train.machine import git_commit

PROMISES = {
    "R1": "an interrupted run equals an uninterrupted one",
    "R2": "a save never destroys the last checkpoint",
    "R3": "a damaged checkpoint is seen before it is used",
    "R4": "a signal loses no step",
    "R5": "a value that is not finite never spreads",
    "R6": "a wrong pairing is refused by name",
    "R7": "the order does not depend on the number of machines",
    "R8": "a dead rank ends the job",
    "R9": "bad data is named, and skipped by count",
    "R10": "a dump cannot hurt or fool",
    "R11": "work on data that was killed gives the same bytes",
    "R12": "a tokenizer loses nothing, is stable and cannot be forged",
    "R13": "streamed text is the text that comes at once",
    "R14": "a cached token is a computed one",
    "R15": "an exported model is the same model",
    "R16": "a server never answers wrongly",
    "R17": "a server cannot be knocked over",
    "R18": "a file never executes",
    "R20": "safety is cheap",
    "R21": "the screen decides nothing",
    "R22": "Ctrl-C is answered within a second",
}


@dataclass(frozen=True)
class Settings:
    """What a run of these tests was asked for, by environment variables."""

    release: bool
    """ETUDE_RELIABILITY=release: the sizes that are run by hand before a release."""
    promises: tuple[str, ...]
    """ETUDE_RELIABILITY_PROMISES=R1,R3: only these; empty: all."""
    log: Path | None
    """ETUDE_RELIABILITY_LOG: where the raw log goes; None: nowhere."""
    seed: int
    """ETUDE_RELIABILITY_SEED: every trial's own seed begins with it."""

    @classmethod
    def of_environment(cls) -> Settings:
        """Reads the variables."""
        promises = os.environ.get("ETUDE_RELIABILITY_PROMISES", "")
        log = os.environ.get("ETUDE_RELIABILITY_LOG")
        return cls(
            release=os.environ.get("ETUDE_RELIABILITY") == "release",
            promises=tuple(filter(None, promises.replace(" ", "").upper().split(","))),
            log=Path(log).resolve() if log else None,
            seed=int(os.environ.get("ETUDE_RELIABILITY_SEED", "1")),
        )


@dataclass
class Book:
    """The trials of a whole run of the tests."""

    settings: Settings
    outcomes: dict[str, list[bool]] = field(default_factory=dict)

    def begin(self, promises: Collection[str]) -> None:
        """Starts the log: lines of the promises that are tried again go, those of others stay."""
        if self.settings.log is None:
            return
        kept = []
        if self.settings.log.exists():
            lines = self.settings.log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["promise"] not in promises]
        for line in map(json.loads, kept):  # what was tried before is part of the table
            self.outcomes.setdefault(line["promise"], []).append(line["passed"])
        self.settings.log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, promise: str, passed: bool, facts: dict[str, Any]) -> None:
        """Counts a trial and writes its line."""
        self.outcomes.setdefault(promise, []).append(passed)
        if self.settings.log is None:
            return
        line = {"promise": promise, **facts, "passed": passed, **self.origin}
        with self.settings.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    @cached_property
    def origin(self) -> dict[str, str]:
        """What the trial was made with."""
        return {
            "commit": git_commit() or "unknown",
            "torch": torch.__version__,
            "system": f"{platform.system()} {platform.machine()}",
        }

    def table(self) -> list[str]:
        """Failures and trials of each promise, and by the rule of three the failure rate that so
        many trials without a failure rule out (with 95% confidence)."""
        lines = []
        for promise, outcomes in sorted(self.outcomes.items(), key=lambda item: int(item[0][1:])):
            failures, count = outcomes.count(False), len(outcomes)
            bound = f"rate below {3 / count:.2%}" if not failures else "BROKEN"
            lines.append(
                f"{promise:<4} {failures:>3} failures in {count:>5} trials  {bound:<18} "
                f"{PROMISES[promise]}"
            )
        return lines


@dataclass
class Trials:
    """The trials of one test."""

    book: Book
    promise: str
    test: str
    failed: list[str] = field(default_factory=list)

    def size(self, ci: int, release: int) -> int:
        """How many trials: few in continuous integration, many before a release."""
        return release if self.book.settings.release else ci

    def draws(self, count: int) -> Iterator[tuple[str, random.Random]]:
        """Seeds and their generators; the seed stands in the log, and gives the trial again."""
        for number in range(count):
            seed = f"{self.book.settings.seed}/{self.test}/{number}"
            yield seed, random.Random(seed)

    def record(self, seed: str, passed: bool, **facts: Any) -> None:
        """Writes down a trial: what was done, and whether the promise held."""
        facts = {"test": self.test, "seed": seed, **facts}
        self.book.add(self.promise, passed, facts)
        if not passed:
            self.failed.append(json.dumps(facts, ensure_ascii=False))

    def verdict(self) -> None:
        """Fails the test when a trial failed."""
        assert not self.failed, f"{len(self.failed)} failures:\n" + "\n".join(self.failed[:10])
