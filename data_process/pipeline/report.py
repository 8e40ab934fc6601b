"""The report on a chain: what went in, what became of it, what came out; as JSON and as a page to
look at."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data_process.pipeline.chain import COUNT, DEDUP, EXTRACT, SPLIT, STAGES, Chain, Stage
from data_process.records.jsonl import Reading, read_lines
from data_process.records.parts import jsonl_parts
from data_process.records.stats import SHARE_NAMES, SHARES, CountStep, Found, gather, quantiles
from data_process.running.compression import inner_name
from data_process.running.run import run_step
from data_process.running.step import MAIN, done_parts, part_counts, part_folder
from model.directory.storage import json_writer, replace_file

SAMPLES, SAMPLE_LENGTH = 10, 300
"""How many documents are shown, and how many characters of each."""


@dataclass(frozen=True)
class Report:
    """What a chain did. Times are no part of it: two runs write the same."""

    chain: Chain
    stages: tuple[Stage, ...]
    found: Found
    """What the output holds."""

    def steps(self) -> Iterator[tuple[str, int, int]]:
        """Documents and bytes of the input and after each stage; those of extracting and splitting,
        and the records that need neither, together. Bytes of dumps are those of unpacked XML."""
        made = [stage for stage in self.stages if stage.name in (EXTRACT, SPLIT)]
        clean, dedup = self.stages[-2:]
        records = clean.counts["in"] - sum(stage.counts["out"] for stage in made)
        records_bytes = sum(path.stat().st_size for path in self.chain.inputs.records)
        documents = sum(stage.counts["in"] for stage in made) + records
        yield "input", documents, sum(stage.input_bytes for stage in made) + records_bytes
        yield "extracted, split", clean.counts["in"], clean.input_bytes
        yield "cleaned", clean.counts["out"], clean.output_bytes
        yield "deduplicated", dedup.counts["out"], dedup.output_bytes

    def table(self, seconds: float) -> list[str]:
        """What is printed when all is done; the speed only when it was done in one go."""
        steps = list(self.steps())
        lines = [f"{count:>14,}  {size / 1e6:>12,.2f}  {name}" for name, count, size in steps]
        if all(stage.seconds is not None for stage in self.stages):
            speed = steps[0][2] / max(seconds, 1e-9) / 1e6
            lines.append(f"{seconds:>13,.1f}s  {speed:,.1f} MB/s")
        return ["all together:", f"{'documents':>14}  {'MB':>12}", *lines]


def make_report(chain: Chain, stages: Sequence[Stage]) -> Report:
    """Counts what the output of a chain holds that has run to its end, and what its stages did."""
    step = CountStep(tuple(jsonl_parts(chain.output_of(DEDUP))), None, True, Reading())
    work_dir = chain.work_dir / COUNT
    found = gather(run_step(step, work_dir, chain.execution), work_dir)
    return Report(chain, tuple(stages), found)


def report_paths(output: Path) -> tuple[Path, Path]:
    """Where the report on an output goes, as JSON and as a picture."""
    stem = f"{inner_name(output).stem}_report"
    return output.with_name(f"{stem}.json"), output.with_name(f"{stem}.png")


def write_report(report: Report, output: Path, problems: Sequence[str]) -> None:
    """Writes both, each whole.

    Args:
        report: what was done.
        output: the file it made.
        problems: what is wrong with the input.
    """
    from data_process.pipeline.figures import draw_report, save  # matplotlib is slow to import

    data, page = report_paths(output)
    content = as_json(report, problems)
    replace_file(data, json_writer(content))
    documents, characters = (content["output"][name] for name in ("documents", "characters"))
    title = f"{output.name}: {documents:,} documents, {characters:,} characters"
    dropped = {heading: list[tuple[str, int]]() for heading in STAGES.values()}
    dropped.update({STAGES[stage.name]: stage.dropped() for stage in report.stages})
    figure = draw_report(title, list(report.steps()), dropped, report.found)
    replace_file(page, lambda path: save(figure, path, "png"))


def as_json(report: Report, problems: Sequence[str]) -> dict[str, Any]:
    """All that is in the report's file."""
    found, chain, inputs = report.found, report.chain, report.chain.inputs
    files = {"dump": inputs.dumps, "text": inputs.texts, "records": inputs.records}
    lengths = found.lengths["characters"]
    sizes = quantiles(lengths, SHARES)
    return {
        "input": [
            {"file": str(path), "kind": kind, "bytes": path.stat().st_size}
            for kind, paths in files.items()
            for path in paths
        ],
        "problems": list(problems),
        "settings": {**asdict(chain.settings), "against": [str(path) for path in chain.against]},
        "steps": [{"step": s, "documents": d, "bytes": b} for s, d, b in report.steps()],
        "stages": [
            {
                "stage": stage.name,
                "bytes in": stage.input_bytes,
                "bytes out": stage.output_bytes,
                "counts": {name: n for name, n in sorted(stage.counts.items()) if n},
                **stage.details,
            }
            for stage in report.stages
        ],
        "output": {
            "documents": found.counts["in"],
            "characters": sum(length * count for length, count in lengths.items()),
            "bytes of text": found.counts["bytes of text"],
            "characters in a document": dict(zip(SHARE_NAMES, sizes, strict=True)),
            "languages": dict(found.share_of("language ")),
            "scripts": dict(found.share_of("script ")),
        },
        "samples": list(samples(chain.work_dir / DEDUP)),
    }


def samples(work_dir: Path) -> Iterator[dict[str, Any]]:
    """The beginnings of some documents that a stage wrote, drawn at random, always the same; with
    the keys that say where they come from."""
    written = [(number, part_counts(work_dir, number)["out"]) for number in done_parts(work_dir)]
    total = sum(count for _, count in written)
    drawn = sorted(random.Random(1).sample(range(total), min(SAMPLES, total)))
    before = 0
    for part, count in written:
        for number in (n for n in drawn if before <= n < before + count):
            lines = read_lines(part_folder(work_dir, part) / f"{MAIN}.jsonl")
            record = json.loads(next(islice(lines, number - before, None))[2])
            yield {**record, "text": record["text"][:SAMPLE_LENGTH]}
        before += count
