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
python data_process/process_jsonl.py filter     by length, turns, roles, language, patterns, values

`python data_process/process_jsonl.py check --help` lists the flags of a command. Files are read in
bounded memory, written whole or not at all, and never replaced without --overwrite; - is standard
input or output where a command can work so.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script

CHOOSING = ("head", "sample", "shuffle", "split", "merge", "cut")
COMMANDS = {
    "check": "checking",
    "stats": "stats",
    **dict.fromkeys(CHOOSING, "selection"),
    "convert": "conversion",
    "filter": "filtering",
}
"""The module of data_process/records that has a command: for check, CheckConfig and run_check. Only
that one is imported, for some are slow to import."""


def main() -> int | None:
    """Runs the command that is named first."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("command", choices=list(COMMANDS), help="what to do")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its files and flags")
    given = parser.parse_args()
    name: str = given.command
    module = importlib.import_module(f"data_process.records.{COMMANDS[name]}")
    default = getattr(module, f"{name.title()}Config")()
    config = parse_flags(default, default.__doc__ or "", given.flags, f"{parser.prog} {name}")
    code: int | None = getattr(module, f"run_{name}")(config)
    return code


if __name__ == "__main__":
    run_script(main)
