"""Drawing the curves of training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # a file, never a window

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from config import UserError
from train.metrics import LOSS_LOG, read_log

COLOURS = ("#3366aa", "#dd7733", "#339966", "#aa3377", "#777777", "#998822")


def read_run(directory: Path) -> list[dict[str, Any]]:
    """The loss log of a model directory.

    Raises:
        UserError: there is none, or it is empty.
    """
    path = directory / LOSS_LOG
    if not path.is_file():
        raise UserError(f"{path}: there is no loss log; name the directory of a training run")
    lines = read_log(path)
    if not any("loss" in line for line in lines):
        raise UserError(f"{path}: the log holds no training step yet")
    return lines


def draw(directories: Sequence[Path]) -> Figure:
    """A figure of loss (left) and validation bits per byte (right) against trained positions."""
    runs = {directory: read_run(directory) for directory in directories}
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (directory, lines) in zip(COLOURS * len(runs), runs.items(), strict=False):
        draw_loss(left, lines, label_of(directory), colour)
        draw_bits_per_byte(right, lines, label_of(directory), colour)
    left.set(title="Training loss", xlabel="tokens (millions)", ylabel="nats per token")
    right.set(title="Validation", xlabel="tokens (millions)", ylabel="bits per byte")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def label_of(directory: Path) -> str:
    """A run's name in the legend."""
    return directory.resolve().name.removeprefix("etude_").removesuffix("_model")


def draw_loss(axes: Axes, lines: Sequence[dict[str, Any]], label: str, colour: str) -> None:
    """One run's loss: every step, pale, and its running mean."""
    steps = [line for line in lines if "loss" in line]
    tokens = [line["tokens"] / 1e6 for line in steps]
    losses = [line["loss"] for line in steps]
    axes.plot(tokens, losses, color=colour, alpha=0.25, linewidth=0.7)
    axes.plot(tokens, running_mean(losses, 0.85), color=colour, linewidth=1.6, label=label)


def draw_bits_per_byte(
    axes: Axes, lines: Sequence[dict[str, Any]], label: str, colour: str
) -> None:
    """One run's bits per byte: over all (thick) and by script."""
    styles = {"all": "-", "han": ":", "latin": "--", "other": "-."}
    points = [line for line in lines if "bits_per_byte" in line]
    for name, style in styles.items():
        field = "bits_per_byte" if name == "all" else f"bits_per_byte_{name}"
        chosen = [point for point in points if field in point]
        if chosen:
            axes.plot(
                [point["tokens"] / 1e6 for point in chosen],
                [point[field] for point in chosen],
                style,
                color=colour,
                linewidth=2.0 if name == "all" else 1.0,
                marker="o",
                markersize=3,
                label=label if name == "all" else f"{label}, {name}",
            )


def running_mean(values: Sequence[float], keep: float) -> list[float]:
    """Exponential running mean, corrected for its start at zero as in Adam (arXiv 1412.6980)."""
    mean, means = 0.0, []
    for count, value in enumerate(values, start=1):
        mean = keep * mean + (1 - keep) * value
        means.append(mean / (1 - keep**count))
    return means
