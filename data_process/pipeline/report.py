"""What became of everything that went into the chain, in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_process.pipeline.chain import CLEAN, COUNT, DEDUP, EXTRACT, SPLIT, STAGES, Chain, Stage
from data_process.records.counts import CountStep, Found, gather
from data_process.records.jsonl_parts import jsonl_parts
from data_process.records.record_lines import Reading
from data_process.running.run import outcome, run_step


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
        """What is told when all is done; the speed only when it was done in one go."""
        lines = [f"{'documents':>14}  {'MB':>12}", *(step_told(*step) for step in self.steps())]
        if all(stage.seconds is not None for stage in self.stages):
            speed = self.input_bytes / max(seconds, 1e-9) / 1e6
            lines.append(f"{seconds:>13,.1f}s  {speed:,.1f} MB/s")
        return ["all together:", *lines]


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
    lines = outcome(stage.counts, stage.bytes_in, stage.seconds or 0.0)
    return [f"{STAGES[stage.name]}:", *(lines if stage.seconds is not None else lines[:-1])]
