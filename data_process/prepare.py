"""From dumps, texts and JSONL to one clean training file, in one command, with a report.

Takes .xml, .xml.bz2 and .xml.gz dumps, .txt, .md, .html, .jsonl of {"text", ...}, and folders of
these. Dumps are extracted and texts split into samples; all is cleaned, duplicates and near
duplicates are dropped, and with --against also what holds evaluation text. Beside the output stand
a report as JSON and as a page (PNG). Only the most wanted options are here: extract_wiki.py,
split_text.py, clean_text.py and dedup_jsonl.py do a stage each and have all of them. After any
interruption the same command continues.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA, UserError
from data_process.cleaning.language import check_languages
from data_process.pipeline.chain import DEDUP, Chain, ChainSettings, find_inputs
from data_process.pipeline.report import make_report, report_paths, write_report
from data_process.records.files import find_files
from data_process.running.run import CleaningConfig
from data_process.running.work_dir import locked, remove_work_dir, work_dir_of


@dataclass(frozen=True)
class PrepareConfig(CleaningConfig):
    """From what there is to what is trained on."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Dumps, texts, JSONL files, and folders of these, which are searched with all folders inside.
    The output has dumps first, then texts, then JSONL."""
    output: Path = TRAINING_DATA / "pretrain" / "pretrain_hq.jsonl"
    """JSONL file to write; the report gets its name with _report.json and _report.png at the
    end."""
    keep_intermediate: bool = False
    """Keep OUTPUT.work with what each stage has written: the same command with other settings then
    repeats only the stages that they concern."""
    chain: ChainSettings = field(default_factory=ChainSettings)
    """What is done."""

    def outputs(self) -> Sequence[Path]:
        """All files that are written."""
        return (*super().outputs(), *report_paths(self.output))


def main() -> None:
    """Runs the stages, joins, reports; an incomplete dump ends with code 2, after all that could be
    read of it was used."""
    config = parse_flags(PrepareConfig(), __doc__ or "")
    start = time.perf_counter()
    inputs = find_inputs(config.input_files)
    against = tuple(find_files(config.chain.against))
    config.refuse_outputs(against)
    check_languages(config.chain.languages)
    work_dir = work_dir_of(config.output)
    chain = Chain(inputs, config.chain, against, work_dir, config.execution)
    with locked(work_dir):
        stages = []
        for stage in chain.run():
            stages.append(stage)
            print("\n".join(stage.table()))
        damages = [damage for stage in stages for damage in stage.damages]
        notes = [*inputs.notes, *(note for stage in stages for note in stage.notes)]
        for stream, path in config.side_files().items():
            chain.write_stream(stages, stream, path, config.overwrite)
        if stages[-1].name != DEDUP or not stages[-1].counts["out"]:
            raise UserError("\n".join([stages[-1].nothing_left(), *damages]))
        config.join(work_dir / DEDUP)
        report = make_report(chain, stages)
        write_report(report, config.output, [*damages, *notes])
    if not config.keep_intermediate:
        remove_work_dir(work_dir)
    written = (config.output, *config.side_files().values(), *report_paths(config.output))
    table = report.table(time.perf_counter() - start)
    for line in (*table, *(f"note: {note}" for note in notes), *written):
        print(line)
    if damages:
        raise UserError("\n".join(damages))


if __name__ == "__main__":
    run_script(main)
