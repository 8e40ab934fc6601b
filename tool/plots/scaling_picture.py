"""A picture of a scaling study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from config import LADDER, rung
from data_process.pipeline.figure_style import COLOURS, font_families, style
from model.directory.storage import replace_file
from tool.benchmarks.scaling_report import BUDGETS, cost
from tool.benchmarks.scaling_runs import ScalingRun
from train.run.auto_shape import ScalingLaw

SIZE = (7.2, 2.9)
"""In inches."""
HEIGHT = 1.8
"""Bits per byte that the budgets' axis holds; what is far from the best is cut off."""
BEYOND = 2.0
"""The law is drawn this many times beyond the longest and before the shortest run."""


def draw_study(runs: Sequence[ScalingRun], law: ScalingLaw, path: Path) -> None:
    """Writes a PNG: to the left the runs and the law, to the right which size is best for some
    budgets."""
    with matplotlib.rc_context(style(font_families())):
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
        axes.plot(
            [run.tokens / 1e6 for run in of_size],
            [run.bits_per_byte for run in of_size],
            "o",
            color=colour,
            markersize=4,
            label=f"{size / 1e6:.1f}M parameters",
        )
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
        best = losses.index(min(losses))
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
