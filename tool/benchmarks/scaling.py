"""A scaling study: its runs, the law that is fitted to them, its table and picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from config import LADDER, SHAPE, ModelConfig, UserError, nano, rung
from data_process.pipeline.figures import COLOURS, style
from model.directory.storage import SUMMARY, read_object, replace_file
from model.transformer import Etude
from tool.benchmarks.measuring import aligned, run_repository_script
from tool.settings import ScalingStudyConfig
from train.run.auto_shape import ScalingLaw, Trial, rounded
from train.run.plan import flops_per_token

FEWEST_RUNS = 6
"""One more than the numbers of the law, for each run is left out once."""
NEVER = 1_000_000
"""A number of steps that no run reaches."""
BUDGETS = (1e13, 1e14, 1e15, 1e16)
"""Floating-point operations for which the best size is computed."""
SIZE = (7.2, 2.9)
"""Of the picture, in inches."""
HEIGHT = 1.8
"""Bits per byte that the budgets' axis holds; what is far from the best is cut off."""
BEYOND = 2.0
"""The law is drawn this many times beyond the longest and before the shortest run."""


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
    length = nano().pretrain.max_length
    tokens = nano().pretrain.batch_size * length
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


def train(
    config: ScalingStudyConfig, tokenizer: Path, shape: ModelConfig, steps: int
) -> ScalingRun:
    """Trains one model by the trainer's own script, unless it is trained already.

    Raises:
        UserError: the run failed.
    """
    directory = config.output_dir / f"{shape.hidden_size}x{shape.num_hidden_layers}_{steps}"
    flags: dict[str, Any] = {
        **{name: getattr(shape, name) for name in SHAPE},
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
    run_repository_script(
        "train/train_pretrain.py",
        *("--preset", "nano", *given, "--pretrain_files", *config.pretrain_files),
    )
    summary = read_object(directory / SUMMARY)
    return ScalingRun(
        shape=shape,
        parameters=parameters_of(shape, summary["settings"]["vocab_size"]),
        steps=steps,
        tokens=summary["tokens_seen"],
        bits_per_byte=summary["bits_per_byte"]["all"],
        seconds=summary["seconds"],
    )


def parameters_of(shape: ModelConfig, vocab_size: int) -> int:
    """The parameters of a model of this shape, embedding included."""
    with torch.device("meta"):  # no memory, and no time
        return Etude(dataclasses.replace(shape, vocab_size=vocab_size)).num_parameters()


def machine_of(output_dir: Path) -> str:
    """The machine that trained the study's models, as their summaries say."""
    found = {read_object(path)["machine"] for path in output_dir.glob(f"*_*/{SUMMARY}")}
    return "; ".join(sorted(found))


def best_of_ladder(
    law: ScalingLaw, others: Sequence[ScalingLaw], operations: float
) -> dict[str, Any]:
    """The shape of the ladder that should reach the lowest loss with so many floating-point
    operations, and those that the laws with one trial left out would choose."""
    best = best_rung(law, operations)
    parameters, tokens = cost(rung(*LADDER[best]), operations)
    return {
        "operations": operations,
        "rung": best,
        "parameters": parameters,
        "tokens": round(tokens),
        "bits_per_byte": round(law.loss(parameters, tokens), 3),
        "rungs_with_one_run_left_out": sorted({best_rung(law, operations) for law in others}),
    }


def best_rung(law: ScalingLaw, operations: float) -> int:
    """The place in the ladder of the shape with the lowest loss."""
    losses = [law.loss(*cost(rung(*place), operations)) for place in LADDER]
    return losses.index(min(losses))


def cost(shape: ModelConfig, operations: float) -> tuple[int, float]:
    """The parameters of a shape, and the tokens that so many operations train."""
    shape = dataclasses.replace(shape, vocab_size=nano().model.vocab_size)
    used = flops_per_token(shape, nano().pretrain.max_length)
    return parameters_of(shape, shape.vocab_size), operations / used


def table(runs: Sequence[ScalingRun], law: ScalingLaw) -> str:
    """The runs as a table."""
    rows = [
        (
            f"{run.parameters / 1e6:.2f}M",
            f"{run.tokens / 1e6:.2f}M",
            f"{run.bits_per_byte:.4f}",
            f"{law.loss(run.parameters, run.tokens):.4f}",
            f"{run.seconds:.0f} s",
        )
        for run in runs
    ]
    return aligned(("parameters", "tokens", "bits per byte", "law", "time"), rows, {})


def law_lines(law: ScalingLaw, off: float, budgets: Sequence[dict[str, Any]]) -> list[str]:
    """The law and what follows from it, in words."""
    law = rounded(law)
    lines = [
        f"bits per byte = {law.irreducible:g} + {law.size:g} / (parameters / 1M)^"
        f"{law.size_exponent:g} + {law.data:g} / (tokens / 1M)^{law.data_exponent:g}, "
        f"off by {off:.1%}"
    ]
    for budget in budgets:
        lines.append(
            f"{budget['operations']:.0e} operations: {budget['parameters'] / 1e6:.1f}M parameters, "
            f"{budget['tokens'] / 1e6:.1f}M tokens, {budget['bits_per_byte']:.3f} bits per byte "
            f"(with one run left out: rungs {budget['rungs_with_one_run_left_out']})"
        )
    return lines


def draw_study(runs: Sequence[ScalingRun], law: ScalingLaw, path: Path) -> None:
    """Writes a PNG: to the left the runs and the law, to the right which size is best for some
    budgets."""
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_runs(left, runs, law)
        draw_budgets(right, law)
        replace_file(path, lambda aside: figure.savefig(aside, format="png", dpi=200))


def draw_runs(axes: Axes, runs: Sequence[ScalingRun], law: ScalingLaw) -> None:
    """Bits per byte against tokens: a point for a run, a line for the law at each size."""
    tokens = np.array([run.tokens for run in runs])
    along = np.geomspace(tokens.min() / BEYOND, tokens.max() * BEYOND, 100)
    sizes = sorted({run.parameters for run in runs})
    for size, colour in zip(sizes, COLOURS, strict=False):
        of_size = [run for run in runs if run.parameters == size]
        axes.plot(along / 1e6, [law.loss(size, t) for t in along], color=colour, linewidth=0.9)
        x, y = [run.tokens / 1e6 for run in of_size], [run.bits_per_byte for run in of_size]
        axes.plot(x, y, "o", color=colour, markersize=4, label=f"{size / 1e6:.1f}M parameters")
    plain_log(axes)
    axes.set_xlabel("million tokens")
    axes.set_ylabel("validation (bits/byte)")
    axes.legend()


def draw_budgets(axes: Axes, law: ScalingLaw) -> None:
    """Bits per byte by the law against size, a line for each budget; the best size is marked."""
    for budget, colour in zip(BUDGETS, COLOURS, strict=False):
        points = [cost(rung(*place), budget) for place in LADDER]
        sizes = [parameters / 1e6 for parameters, _ in points]
        losses = [law.loss(*point) for point in points]
        best = best_rung(law, budget)
        axes.plot(sizes, losses, color=colour, linewidth=0.9, label=f"{budget:.0e} operations")
        axes.plot(sizes[best], losses[best], "v", color=colour, markersize=5)
    plain_log(axes)
    lowest = min(law.loss(*cost(rung(*place), budget)) for place in LADDER for budget in BUDGETS)
    axes.set_ylim(lowest - 0.1, lowest + HEIGHT)
    axes.set_xlabel("million parameters")
    axes.set_ylabel("bits/byte by the law")
    axes.legend()


def plain_log(axes: Axes) -> None:
    """A logarithmic axis with numbers such as 0.5, 1, 2, 5 in place of powers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
