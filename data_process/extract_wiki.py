"""Turns MediaWiki XML dumps (Wikipedia and its kin) into JSONL shards of clean text.

Reads .xml, .xml.bz2, .xml.gz and pipes (-), cuts them into parts and cleans these side by side;
writes a line {"text", "id", "title", "url", "lang", "revision"} for each article, in the order of
the dump. After any interruption the same command continues.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA, Count
from data_process.running.run import StepConfig, StepResult, run_and_join
from data_process.running.step import MAIN
from data_process.running.work_dir import join_shards, refuse_to_overwrite, work_dir_of
from data_process.wiki.extraction import ExtractionSettings, extract, find_dumps
from model.directory.storage import json_writer, replace_file


@dataclass(frozen=True)
class ExtractWikiConfig(StepConfig):
    """From dumps to clean text."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Dumps, or folders of dumps; - is standard input."""
    output: Annotated[Path, tyro.conf.arg(name="output_dir")] = TRAINING_DATA / "wiki"
    """Folder of the shards wiki-00000.jsonl, wiki-00001.jsonl ..."""
    shard_mb: Count = 256
    """Size of a shard, in MB."""
    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    """Which pages are taken."""

    def refuse_outputs(self, also_read: Sequence[Path] = ()) -> None:
        """Raises UserError when the folder holds something."""
        refuse_to_overwrite(self.output, work_dir_of(self.output), self.overwrite)

    def join(self, work_dir: Path) -> list[Path]:
        """Joins the articles into shards; their paths."""
        size = self.shard_mb * 1_000_000
        return join_shards(work_dir, MAIN, self.output, "wiki", size, self.overwrite)

    def beside(self, ending: str) -> Path:
        """A file beside the folder."""
        place = self.output.resolve()
        return place.with_name(place.name + ending)

    def write_report(self, result: StepResult) -> list[Path]:
        """The counts, what is wrong with the dumps, and the templates that were dropped, as JSON
        beside the folder."""
        path = self.beside("_report.json")
        found = {"counts": dict(sorted(result.counts.items())), "damages": list(result.damages)}
        content = {**found, "notes": list(result.notes), **result.details}
        replace_file(path, json_writer(content))
        return [path]


def main() -> None:
    """Extracts the articles of all dumps; one that is incomplete or damaged ends with code 2, after
    all that could be read of it was written."""
    config = parse_flags(ExtractWikiConfig(), __doc__ or "")

    def work(work_dir: Path) -> StepResult:
        dumps = find_dumps(config.input_files)
        store = config.beside(".templates")
        return extract(dumps, config.extraction, work_dir, config.execution, store)

    run_and_join(config, work)


if __name__ == "__main__":
    run_script(main)
