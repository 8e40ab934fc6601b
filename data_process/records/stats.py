"""Telling what files of records hold."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from data_process.records.counts import CountStep, Found, gather, quantiles
from data_process.records.jsonl_parts import jsonl_parts
from data_process.records.record_lines import BAD
from data_process.records.steps import InputConfig, passing_work_dir
from data_process.running.run import outcome, run_step
from data_process.running.work_dir import refuse_outputs
from data_process.running.workers import Execution
from model.directory.storage import replace_file

SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SHARE_NAMES = ("least", "5%", "25%", "median", "75%", "95%", "most")
MOST_SHOWN = 12
PICTURES = ("png", "pdf", "svg")


@dataclass(frozen=True)
class StatsConfig(InputConfig):
    """How many records, how long, in which languages, with which roles; how many of them are
    repeated."""

    tokenizer_dir: Path | None = None
    """Count tokens too, with this tokenizer."""
    languages: bool = False
    """Find the language of each record (slower); scripts are told in any case."""
    output: Path | None = None
    """Picture of the lengths and shares: .png, .pdf or .svg."""
    overwrite: bool = False
    """Replace the picture if it exists."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    @property
    def picture_kind(self) -> str:
        """The format, by the end of the picture's name."""
        return self.output.suffix.lower().removeprefix(".") if self.output else "png"

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems()
        if self.picture_kind not in PICTURES:
            found.append(f"output is {self.output}: let its name end with .png, .pdf or .svg")
        return found


def run_stats(config: StatsConfig) -> int:
    """Counts, prints, draws."""
    start = time.perf_counter()
    files = config.files()
    refuse_outputs([config.output], config.input_files, config.overwrite)
    parts = tuple(jsonl_parts(files))
    step = CountStep(parts, config.tokenizer_dir, config.languages, config.reading)
    with passing_work_dir(step) as work_dir:
        counts = run_step(step, work_dir, config.execution)
        found = gather(counts, work_dir)
    for line in table(found):
        print(line)
    good = counts["in"] - counts[BAD]
    done = Counter({"in": counts["in"], BAD: counts[BAD], "out": good})
    size = sum(file.part.size for file in parts)
    for line in outcome(done, size, time.perf_counter() - start)[-1:]:
        print(line)
    if config.output and good:
        write_picture(found, config.output, config.picture_kind)
        print(config.output)
    return 0


def table(found: Found) -> list[str]:
    """All that was found, as lines."""
    counts = found.counts
    good = counts["in"] - counts[BAD]
    lines = [f"{good:>14,}  records, {good - found.different:,} of them repeat an earlier one"]
    if counts[BAD]:
        lines.append(f"{counts[BAD]:>14,}  bad records, not counted below")
    for name, lengths in found.lengths.items():
        lines.append(f"{sum(n * count for n, count in lengths.items()):>14,}  {name}")
    lines.append(f"{counts['bytes of text']:>14,}  bytes of text in UTF-8")
    lines += ["", f"{'in a record':<14}" + "".join(f"{name:>10}" for name in SHARE_NAMES)]
    for name, lengths in found.lengths.items():
        sizes = quantiles(lengths, SHARES)
        lines.append(f"{name:<14}" + "".join(f"{size:>10,}" for size in sizes))
    lines.append("")
    for prefix, title in (
        ("kind ", "kinds"),
        ("language ", "languages"),
        ("script ", "scripts"),
        ("role ", "turns"),
        ("key ", "keys"),
    ):
        if shares := found.share_of(prefix):
            whole = sum(count for _, count in shares) if prefix == "role " else good
            shown = [f"{name} {count / whole:.1%}" for name, count in shares[:MOST_SHOWN]]
            more = f" and {len(shares) - MOST_SHOWN:,} more" if len(shares) > MOST_SHOWN else ""
            lines.append(f"{title:<14}{', '.join(shown)}{more}")
    return lines


def write_picture(found: Found, path: Path, kind: str) -> None:
    """Draws, and writes the picture whole."""
    from data_process.pipeline.figures import draw_counts, save  # matplotlib is slow to import

    figure = draw_counts(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda place: save(figure, place, kind))
