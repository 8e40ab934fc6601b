"""Drawing what files of records hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from data_process.pipeline.figure_style import COLOURS, font_families, missing_characters, style
from data_process.records.counts import Found, quantiles

BINS = 50
MOST_BARS = 8
SHARE_LABELS = (("language ", "language"), ("script ", "script"), ("role ", "turns by role"))
GREY = "#666666"


def draw(found: Found) -> Figure:
    """A panel for each length, and one for languages (or scripts) and roles."""
    families = font_families()
    shares = [(p, title) for p, title in SHARE_LABELS if found.share_of(p)]
    if found.share_of("language "):
        shares = [share for share in shares if share[1] != "script"]
    panels = len(found.lengths) + len(shares)
    columns = 2 if panels in (2, 4) else min(panels, 3)
    rows = -(-panels // columns)
    with matplotlib.rc_context(style(families)):
        figure = Figure(figsize=(2.4 * columns + 0.4, 2.0 * rows + 0.2), layout="constrained")
        places = iter(figure.subplots(rows, columns, squeeze=False).flat)
        for number, (name, lengths) in enumerate(found.lengths.items()):
            draw_lengths(next(places), name, lengths, COLOURS[number])
        for prefix, title in shares:
            draw_shares(next(places), found, prefix, title, families)
        for unused in places:
            unused.set_axis_off()
    return figure


def draw_lengths(place: Axes, name: str, lengths: Counter[int], colour: str) -> None:
    """How many records are how long, with the median; on a logarithmic axis when they differ by
    more than a hundred times, or by one when there are few lengths."""
    values = np.array(sorted(lengths), dtype=float)
    weights = np.array([lengths[int(value)] for value in values], dtype=float)
    low, high = max(values[0], 1.0), max(values[-1], 1.0)
    if high - values[0] < BINS:
        edges = np.arange(values[0] - 0.5, high + 1.0)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif high / low > 100:
        edges = np.geomspace(low, high * 1.0001, BINS + 1)
        place.set_xscale("log")
    else:
        edges = np.linspace(values[0], high, BINS + 1)
    place.hist(np.maximum(values, edges[0]), bins=list(edges), weights=weights, color=colour)
    median = quantiles(lengths, [0.5])[0]
    place.axvline(median, color="black", linewidth=0.8, linestyle="--")
    place.set_title(f"median {median:,}", color=GREY)
    place.set_xlabel(f"{name} in a record")
    place.set_ylabel("records")
    place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    place.grid(axis="x", visible=False)


def draw_shares(place: Axes, found: Found, prefix: str, title: str, families: list[str]) -> None:
    """Shares of all, as bars; the rarest together."""
    counts = found.share_of(prefix)
    rest = sum(count for _, count in counts[MOST_BARS:])
    shown = counts[:MOST_BARS] + ([("others", rest)] if rest else [])
    total = sum(count for _, count in counts)
    names = [
        n if not missing_characters(n, families) else f"(name {i})"
        for i, (n, _) in enumerate(shown, 1)
    ]
    shares = [100 * count / total for _, count in shown]
    bars = place.barh(names, shares, color=COLOURS[5], height=0.7)
    place.bar_label(bars, [f" {share_told(share)}" for share in shares], fontsize=7, color=GREY)
    place.invert_yaxis()
    place.set_xlim(0, 115)
    place.set_xlabel("share (%)")
    place.set_title(title, color=GREY)
    place.grid(axis="y", visible=False)


def share_told(percent: float) -> str:
    """A share in few digits; one that rounds to nothing is not nothing."""
    return f"{percent:.1f}" if percent >= 0.05 else "<0.1"


def save(figure: Figure, path: Path, kind: str) -> None:
    """Writes a figure as png, pdf or svg."""
    with matplotlib.rc_context(style(font_families())):
        figure.savefig(path, format=kind)
