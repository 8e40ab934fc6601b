"""The page with what the chain did."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_process.pipeline.chain import STAGES
from data_process.pipeline.counts_picture import GREY, draw_lengths, draw_shares
from data_process.pipeline.figure_style import (
    COLOURS,
    font_families,
    missing_characters,
    style,
    unit_for,
)
from data_process.pipeline.report import Report

MOST_REASONS = 18
SIZE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
LAYOUT = (("documents", "bytes", "reasons"), ("lengths", "languages", "reasons"))


def draw(report: Report, title: str) -> Figure:
    """Documents and bytes after each stage, reasons, lengths, languages."""
    families = font_families()
    with matplotlib.rc_context(style(families)):
        figure = Figure(figsize=(10.5, 5.4), layout="constrained")
        places = figure.subplot_mosaic([list(row) for row in LAYOUT], width_ratios=[1.0, 1.0, 1.15])
        figure.suptitle(title if not missing_characters(title, families) else "", fontsize=9)
        names, documents, sizes = zip(*report.steps(), strict=True)
        draw_bars(places["documents"], names, documents, [f"{n:,}" for n in documents])
        places["documents"].set_title("documents after each stage", color=GREY)
        size, unit = unit_for(max(sizes), SIZE_UNITS)
        told = [f"{n / size:,.1f} {unit}" for n in sizes]
        draw_bars(places["bytes"], names, [n / size for n in sizes], told)
        places["bytes"].set_title("bytes after each stage", color=GREY)
        draw_reasons(places["reasons"], report)
        draw_lengths(
            places["lengths"], "characters", report.found.lengths["characters"], COLOURS[0]
        )
        draw_shares(places["languages"], report.found, "language ", "languages", families)
    return figure


def draw_bars(
    place: Axes, names: Sequence[str], values: Sequence[float], told: Sequence[str]
) -> None:
    """A bar for each step, from the top."""
    bars = place.barh(names, values, color=COLOURS[5], height=0.7)
    place.bar_label(bars, [f" {text}" for text in told], fontsize=7, color=GREY)
    place.invert_yaxis()
    place.set_xlim(0, 1.3 * max(values))
    place.set_xticks([])
    place.grid(visible=False)


def draw_reasons(place: Axes, report: Report) -> None:
    """How many documents were dropped for each reason, coloured by stage; of many, the most
    frequent."""
    rows = report.dropped()
    place.set_title("dropped, by reason", color=GREY)
    if not rows:
        place.text(0.5, 0.5, "nothing was dropped", ha="center", color=GREY)
        place.set_axis_off()
        return
    least = sorted((n for _, _, n in rows), reverse=True)[:MOST_REASONS][-1]
    shown = [row for row in rows if row[2] >= least][:MOST_REASONS]
    for number, (stage, heading) in enumerate(STAGES.items()):
        of_stage = [(y, row[2]) for y, row in enumerate(shown) if row[0] == stage]
        if of_stage:
            ys, counts = zip(*of_stage, strict=True)
            bars = place.barh(ys, counts, color=COLOURS[number], height=0.7, label=heading)
            place.bar_label(bars, [f" {n:,}" for n in counts], fontsize=7, color=GREY)
    place.set_yticks(range(len(shown)), [reason for _, reason, _ in shown])
    if len(shown) < len(rows):
        place.set_xlabel(f"and {len(rows) - len(shown):,} rarer reasons")
    place.set_xlim(0, 1.25 * max(row[2] for row in shown))
    place.set_ylim(max(len(shown), 6) - 0.4, -0.6)
    place.set_xticks([])
    place.grid(visible=False)
    place.legend(loc="upper right", bbox_to_anchor=(1, 0))
