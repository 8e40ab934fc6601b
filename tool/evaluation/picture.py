"""A picture of an evaluation: shares with their intervals, and what guessing would give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from data_process.pipeline.figures import COLOURS, style
from model.directory.storage import replace_file

matplotlib.use("Agg")
from matplotlib import pyplot

WIDTH = 6.4


def draw_evaluation(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Writes the rows of `measure_files` as a PNG: shares to the left, bits per byte, where there
    are any, to the right."""
    bits = [row for row in rows if row["measure"] == "bits per byte"]
    shares = [row for row in rows if row["measure"] != "bits per byte"]
    parts = [part for part in (shares, bits) if part]
    with pyplot.rc_context(style()):
        height = 1.0 + 0.34 * max(map(len, parts))
        figure, axes = pyplot.subplots(
            1, len(parts), figsize=(WIDTH, height), squeeze=False, layout="constrained"
        )
        for axis, part in zip(axes[0], parts, strict=True):
            draw_rows(axis, part)
            axis.set_xlabel("bits per byte" if part is bits else "share")
            if part is shares:
                axis.set_xlim(0, 1)
        figure.suptitle(title, fontsize=9)
        replace_file(path, lambda aside: figure.savefig(aside, format="png"))
        pyplot.close(figure)


def draw_rows(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    """One line a measure: value, interval, and a tick where guessing is."""
    places = range(len(rows))
    values, low, high = np.array([[row[k] for row in rows] for k in ("value", "low", "high")])
    errors = [values - low, high - values]
    axis.errorbar(values, places, xerr=errors, fmt="o", color=COLOURS[0], capsize=2, markersize=4)
    chances = [(row["chance"], place) for place, row in enumerate(rows) if row["chance"]]
    if chances:
        axis.plot(*zip(*chances, strict=True), "|", color=COLOURS[1], markersize=12, label="chance")
        # Above the rows: among them its tick would be one more level of chance.
        axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    axis.set_yticks(places, [f"{Path(row['file']).stem}\n{row['measure']}" for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
