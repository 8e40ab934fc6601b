"""The report on a chain as files: JSON, and a page to look at."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from data_process.pipeline.chain import DEDUP, Chain
from data_process.pipeline.report import Report
from data_process.records.counts import quantiles
from data_process.records.jsonl import read_raw_lines
from data_process.running.step import done_parts, part_counts, part_folder
from model.directory.storage import json_writer, replace_file

SHARES = {"least": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95}
SAMPLES, SAMPLE_LENGTH = 10, 300
"""How many documents are shown, and how many characters of each."""


def report_paths(output: Path) -> tuple[Path, Path]:
    """Where the report on an output goes, as JSON and as a picture."""
    return (
        output.with_name(f"{output.stem}_report.json"),
        output.with_name(f"{output.stem}_report.png"),
    )


def write_report(report: Report, chain: Chain, output: Path, problems: Sequence[str]) -> None:
    """Writes both, each whole.

    Args:
        report: what was done.
        chain: what did it.
        output: the file it made.
        problems: what is wrong with the input.
    """
    from data_process.pipeline.counts_picture import save
    from data_process.pipeline.picture import draw  # matplotlib takes a while to import

    data, page = report_paths(output)
    replace_file(data, json_writer(as_json(report, chain, problems)))
    characters = sum(n * count for n, count in report.found.lengths["characters"].items())
    documents = report.found.counts["in"]
    figure = draw(report, f"{output.name}: {documents:,} documents, {characters:,} characters")
    replace_file(page, lambda path: save(figure, path, "png"))


def as_json(report: Report, chain: Chain, problems: Sequence[str]) -> dict[str, Any]:
    """All that is in the report's file."""
    found = report.found
    lengths = found.lengths.get("characters", Counter())
    names = [*SHARES, "most"]
    return {
        "input": [
            {"file": str(path), "kind": kind, "bytes": path.stat().st_size}
            for path, kind in chain.inputs.files
        ],
        "problems": list(problems),
        "settings": {
            **asdict(chain.settings),
            "against": [str(path) for path in chain.against],
        },
        "steps": [{"step": s, "documents": d, "bytes": b} for s, d, b in report.steps()],
        "stages": [
            {
                "stage": stage.name,
                "bytes in": stage.bytes_in,
                "bytes out": stage.bytes_out,
                "counts": {name: n for name, n in sorted(stage.counts.items()) if n},
            }
            for stage in report.stages
        ],
        "output": {
            "documents": found.counts["in"],
            "characters": sum(length * count for length, count in lengths.items()),
            "bytes of text": found.counts["bytes of text"],
            "characters in a document": dict(
                zip(names, quantiles(lengths, [*SHARES.values(), 1.0]), strict=True)
            ),
            "languages": dict(found.share_of("language ")),
            "scripts": dict(found.share_of("script ")),
        },
        "samples": list(samples(chain)),
    }


def samples(chain: Chain) -> Iterator[dict[str, Any]]:
    """The beginnings of some documents of the output, drawn at random, always the same; with the
    keys that say where they come from."""
    place = chain.work_dir / DEDUP
    written = [(number, part_counts(place, number)["out"]) for number in done_parts(place)]
    total = sum(count for _, count in written)
    drawn = sorted(random.Random(1).sample(range(total), min(SAMPLES, total)))
    before = 0
    for part, count in written:
        for number in (n for n in drawn if before <= n < before + count):
            lines = read_raw_lines(part_folder(place, part) / "main.jsonl")
            record = json.loads(next(islice(lines, number - before, None))[1])
            yield {**record, "text": record["text"][:SAMPLE_LENGTH]}
        before += count
