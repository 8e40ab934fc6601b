"""Compares the wikitext cleaner with what others use, in speed and in quality."""

from __future__ import annotations

import bz2
import gzip
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from config import UserError
from tool.benchmarks.cleaning_contenders import (
    CONTENDERS,
    CleaningJob,
    articles_of,
    language_of,
    missing_contenders,
)
from tool.benchmarks.cleaning_quality import Quality, measure_quality, quality_table
from tool.benchmarks.cleaning_speed import measure_speed, speed_table
from tool.benchmarks.machine import processor_name
from tool.benchmarks.own_process import Failure
from tool.settings import CleaningBenchmarkConfig

ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def compare_cleaning(config: CleaningBenchmarkConfig) -> int:
    """Measures, prints tables and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: a dump cannot be read.
    """
    print(f"{processor_name()}; Python {platform.python_version()}", flush=True)
    missing = missing_contenders(config.wikiextractor)
    for name, remedy in missing.items():
        print(f"{name} is left out: {remedy}")
    report: dict[str, Any] = {"benchmark": "data", "missing": missing, "speed": {}, "quality": {}}
    lost: list[dict[str, str]] = []
    failures: list[Failure] = []
    with TemporaryDirectory() as folder:
        jobs = [job_of(path, Path(folder), config) for path in config.dumps]
        largest = max(jobs, key=lambda job: job.dump.stat().st_size)
        report["speed"], failed = report_speed(largest, missing, config.rounds)
        failures += failed
        for job in jobs:
            found, failed = report_quality(job, missing)
            failures += failed
            report["quality"][job.dump.name] = {
                n: quality.to_json() for n, quality in found.items()
            }
            lost += differences(job.dump.name, found)
    if config.differences:
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in lost)
        config.differences.write_text("".join(lines), encoding="utf-8")
    print(json.dumps(report))
    return int(bool(failures))


def job_of(path: Path, folder: Path, config: CleaningBenchmarkConfig) -> CleaningJob:
    """A dump, unpacked into a folder, in UTF-8, since not all contenders read others.

    Raises:
        UserError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"BZh"):
            content = bz2.decompress(content)
        elif content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode(ENCODINGS.get(content[:2], "utf-8-sig"))
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a dump") from error
    plain = folder / path.name.removesuffix(".bz2").removesuffix(".gz")
    head, found, rest = text.partition("?>")
    plain.write_text(
        head.replace("UTF-16", "UTF-8").replace("utf-16", "utf-8") + found + rest, encoding="utf-8"
    )
    return CleaningJob(plain, language_of(path, articles_of(plain)[0]), config.wikiextractor)


def report_speed(
    job: CleaningJob, missing: Mapping[str, str], rounds: int
) -> tuple[dict[str, Any], list[Failure]]:
    """Measures and prints the speed; returns it for the report, and what failed."""
    names = [name for name in CONTENDERS if name not in missing]
    results = measure_speed(job, names, rounds)
    megabytes = job.dump.stat().st_size / 1e6
    print("\n".join(speed_table(results, megabytes, job.dump.name)), flush=True)
    failures = [result for result in results.values() if isinstance(result, Failure)]
    figures = {
        name: {"error": result.reason}
        if isinstance(result, Failure)
        else {"mb_per_second": megabytes / min(result), "seconds": result}
        for name, result in results.items()
    }
    return {"dump": job.dump.name, "megabytes": megabytes, "contenders": figures}, failures


def report_quality(
    job: CleaningJob, missing: Mapping[str, str]
) -> tuple[dict[str, Quality], list[Failure]]:
    """Measures and prints the quality; returns it, and what failed."""
    found, failures = measure_quality(job, missing)
    title = f"{job.dump.name} ({job.language}): markup left in a million characters; kept by us"
    print(quality_table(title, found, failures), flush=True)
    return found, list(failures.values())


def differences(dump: str, found: Mapping[str, Quality]) -> list[dict[str, str]]:
    """The sentences of others that Etude does not have, to be read."""
    return [
        {"dump": dump, "contender": name, "sentence": sentence}
        for name, quality in found.items()
        for sentence in quality.lost
    ]
