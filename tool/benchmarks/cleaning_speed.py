"""How fast dumps are cleaned, by Etude and by others, on one core of the same machine."""

from __future__ import annotations

from collections.abc import Sequence

from tool.benchmarks.cleaning_contenders import CONTENDERS, Cleaned, CleaningJob
from tool.benchmarks.own_process import Failure, run_apart


def measure_speed(
    job: CleaningJob, names: Sequence[str], rounds: int
) -> dict[str, list[float] | Failure]:
    """Seconds of a core that each contender takes for a dump, from XML to text.

    They take turns, each time in a process of its own; what a process needs to begin counts for
    wikiextractor alone, which is run as a command, and is a small part of its time.
    """
    results: dict[str, list[float] | Failure] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        for name in names:
            seconds = results[name]
            if isinstance(seconds, Failure):
                continue
            cleaned = run_apart(CONTENDERS[name], job)
            if isinstance(cleaned, Cleaned):
                seconds.append(cleaned.seconds)
                print(f"round {number}: {name} {cleaned.seconds:.2f} s", flush=True)
            else:
                results[name] = cleaned
    return results


def speed_table(
    results: dict[str, list[float] | Failure], megabytes: float, title: str
) -> list[str]:
    """The fastest round of each, for people."""
    lines = [f"\n{title}, {megabytes:.1f} MB of XML: MB/s on one core, the best of the rounds"]
    for name, seconds in results.items():
        if isinstance(seconds, Failure):
            lines.append(f"{name:20} failed: {seconds.reason}")
        else:
            lines.append(f"{name:20} {megabytes / min(seconds):>8.1f}")
    return lines
