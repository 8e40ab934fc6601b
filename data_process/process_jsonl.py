"""Looks at, checks, chooses and converts JSONL files of training data.

python data_process/process_jsonl.py check      every error, as file:line: reason
python data_process/process_jsonl.py stats      counts, lengths, languages, roles; a picture
python data_process/process_jsonl.py head       the first records
python data_process/process_jsonl.py sample     records drawn at random
python data_process/process_jsonl.py shuffle    a random order, on disk
python data_process/process_jsonl.py split      training and validation
python data_process/process_jsonl.py merge      several files as one
python data_process/process_jsonl.py cut        the first records, by number or size
python data_process/process_jsonl.py convert    Alpaca, ShareGPT, OpenAI's messages ... to ours
python data_process/process_jsonl.py filter     by length, turns, roles, language, patterns, keys

`python data_process/process_jsonl.py check --help` tells what each can be told. Files are read in
bounded memory, written whole or not at all, and never replaced without --overwrite; - is standard
input or output where a command can work so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script


def main() -> int:
    """Runs the command that is named first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=list(COMMANDS), help="what to do")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its files and flags")
    given = parser.parse_args()
    return COMMANDS[given.command](f"{parser.prog} {given.command}", given.flags)


def check(prog: str, flags: Sequence[str]) -> int:
    """Finds every error."""
    from data_process.records.checking import (
        CheckConfig,
        run_check,
    )  # a command imports what it needs

    return run_check(parse_flags(CheckConfig(), CheckConfig.__doc__ or "", flags, prog))


def stats(prog: str, flags: Sequence[str]) -> int:
    """Tells what is in files."""
    from data_process.records.stats import StatsConfig, run_stats

    return run_stats(parse_flags(StatsConfig(), StatsConfig.__doc__ or "", flags, prog))


def head(prog: str, flags: Sequence[str]) -> int:
    """Prints the first records."""
    from data_process.records.selecting import HeadConfig, run_head

    return run_head(parse_flags(HeadConfig(), HeadConfig.__doc__ or "", flags, prog))


def sample(prog: str, flags: Sequence[str]) -> int:
    """Draws records."""
    from data_process.records.sampling import SampleConfig, run_sample

    return run_sample(parse_flags(SampleConfig(), SampleConfig.__doc__ or "", flags, prog))


def shuffle(prog: str, flags: Sequence[str]) -> int:
    """Brings records into a random order."""
    from data_process.records.shuffling import ShuffleConfig, run_shuffle

    return run_shuffle(parse_flags(ShuffleConfig(), ShuffleConfig.__doc__ or "", flags, prog))


def split(prog: str, flags: Sequence[str]) -> int:
    """Parts records into training and validation."""
    from data_process.records.sampling import SplitConfig, run_split

    return run_split(parse_flags(SplitConfig(), SplitConfig.__doc__ or "", flags, prog))


def merge(prog: str, flags: Sequence[str]) -> int:
    """Puts files together."""
    from data_process.records.selecting import MergeConfig, run_merge

    return run_merge(parse_flags(MergeConfig(), MergeConfig.__doc__ or "", flags, prog))


def cut(prog: str, flags: Sequence[str]) -> int:
    """Takes the first records."""
    from data_process.records.selecting import CutConfig, run_cut

    return run_cut(parse_flags(CutConfig(), CutConfig.__doc__ or "", flags, prog))


def convert(prog: str, flags: Sequence[str]) -> int:
    """Brings the data of others to our form."""
    from data_process.records.conversion import ConvertConfig, run_convert

    return run_convert(parse_flags(ConvertConfig(), ConvertConfig.__doc__ or "", flags, prog))


def filter_(prog: str, flags: Sequence[str]) -> int:
    """Chooses records."""
    from data_process.records.filtering import FilterConfig, run_filter

    return run_filter(parse_flags(FilterConfig(), FilterConfig.__doc__ or "", flags, prog))


COMMANDS: dict[str, Callable[[str, Sequence[str]], int]] = {
    "check": check,
    "stats": stats,
    "head": head,
    "sample": sample,
    "shuffle": shuffle,
    "split": split,
    "merge": merge,
    "cut": cut,
    "convert": convert,
    "filter": filter_,
}
"""By the name on the command line; each gets what stands before its flags, and its flags."""


if __name__ == "__main__":
    run_script(main)
