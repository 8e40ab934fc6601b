"""How fast the stages train, by the trainer's own scripts, taking turns on one model.

All take steps of 4,096 positions. On a machine that does other work too, tokens a second of the
processor say more than tokens a second.
"""

from __future__ import annotations

import itertools
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_process.records.jsonl import read_conversations
from model.directory.storage import jsonl_text, replace_file, text_writer
from tool.benchmarks.measuring import chosen, report, run_repository_script
from tool.settings import StageSpeedConfig
from train.run.logs import METRICS, ROLLOUT, read_log

ROWS = "--max_length 512 --batch_size 8"
STAGES = {
    "SFT, AdamW": f"sft {ROWS} --optimizer adamw",
    "SFT, Muon": f"sft {ROWS} --optimizer muon",
    "SFT, LoRA of rank 8": f"sft {ROWS} --lora_rank 8",
    "SFT, LoRA of rank 64": f"sft {ROWS} --lora_rank 64",
    "SFT, DoRA of rank 8": f"sft {ROWS} --lora_rank 8 --use_dora",
    "DPO, AdamW": f"dpo {ROWS}",
    "GRPO": "grpo",
}
"""Script and flags of each; the first is what the others are compared with."""
QUIET = (
    "--preset nano --validation_every 0 --eval_steps 1000000 --save_steps 1000000 "
    "--sample_tokens 0 --no_picture"
)
NEVER = 1_000_000
"""Passes: so many that max_steps ends a run."""
HEAD = ("", "tokens/s", "of the first", "tokens/CPU s", "of the first", "in rollouts")


def compare(config: StageSpeedConfig) -> int:
    """Measures, prints a table and, last, all of it as one line of JSON.

    Raises:
        UserError: a run failed, or there is no stage of a name.
    """
    names = chosen(config.stages, STAGES, "stages")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with TemporaryDirectory() as directory:
        pairs = Path(directory) / "pairs.jsonl"
        replace_file(pairs, text_writer(jsonl_text(pairs_of(config))))
        run = partial(run_stage, config, Path(directory), pairs)
        for number in range(config.rounds):
            for name in names:
                found[name].append(run(name))
                print(f"round {number + 1}: {name}: {found[name][-1]}", flush=True)
    rows = [row(found, name, names[0]) for name in names]
    report("stages", HEAD, rows, config.device, rounds=found)
    return 0


def pairs_of(config: StageSpeedConfig) -> list[dict[str, Any]]:
    """A pair of each conversation: its last answer, and that of the conversation before it."""
    chats = [chat.messages for path in config.sft_files for _, chat in read_conversations(path)]
    return [
        {"conversations": chat[:-1], "chosen": chat[-1]["content"], "rejected": other}
        for before, chat in itertools.pairwise(chats)
        if (other := before[-1]["content"]) != chat[-1]["content"]
    ]


def run_stage(
    config: StageSpeedConfig, directory: Path, pairs: Path, name: str
) -> dict[str, float]:
    """What one run of a stage took."""
    script, *flags = STAGES[name].split()
    files = {"sft": ("sft", config.sft_files), "dpo": ("preference", [pairs])}
    kind, paths = files.get(script, ("rl", config.rl_files))
    with TemporaryDirectory(dir=directory) as place:
        run_repository_script(
            f"train/train_{script}.py",
            *(*QUIET.split(), *flags, "--num_train_epochs", NEVER, "--init_from", config.model_dir),
            *(f"--{script}_model_dir", place, f"--{kind}_files", *paths, "--seed", config.seed),
            *("--max_steps", config.warmup_steps + config.steps, "--device", config.device),
        )
        lines = [line for line in read_log(Path(place) / METRICS) if "loss" in line]
    first, *measured = lines[config.warmup_steps - 1 :]
    return {
        name: measured[-1][name] - first[name] for name in ("tokens", "seconds", "cpu_seconds")
    } | {ROLLOUT: sum(line.get(ROLLOUT, 0.0) for line in measured)}


def row(found: dict[str, list[dict[str, float]]], name: str, first: str) -> tuple[str, ...]:
    """A stage's row: medians over the rounds, and of the ratios of each round."""
    cells = []
    for clock in ("seconds", "cpu_seconds"):
        own, others = ([r["tokens"] / r[clock] for r in found[n]] for n in (name, first))
        ratios = [a / b for a, b in zip(own, others, strict=True)]
        share = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        # The tokens of a rollout's answers are counted as if all were as long as they may be.
        none = "grpo" in STAGES[name]
        cells += ["-", "-"] if none else [f"{statistics.median(own):,.0f}", share]
    parts = [r[ROLLOUT] / r["seconds"] for r in found[name]]
    spent = f"{statistics.median(parts):.0%} ({min(parts):.0%} to {max(parts):.0%})"
    return (name, *cells, spent if any(parts) else "-")
