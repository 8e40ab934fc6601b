"""Pictures: their colours, sizes, fonts and units; what files of records hold; and the page with
what the chain of prepare.py did."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinct with any kind of colour blindness (Okabe and Ito, "Color Universal Design", 2008)."""

STYLE = Path(__file__).with_name("figures.mplstyle")
GREY = "#666666"
BINS, MOST_BARS, MOST_REASONS = 50, 8, 18
SHARE_LABELS = (("language ", "language"), ("script ", "script"), ("role ", "turns by role"))
SIZE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
LAYOUT = (("documents", "bytes", "reasons"), ("lengths", "languages", "reasons"))


@functools.cache
def style() -> Any:
    """The settings of matplotlib for a picture; its fonts are the installed ones of the wanted."""
    settings = matplotlib.rc_params_from_file(STYLE, use_default_template=False)
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    families = [name for name in settings["font.sans-serif"] if name in installed]
    return {**settings, "font.family": families}


def missing_characters(text: str) -> str:
    """The characters of a text that none of the fonts has."""
    families = style()["font.family"]
    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in families]
    return "".join(c for c in text if not any(font.get_char_index(ord(c)) for font in fonts))


def unit_for(largest: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest unit that an axis up to `largest` holds, else the smallest."""
    return next((unit for unit in units if largest >= unit[0]), units[-1])


def save(figure: Figure, path: Path, kind: str) -> None:
    """Writes a figure as png, pdf or svg."""
    with matplotlib.rc_context(style()):
        figure.savefig(path, format=kind)


class Counts(Protocol):
    """What files hold; see `records/stats.py`."""

    @property
    def lengths(self) -> Mapping[str, Counter[int]]:
        """By kind of length: how many records have which."""

    def share_of(self, prefix: str) -> Sequence[tuple[str, int]]:
        """Names that begin so, and their counts, the largest first."""


def draw_counts(found: Counts) -> Figure:
    """A panel for each length, and one for languages (or scripts) and roles."""
    shares = [(p, title) for p, title in SHARE_LABELS if found.share_of(p)]
    if found.share_of("language "):
        shares = [share for share in shares if share[1] != "script"]
    panels = len(found.lengths) + len(shares)
    columns = 2 if panels in (2, 4) else min(panels, 3)
    rows = -(-panels // columns)
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(2.4 * columns + 0.4, 2.0 * rows + 0.2), layout="constrained")
        axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
        for number, (name, lengths) in enumerate(found.lengths.items()):
            draw_lengths(next(axes), name, lengths, COLOURS[number])
        for prefix, title in shares:
            draw_shares(next(axes), found, prefix, title)
        for unused in axes:
            unused.set_axis_off()
    return figure


def draw_lengths(ax: Axes, name: str, lengths: Counter[int], colour: str) -> None:
    """How many records are how long, with the median; on a logarithmic axis when they differ by
    more than a hundred times, or by one when there are few lengths."""
    values = np.array(sorted(lengths), dtype=float)
    weights = np.array([lengths[int(value)] for value in values], dtype=float)
    low, high = max(values[0], 1.0), max(values[-1], 1.0)
    if high - values[0] < BINS:
        edges = np.arange(values[0] - 0.5, high + 1.0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif high / low > 100:
        edges = np.geomspace(low, high * 1.0001, BINS + 1)
        ax.set_xscale("log")
    else:
        edges = np.linspace(values[0], high, BINS + 1)
    ax.hist(np.maximum(values, edges[0]), bins=list(edges), weights=weights, color=colour)
    median = int(values[np.searchsorted(np.cumsum(weights), weights.sum() / 2)])
    ax.axvline(median, color="black", linewidth=0.8, linestyle="--")
    ax.set_title(f"median {median:,}", color=GREY)
    ax.set_xlabel(f"{name} in a record")
    ax.set_ylabel("records")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.grid(axis="x", visible=False)


def draw_shares(ax: Axes, found: Counts, prefix: str, title: str) -> None:
    """Shares of all in percent, as bars; the rarest together."""
    counts = found.share_of(prefix)
    rest = sum(count for _, count in counts[MOST_BARS:])
    shown = [*counts[:MOST_BARS]] + ([("others", rest)] if rest else [])
    total = sum(count for _, count in counts)
    names = [n if not missing_characters(n) else f"(name {i})" for i, (n, _) in enumerate(shown, 1)]
    shares = [100 * count / total for _, count in shown]
    draw_bars(ax, names, shares, [f"{rounded(share)}%" for share in shares])
    ax.set_title(title, color=GREY)


def rounded(percent: float) -> str:
    """A share in few digits; one that rounds to nothing is not nothing."""
    return f"{percent:.1f}" if percent >= 0.05 else "<0.1"


def draw_report(
    title: str,
    steps: Sequence[tuple[str, int, int]],
    dropped: Mapping[str, Sequence[tuple[str, int]]],
    found: Counts,
) -> Figure:
    """The page with what the chain did.

    Args:
        title: what stands above it.
        steps: name of each step, documents and bytes after it.
        dropped: reasons why documents were dropped and their numbers, by the name of the stage.
        found: what the output holds.
    """
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(10.5, 5.4), layout="constrained")
        axes = figure.subplot_mosaic([list(row) for row in LAYOUT], width_ratios=[1.0, 1.0, 1.15])
        figure.suptitle(title if not missing_characters(title) else "", fontsize=9)
        names, documents, sizes = zip(*steps, strict=True)
        draw_bars(axes["documents"], names, documents, [f"{n:,}" for n in documents])
        size, unit = unit_for(max(sizes), SIZE_UNITS)
        draw_bars(axes["bytes"], names, sizes, [f"{n / size:,.1f} {unit}" for n in sizes])
        draw_reasons(axes["reasons"], dropped)
        draw_lengths(axes["lengths"], "characters", found.lengths["characters"], COLOURS[0])
        draw_shares(axes["languages"], found, "language ", "languages")
        for name in ("documents", "bytes"):
            axes[name].set_title(f"{name} after each stage", color=GREY)
    return figure


def draw_bars(ax: Axes, names: Sequence[str], values: Sequence[float], labels: list[str]) -> None:
    """A bar for each step, from the top."""
    bars = ax.barh(names, values, color=COLOURS[5], height=0.7)
    ax.bar_label(bars, [f" {label}" for label in labels], fontsize=7, color=GREY)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.3 * max(values))
    ax.set_xticks([])
    ax.grid(visible=False)


def draw_reasons(ax: Axes, dropped: Mapping[str, Sequence[tuple[str, int]]]) -> None:
    """How many documents were dropped for each reason, coloured by stage; of many, the most
    frequent."""
    rows = [(stage, *reason) for stage, reasons in dropped.items() for reason in reasons]
    ax.set_title("dropped, by reason", color=GREY)
    if not rows:
        ax.text(0.5, 0.5, "nothing was dropped", ha="center", color=GREY)
        ax.set_axis_off()
        return
    least = sorted((n for _, _, n in rows), reverse=True)[:MOST_REASONS][-1]
    shown = [row for row in rows if row[2] >= least][:MOST_REASONS]
    for stage, colour in zip(dropped, COLOURS, strict=False):
        if of_stage := [(y, n) for y, (other, _, n) in enumerate(shown) if other == stage]:
            ys, counts = zip(*of_stage, strict=True)
            bars = ax.barh(ys, counts, color=colour, height=0.7, label=stage)
            ax.bar_label(bars, [f" {n:,}" for n in counts], fontsize=7, color=GREY)
    ax.set_yticks(range(len(shown)), [reason for _, reason, _ in shown])
    if len(shown) < len(rows):
        ax.set_xlabel(f"and {len(rows) - len(shown):,} rarer reasons")
    ax.set_xlim(0, 1.25 * max(n for _, _, n in shown))
    ax.set_ylim(max(len(shown), 6) - 0.4, -0.6)
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0))
