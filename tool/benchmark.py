"""Measures Etude against what others use for the same work, on this machine.

python tool/benchmark.py train      speed of training, against transformers' LlamaForCausalLM
python tool/benchmark.py decode     speed of answering, against transformers and llama.cpp
python tool/benchmark.py quality    time to the quality that transformers + AdamW reaches
python tool/benchmark.py data       speed and quality of the wikitext cleaner

`python tool/benchmark.py train --help` tells what each can be told. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import (
    CleaningBenchmarkConfig,
    DecodingSpeedConfig,
    TimeToQualityConfig,
    TrainingSpeedConfig,
)


def main() -> int:
    """Runs the benchmark that the command line names first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=list(BENCHMARKS), help="what to measure")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    given = parser.parse_args()
    return BENCHMARKS[given.benchmark](f"{parser.prog} {given.benchmark}", given.flags)


def train(prog: str, flags: Sequence[str]) -> int:
    """Speed of training."""
    described = "Measures the speed of training against transformers, eager and tuned."
    config = parse_flags(TrainingSpeedConfig(), described, flags, prog)
    from tool.benchmarks.training_speed import (
        compare_training_speed,
    )  # heavy modules come after the flags

    return compare_training_speed(config)


def decode(prog: str, flags: Sequence[str]) -> int:
    """Speed of answering."""
    described = "Measures the speed of answering against transformers' generate and llama.cpp."
    config = parse_flags(DecodingSpeedConfig(), described, flags, prog)
    from tool.benchmarks.decoding_speed import compare_decoding_speed

    return compare_decoding_speed(config)


def quality(prog: str, flags: Sequence[str]) -> int:
    """Time to quality."""
    described = (
        "Measures whether Etude's defaults reach in a third of the time the bits per byte that "
        "transformers + AdamW with a tuned learning rate reaches."
    )
    config = parse_flags(TimeToQualityConfig(), described, flags, prog)
    from tool.benchmarks.time_to_quality import compare_time_to_quality

    return compare_time_to_quality(config)


def data(prog: str, flags: Sequence[str]) -> int:
    """Speed and quality of the wikitext cleaner."""
    described = (
        "Measures the wikitext cleaner against wikiextractor and mwparserfromhell: its speed, the "
        "markup that is left, and the share of their sentences that it keeps."
    )
    config = parse_flags(CleaningBenchmarkConfig(), described, flags, prog)
    from tool.benchmarks.cleaning_comparison import compare_cleaning

    return compare_cleaning(config)


BENCHMARKS: dict[str, Callable[[str, Sequence[str]], int]] = {
    "train": train,
    "decode": decode,
    "quality": quality,
    "data": data,
}
"""By the name on the command line; each gets what stands before its flags, and its flags."""


if __name__ == "__main__":
    run_script(main)
