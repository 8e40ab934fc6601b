"""What conversations of a new domain bring a chat model, and what it forgets.

Every way of training takes the same steps from the same model. What was gained is bits per byte of
conversations that were kept out; what was kept, the questions that it still answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from data_process.pipeline.figures import COLOURS, save, style
from model.directory.storage import read_object, replace_file
from tool.benchmarks.measuring import chosen, report, run_repository_script
from tool.settings import ForgettingConfig
from train.run.report import REPORT

WAYS = {
    "whole": (3e-4, ""),
    "whole, 30% replay": (3e-4, "replay"),
    "LoRA, rank 8": (3e-3, "--lora_rank 8"),
    "LoRA, rank 8, q and v": (3e-3, "--lora_rank 8 --lora_targets q_proj v_proj"),
    "LoRA, rank 64": (3e-3, "--lora_rank 64 --use_rslora"),
    "LoRA, rank 8, 30% replay": (3e-3, "replay --lora_rank 8"),
}
"""The learning rate that is multiplied by the factors, and the flags."""
REPLAYED = 0.3
"""Share of old conversations in a replay."""
Point = tuple[float, float]
NEVER = 1_000_000
"""A number that no run reaches, of steps or passes."""
HEAD = ("", "rate", "domain, bits/byte", "questions", "change", "forgotten", "learned")


def compare(config: ForgettingConfig) -> int:
    """Trains, prints a table, and writes forgetting.png to the output directory.

    Raises:
        UserError: a run failed, or there is no way of a name.
    """
    out, rows = config.output_dir, []
    out.mkdir(parents=True, exist_ok=True)
    for name in chosen(config.ways, WAYS, "ways"):
        rows += [row(config, name, factor) for factor in config.rates]
    draw(rows, out / "forgetting.png")
    report("forgetting", HEAD, [cells for cells, _ in rows], config.device)
    return 0


def row(config: ForgettingConfig, name: str, factor: float) -> tuple[tuple[str, ...], Point]:
    """Trains in one of the ways, with its learning rate times a factor: a row of the table, and
    bits per byte and the share of right answers after."""
    rate, flags = WAYS[name]
    place = config.output_dir / f"{name.replace(', ', '_').replace(' ', '_')}_{rate * factor:g}"
    files: Sequence[str | Path] = config.domain_files
    if "replay" in flags:
        share = (1 - REPLAYED) / len(files)
        files = [*(f"{path}:{share:g}" for path in files), f"{config.replay_file}:{REPLAYED}"]
    run_repository_script(
        "train/train_sft.py",
        *("--preset", "nano", "--optimizer", "adamw", "--max_length", 512, "--batch_size", 8),
        *("--init_from", config.model_dir, "--sft_model_dir", place, "--sft_files", *files),
        *("--max_steps", config.max_steps, "--num_train_epochs", NEVER),
        *("--learning_rate", rate * factor, "--watch_files", config.questions),
        *("--validation_files", config.held_out, "--eval_steps", NEVER, "--sample_tokens", 0),
        *("--cache_dir", config.output_dir / "cache", "--seed", config.seed),
        *("--device", config.device, *flags.replace("replay", "").split()),
    )
    found = read_object(place / REPORT)
    bits, right = found["rows"]
    counts = found["forgotten"][0]
    cells = (
        name,
        f"{rate * factor:g}",
        f"{bits['before']:.3f} to {bits['after']:.3f}",
        f"{right['before']:.1%} to {right['after']:.1%}",
        f"{right['difference']:+.1%} ({right['low']:+.1%} to {right['high']:+.1%})",
        *(str(counts[key]) for key in ("forgotten", "learned")),
    )
    return cells, (bits["after"], 100 * right["after"])


def draw(rows: Sequence[tuple[tuple[str, ...], Point]], path: Path) -> None:
    """Writes a PNG: what was kept against what was gained, a line a way, a point a rate."""
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")
        axes = figure.subplots()
        for name, colour in zip(
            dict.fromkeys(cells[0] for cells, _ in rows), COLOURS, strict=False
        ):
            points = [point for cells, point in rows if cells[0] == name]
            bits, right = zip(*points, strict=True)
            axes.plot(bits, right, "o-", color=colour, markersize=4, linewidth=0.9, label=name)
        axes.set_xlabel("new domain, held out (bits/byte)")
        axes.set_ylabel("old questions right (%)")
        axes.legend()
        replace_file(path, lambda aside: save(figure, aside, "png"))
