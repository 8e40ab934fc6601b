"""Measures Etude against what others use for the same work, on this machine.

python tool/benchmark.py train      speed of training, against transformers' LlamaForCausalLM
python tool/benchmark.py decode     speed of answering, against transformers and llama.cpp
python tool/benchmark.py quality    time to the quality that transformers + AdamW reaches
python tool/benchmark.py data       speed and quality of the wikitext cleaner

`python tool/benchmark.py train --help` lists the options of each. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import (
    CleaningBenchmarkConfig,
    DecodingSpeedConfig,
    TimeToQualityConfig,
    TrainingSpeedConfig,
)

DEFAULTS = {
    "train": TrainingSpeedConfig(),
    "decode": DecodingSpeedConfig(),
    "quality": TimeToQualityConfig(),
    "data": CleaningBenchmarkConfig(),
}


def main() -> int:
    """Runs the benchmark that the command line names first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=list(DEFAULTS), help="what to measure")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    given = parser.parse_args()
    default = DEFAULTS[given.benchmark]
    prog = f"{parser.prog} {given.benchmark}"
    config = parse_flags(default, type(default).__doc__ or "", given.flags, prog)
    # heavy modules come after the flags
    if isinstance(config, TrainingSpeedConfig):
        from tool.benchmarks.training_speed import compare_training_speed

        return compare_training_speed(config)
    if isinstance(config, DecodingSpeedConfig):
        from tool.benchmarks.decoding_speed import compare_decoding_speed

        return compare_decoding_speed(config)
    if isinstance(config, TimeToQualityConfig):
        from tool.benchmarks.time_to_quality import compare_time_to_quality

        return compare_time_to_quality(config)
    assert isinstance(config, CleaningBenchmarkConfig)
    from tool.benchmarks.cleaning import compare_cleaning

    return compare_cleaning(config)


if __name__ == "__main__":
    run_script(main)
