"""What the chain says at its end: a JSON file, a page to look at, and tables on the screen."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data_process.chain import CLEAN, COUNT, DEDUP, EXTRACT, SPLIT, STAGES, Chain, Stage
from data_process.execution import run_step
from data_process.jsonl import read_raw_lines
from data_process.jsonl_parts import jsonl_parts
from data_process.outcome import outcome
from data_process.record_counts import CountStep, Found, gather, quantiles
from data_process.record_lines import Reading
from data_process.tasks import done_parts, part_counts, part_folder
from model.storage import json_writer, replace_file

SHARES = {"least": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95}
SAMPLES, SAMPLE_LENGTH = 10, 300
"""How many documents are shown, and how many characters of each."""


@dataclass(frozen=True)
class Report:
    """What went in, what became of it, and what came out. Times are no part of it: two runs write
    the same."""

    stages: tuple[Stage, ...]
    found: Found
    """What the output holds."""
    input_bytes: int
    """Of dumps unpacked, of texts and records."""
    input_documents: int
    """Pages, texts and records."""

    def steps(self) -> Iterator[tuple[str, int, int]]:
        """Documents and bytes of the input and after each stage; those of extracting and splitting,
        and the records that need neither, together."""
        yield "input", self.input_documents, self.input_bytes
        for stage in self.stages:
            if stage.name == CLEAN:
                yield "extracted, split", stage.counts["in"], stage.bytes_in
                yield "cleaned", stage.counts["out"], stage.bytes_out
            if stage.name == DEDUP:
                yield "deduplicated", stage.counts["out"], stage.bytes_out

    def dropped(self) -> list[tuple[str, str, int]]:
        """Stage, reason and number of documents that were dropped, in the order of the stages, the
        most frequent reason of each first."""
        return [(stage.name, reason, n) for stage in self.stages for reason, n in stage.dropped()]

    def table(self, seconds: float) -> list[str]:
        """What is told when all is done."""
        lines = [f"{'documents':>14}  {'MB':>12}", *(step_told(*step) for step in self.steps())]
        speed = self.input_bytes / max(seconds, 1e-9) / 1e6
        return ["all together:", *lines, f"{seconds:>13,.1f}s  {speed:,.1f} MB/s"]


def step_told(name: str, documents: int, size: int) -> str:
    """A line of a table."""
    return f"{documents:>14,}  {size / 1e6:>12,.2f}  {name}"


def make_report(chain: Chain, stages: Sequence[Stage]) -> Report:
    """Counts what the output of a chain holds that has run to its end, and what its stages did."""
    files = tuple(jsonl_parts(chain.output_of(DEDUP)))
    step = CountStep(files, None, True, Reading())
    work_dir = chain.work_dir / COUNT
    found = gather(run_step(step, work_dir, chain.execution), work_dir)
    made = [stage for stage in stages if stage.name in (EXTRACT, SPLIT)]
    clean = next(stage for stage in stages if stage.name == CLEAN)
    records = clean.counts["in"] - sum(stage.counts["out"] for stage in made)
    return Report(
        tuple(stages),
        found,
        sum(stage.bytes_in for stage in made)
        + sum(path.stat().st_size for path in chain.inputs.records),
        sum(stage.counts["in"] for stage in made) + records,
    )


def stage_table(stage: Stage) -> list[str]:
    """What is told of a stage when it has ended."""
    lines = outcome(stage.counts, stage.bytes_in, stage.seconds)
    return [f"{STAGES[stage.name]}:", *lines]


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
    from data_process.chain_picture import draw  # matplotlib takes a while to import
    from data_process.counts_picture import save

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
