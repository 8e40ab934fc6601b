"""Makes the built-in training sample: a small invented world, in English and Chinese.

Writes to the output folder pretrain/pretrain_sample.jsonl (texts), sft/sft_sample.jsonl
(conversations), rl/rl_sample.jsonl (prompts with accepted answers) and eval/eval_sample.jsonl
(held-out questions; the fields are explained in data_process/sample/evaluation.py); and of a world
with tools tools_sample.jsonl beside the first, the second and the last, and tools.json for a chat
(data_process/sample/tool_use.py). {sft,eval}/messages_sample.jsonl are messages to be turned into
JSON, for docs/real_models.md. The same seed gives the same bytes. Its words and sentences are text
files in data_process/sample/texts/.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import ROOT, Settings
from data_process.running.work_dir import open_output
from data_process.sample.build import build_sample, is_written, read_amounts, to_bytes


@dataclass(frozen=True)
class SampleConfig(Settings):
    """Makes the built-in training sample."""

    output_dir: Path = ROOT / "training_data"
    """Where the files go."""
    seed: int = 1
    """Another seed gives another sample with another split."""
    size: Annotated[float, Interval(gt=0, le=1_000)] = 1.0
    """Number of training records, as a multiple of the usual one."""
    overwrite: bool = False
    """Replace files that exist with other content."""


def main() -> None:
    """Builds everything first, then writes: a file that is in the way stops all."""
    config = parse_flags(SampleConfig(), __doc__ or "")
    sample = build_sample(read_amounts(config.size), config.seed)
    contents = {
        config.output_dir / path: to_bytes(path, records) for path, records in sample.items()
    }
    written = [p for p, content in contents.items() if is_written(p, content, config.overwrite)]
    for (path, content), records in zip(contents.items(), sample.values(), strict=True):
        if path not in written:
            with open_output(path, config.overwrite) as file:
                file.write(content)
        note = " (already there)" if path in written else ""
        print(f"{len(records):7,} records  {len(content):10,} bytes  {path}{note}")


if __name__ == "__main__":
    run_script(main)
