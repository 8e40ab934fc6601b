"""What conversations of a new domain bring a chat model, and what it forgets.

Every way of training takes the same steps from the same model. What was gained is bits per byte of
conversations that were kept out; what was kept, the questions that it still answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from data_process.pipeline.figures import COLOURS, save, style
from data_process.records.jsonl import read_conversations
from model.directory.storage import jsonl_text, replace_file, text_writer
from tool.benchmarks.measuring import chosen, report, run_repository_script
from tool.evaluation.evaluation import RECORDS, read_kept
from tool.settings import ForgettingConfig
from train.measures.intervals import paired_interval

WAYS = {
    "whole": (3e-4, ""),
    "whole, 30% replay": (3e-4, "replay"),
    "LoRA, rank 8": (3e-3, "--lora_rank 8"),
    "LoRA, rank 8, q and v": (3e-3, "--lora_rank 8 --lora_targets q_proj v_proj"),
    "LoRA, rank 64": (3e-3, "--lora_rank 64 --use_rslora"),
    "LoRA, rank 8, 30% replay": (3e-3, "replay --lora_rank 8"),
}
"""The learning rate that is multiplied by the factors, and the flags."""
KEPT_OUT = 10
HEAD = ("", "rate", "domain, bits/byte", "questions", "change", "forgotten", "learned")


def compare(config: ForgettingConfig) -> int:
    """Trains and measures, prints a table, and writes forgetting.png to the output directory.

    Raises:
        UserError: a run failed, or there is no way of a name.
    """
    names = chosen(config.ways, WAYS, "ways")
    out = config.output_dir
    out.mkdir(parents=True, exist_ok=True)
    chats = [
        {"conversations": c} for path in config.domain_files for _, c in read_conversations(path)
    ]
    kept_out = chats[KEPT_OUT - 1 :: KEPT_OUT]
    replace_file(out / "domain.jsonl", text_writer(jsonl_text(kept_out)))
    trained = [chat for number, chat in enumerate(chats, 1) if number % KEPT_OUT]
    replace_file(out / "train.jsonl", text_writer(jsonl_text(trained)))
    before = measure(config, config.model_dir, out / "before")
    found = [("as it was", 0.0, before)]
    for name in names:
        for factor in config.rates:
            found.append((name, WAYS[name][0] * factor, train(config, name, factor)))
    rows = [row(name, rate, result, before) for name, rate, result in found]
    draw([(name, *point(result)) for name, _, result in found], out / "forgetting.png")
    report("forgetting", HEAD, rows, config.device, conversations=len(trained))
    return 0


def train(config: ForgettingConfig, name: str, factor: float) -> dict[str, Any]:
    """What a model measures that was trained in one of the ways, with its rate times a factor."""
    rate, flags = WAYS[name]
    place = config.output_dir / f"{name.replace(', ', '_').replace(' ', '_')}_{rate * factor:g}"
    own, replayed = config.output_dir / "train.jsonl", "replay" in flags
    files = [f"{own}:0.7", f"{config.replay_file}:0.3"] if replayed else [own]
    run_repository_script(
        "train/train_sft.py",
        *("--preset", "nano", "--optimizer", "adamw", "--max_length", 512, "--batch_size", 8),
        *(
            "--init_from",
            config.model_dir,
            "--sft_model_dir",
            place,
            "--max_steps",
            config.max_steps,
        ),
        *("--num_train_epochs", 1_000, "--learning_rate", rate * factor, "--sft_files", *files),
        *("--validation_files", config.output_dir / "domain.jsonl", "--eval_steps", 50),
        *("--cache_dir", config.output_dir / "cache", "--sample_tokens", 0, "--seed", config.seed),
        *("--device", config.device, *flags.replace("replay", "").split()),
    )
    return measure(config, place, place / "measured")


def measure(config: ForgettingConfig, model_dir: Path, place: Path) -> dict[str, Any]:
    """Bits and bytes of the domain's conversations, and which questions are answered right; what is
    measured already is read."""
    if not (place / RECORDS).is_file():
        files = config.output_dir / "domain.jsonl", config.questions
        run_repository_script(
            "tool/evaluate.py",
            *("--model_dir", model_dir, "--output_dir", place, "--device", config.device),
            *("--eval_files", *files),
        )
    domain, questions = read_kept(place).values()
    return {**domain, "right": np.array(questions["values"], np.float64)}


def point(result: dict[str, Any]) -> tuple[float, float]:
    """Bits per byte of the domain, and the share of right answers."""
    return sum(result["values"]) / sum(result["weights"]), float(result["right"].mean())


def row(name: str, rate: float, result: dict[str, Any], before: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    bits, right = point(result)
    old, new = before["right"], result["right"]
    ones = [1.0] * len(old)
    change, (low, high) = paired_interval(old.tolist(), new.tolist(), ones, ones)
    return (
        name,
        f"{rate:g}",
        f"{bits:.3f}",
        f"{right:.1%}",
        f"{change:+.1%} ({low:+.1%} to {high:+.1%})",
        str(int((old > new).sum())),
        str(int((new > old).sum())),
    )


def draw(points: Sequence[tuple[str, float, float]], path: Path) -> None:
    """Writes a PNG: what was kept against what was gained, a line a way, a point a rate."""
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")
        axes = figure.subplots()
        for name, colour in zip(dict.fromkeys(p[0] for p in points), COLOURS, strict=False):
            x, y = zip(
                *[(bits, 100 * right) for n, bits, right in points if n == name], strict=True
            )
            axes.plot(x, y, "o-", color=colour, markersize=4, linewidth=0.9, label=name)
        axes.set_xlabel("new domain, held out (bits/byte): better to the left")
        axes.set_ylabel("old questions right (%)")
        axes.legend()
        replace_file(path, lambda aside: save(figure, aside, "png"))
