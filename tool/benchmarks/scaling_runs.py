"""The runs of a scaling study."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from config import LADDER, ROOT, ModelConfig, UserError, nano, rung
from model.directory.storage import SUMMARY
from model.transformer import Etude
from tool.settings import ScalingStudyConfig
from train.run.auto_shape import Trial
from train.run.plan import flops_per_token

FEWEST_RUNS = 6
"""One more than the numbers of the law, for each run is left out once."""
NEVER = 1_000_000
"""A number of steps that no run reaches."""


@dataclass(frozen=True)
class ScalingRun:
    """A run of the study."""

    shape: ModelConfig
    parameters: int
    steps: int
    tokens: int
    bits_per_byte: float
    seconds: float

    @property
    def trial(self) -> Trial:
        """What the fit needs."""
        return Trial(self.parameters, self.tokens, self.bits_per_byte)


def planned(config: ScalingStudyConfig) -> list[tuple[ModelConfig, int]]:
    """Shape and steps of each run, the large ones for a long time left out.

    Raises:
        UserError: so few are left that no law can be fitted.
    """
    tokens = nano().pretrain.batch_size * nano().pretrain.max_length
    length = nano().pretrain.max_length
    runs = [
        (shape, steps)
        for shape in (rung(*LADDER[place]) for place in config.rungs)
        for steps in config.steps
        if steps * tokens * flops_per_token(shape, length) <= config.max_operations
    ]
    if len(runs) < FEWEST_RUNS:
        raise UserError(
            f"--max_operations {config.max_operations:g} leaves {len(runs)} runs, and a law needs "
            f"{FEWEST_RUNS}: raise it"
        )
    return runs


def train_tokenizer(config: ScalingStudyConfig) -> Path:
    """Trains the tokenizer of a study that was given none; one that is there already is kept."""
    directory = config.output_dir / "tokenizer"
    vocab_size = nano().tokenizer.vocab_size
    run_stage(
        "train_tokenizer.py",
        *("train", "--vocab_size", vocab_size, "--tokenizer_dir", directory),
        *("--pretrain_files", *config.pretrain_files),
    )
    return directory


def train(
    config: ScalingStudyConfig, tokenizer: Path, shape: ModelConfig, steps: int
) -> ScalingRun:
    """Trains one model by the trainer's own script, unless it is trained already.

    Raises:
        UserError: the run failed.
    """
    directory = config.output_dir / f"{shape.hidden_size}x{shape.num_hidden_layers}_{steps}"
    flags: dict[str, Any] = {
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "max_steps": steps,
        "num_train_epochs": NEVER,
        "eval_steps": NEVER,
        "sample_tokens": 0,
        "device": config.device,
        "tokenizer_dir": tokenizer,
        "cache_dir": config.output_dir / "cache",
        "pretrained_model_dir": directory,
    }
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    run_stage(
        "train_pretrain.py",
        *("--preset", "nano", *given, "--pretrain_files", *config.pretrain_files),
    )
    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    return ScalingRun(
        shape=shape,
        parameters=parameters_of(shape, summary["settings"]["vocab_size"]),
        steps=steps,
        tokens=summary["tokens_seen"],
        bits_per_byte=summary["bits_per_byte"]["all"],
        seconds=summary["seconds"],
    )


def run_stage(script: str, *arguments: object) -> None:
    """Runs a script of train/, showing what it prints; raises UserError when it fails."""
    command = [sys.executable, str(ROOT / "train" / script), *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise UserError(f"train/{script} ended with exit code {code}; see above")


def parameters_of(shape: ModelConfig, vocab_size: int) -> int:
    """The parameters of a model of this shape, embedding included."""
    with torch.device("meta"):  # no memory, and no time
        return Etude(dataclasses.replace(shape, vocab_size=vocab_size)).num_parameters()


def machine_of(output_dir: Path) -> str:
    """The machine that trained the study's models, as their summaries say."""
    found = {
        json.loads(path.read_text(encoding="utf-8"))["machine"]
        for path in output_dir.glob(f"*_*/{SUMMARY}")
    }
    return "; ".join(sorted(found))
