"""Measures Etude against what others use for the same work, on this machine.

python tool/benchmark.py train      speed of training, against transformers' LlamaForCausalLM
python tool/benchmark.py decode     speed of answering, against transformers and llama.cpp
python tool/benchmark.py quality    time to the quality that transformers + AdamW reaches
python tool/benchmark.py data       speed and quality of the wikitext cleaner
python tool/benchmark.py preference what preferences bring on pairs that are kept out, in folds
python tool/benchmark.py forgetting a new domain against what was known: whole, replay, adapters
python tool/benchmark.py stages     speed of SFT, adapters, DPO and GRPO beside each other
python tool/benchmark.py networks   dense, QK-norm and experts, trained for equal minutes

`python tool/benchmark.py train --help` lists the options of each. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import Settings
from tool.settings import (
    CleaningBenchmarkConfig,
    DecodingSpeedConfig,
    ForgettingConfig,
    NetworksConfig,
    PreferenceFoldsConfig,
    StageSpeedConfig,
    TimeToQualityConfig,
    TrainingSpeedConfig,
)

BENCHMARKS: dict[str, tuple[Settings, str]] = {
    "train": (TrainingSpeedConfig(), "training_speed"),
    "decode": (DecodingSpeedConfig(), "decoding_speed"),
    "quality": (TimeToQualityConfig(), "time_to_quality"),
    "data": (CleaningBenchmarkConfig(), "cleaning"),
    "preference": (PreferenceFoldsConfig(), "preference_folds"),
    "forgetting": (ForgettingConfig(), "forgetting"),
    "stages": (StageSpeedConfig(), "stage_speed"),
    "networks": (NetworksConfig(), "networks"),
}
"""Defaults, and the module of tool/benchmarks."""


def main() -> int:
    """Runs the benchmark that the command line names first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=list(BENCHMARKS), help="what to measure")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    given = parser.parse_args()
    default, name = BENCHMARKS[given.benchmark]
    prog = f"{parser.prog} {given.benchmark}"
    config = parse_flags(default, type(default).__doc__ or "", given.flags, prog)
    module = importlib.import_module(f"tool.benchmarks.{name}")  # heavy: after the flags
    return int(module.compare(config))


if __name__ == "__main__":
    run_script(main)
