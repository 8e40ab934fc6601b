"""Turns MediaWiki XML dumps (Wikipedia and its kin) into JSONL shards of clean text.

Reads .xml, .xml.bz2, .xml.gz and pipes (-), cuts them into parts and cleans these side by side;
writes a line {"text", "id", "title", "url", "lang", "revision"} for each article, in the order of
the dump. Ended in any way, the same command goes on where it was.
"""

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA, Count, Settings, UserError
from data_process.running.execution import run_step
from data_process.running.execution_settings import Execution
from data_process.running.joining import join_shards, join_streams, refuse_to_overwrite
from data_process.running.outcome import outcome
from data_process.running.work_dir import remove_work_dir, work_dir_of
from data_process.wiki.extraction import (
    REJECTED,
    XML_BYTES,
    ExtractionSettings,
    find_dumps,
    plan_extraction,
    read_problems,
)


@dataclass(frozen=True)
class ExtractWikiConfig(Settings):
    """From dumps to clean text."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Dumps, or folders of dumps; - is standard input."""
    output_dir: Path = TRAINING_DATA / "wiki"
    """Folder of the shards wiki-00000.jsonl, wiki-00001.jsonl ..."""
    shard_mb: Count = 256
    """Size of a shard, in MB."""
    rejected: Path | None = None
    """JSONL file to write, with every page that was not taken, and why."""
    overwrite: bool = False
    """Replace shards that exist with other content."""
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    """Which pages are taken."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        return [] if self.input_files else ["input_files: name at least one dump"]


def main() -> None:
    """Extracts, joins, reports; a dump that is incomplete or damaged ends with code 2, after all
    that could be read of it was written."""
    config = parse_flags(ExtractWikiConfig(), __doc__ or "")
    start = time.perf_counter()
    work_dir = work_dir_of(config.output_dir)
    refuse_to_overwrite(config.output_dir, work_dir, config.overwrite)
    step = plan_extraction(find_dumps(config.input_files), config.extraction)
    execution = config.execution
    if step.reads_a_pipe:  # which other processes do not have
        execution = dataclasses.replace(execution, workers=1, executor="local")
    counts = run_step(step, work_dir, execution)
    shard_bytes = config.shard_mb * 1_000_000
    shards = join_shards(work_dir, "main", config.output_dir, "wiki", shard_bytes, config.overwrite)
    if config.rejected:
        join_streams(work_dir, REJECTED, config.rejected, config.overwrite)
    damages, notes = read_problems(work_dir)
    remove_work_dir(work_dir)
    xml_bytes = counts.pop(XML_BYTES, 0)
    for line in outcome(counts, xml_bytes, time.perf_counter() - start):
        print(line)
    for shard in shards:
        print(shard)
    for note in notes:
        print(f"note: {note}")
    if damages:
        raise UserError("\n".join(damages))


if __name__ == "__main__":
    run_script(main)
