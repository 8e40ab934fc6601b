"""The curves of training runs, read from their logs and drawn, one panel a quantity.

Runs of one stage share an axis. Stages stand side by side in each panel, for pretraining is often a
hundred times longer than fine-tuning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from config import UserError
from data_process.pipeline.figures import COLOURS, GREY, missing_characters, style, unit_for
from model.directory.storage import SUMMARY
from train.run.logs import HELD_OUT, LOSS_LOG, METRICS, MUON_RATE, WATCH, read_log

SCRIPTS = {"": "-", "_han": ":", "_latin": "--", "_other": "-."}
"""Line styles of bits per byte by the script of the validation records."""
BEGINNING = 0.1
"""Share of a run in which steps do not rule the axis: the loss falls too fast there."""
FIRST_POINT = 0.02
"""The same for evaluations, which are few: the one before training is left out."""
TOKEN_UNITS = ((1e9, "billion tokens"), (1e6, "million tokens"), (1e3, "thousand tokens"))
TIME_UNITS = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
LEGEND_WIDTH = 110
"""Characters that fit in a line of the legend."""


@dataclass(frozen=True)
class Panel:
    """A quantity and how it is drawn."""

    field: str
    against: str
    """tokens or seconds."""
    title: str
    """The y axis, with its unit."""
    every_step: bool = True
    """A value each step: pale, with the running mean on it; else points."""
    scale: str = "linear"
    from_zero: bool = False
    marks_skipped: bool = False
    factor: float = 1.0
    """From the log's unit to that of the axis."""

    @property
    def one_scale(self) -> bool:
        """Stages are drawn on the same y axis."""
        return self.field != RATE


MUON_ALPHA = 0.4
"""Muon's learning rate is drawn paler than AdamW's."""
BITS, LOSS, RATE, SPEED = "bits_per_byte", "loss", "learning_rate", "tokens_per_second"
PANELS = (
    Panel(LOSS, "tokens", "training loss (nats)", marks_skipped=True),
    Panel(LOSS, "seconds", "training loss (nats)", marks_skipped=True),
    Panel(BITS, "tokens", "validation (bits/byte)", every_step=False),
    Panel(BITS, "seconds", "validation (bits/byte)", every_step=False),
    *(
        Panel(HELD_OUT + name, "tokens", f"held out: {title}", every_step=False, factor=factor)
        for name, title, factor in (
            ("loss", "loss", 1),
            ("accuracy", "pairs right (%)", 100),
            ("margin", "margin of rewards", 1),
            ("kl", "KL (nats/token)", 1),
            ("chosen_log_prob", "log p of chosen", 1),
            ("rejected_log_prob", "log p of rejected", 1),
        )
    ),
    Panel("reward", "tokens", "reward in training"),
    Panel(f"{HELD_OUT}pass_at_1", "tokens", "held out: pass@1 (%)", False, factor=100),
    Panel(f"{HELD_OUT}pass_at_k", "tokens", "held out: pass@k (%)", False, factor=100),
    Panel("no_signal", "tokens", "groups without signal (%)", factor=100, from_zero=True),
    Panel("entropy", "tokens", "entropy (nats/token)", from_zero=True),
    Panel("answer_length", "tokens", "tokens of an answer", from_zero=True),
    Panel("sampler_difference", "tokens", "sampler - trainer (nats)", scale="log"),
    Panel(RATE, "tokens", "learning rate (×10⁻³)", factor=1e3, from_zero=True),
    Panel("grad_norm", "tokens", "gradient norm", scale="log", marks_skipped=True),
    Panel(SPEED, "tokens", "thousand tokens/s", factor=1e-3, from_zero=True),
    Panel("share_of_peak", "tokens", "share of peak (%)", factor=100, from_zero=True),
)


Points = tuple[list[float], list[float]]
"""The x and the y of a curve."""


@dataclass(frozen=True)
class Run:
    """What one run wrote down."""

    label: str
    stage: str
    """pretrain, sft, ..."""
    lines: Sequence[dict[str, Any]]

    def series(self, against: str, field: str) -> Points:
        """A field against tokens or seconds, where a line has both; null (a step that was not
        finite) is left out."""
        chosen = [
            line
            for line in self.lines
            if line.get(field) is not None and line.get(against) is not None
        ]
        return [line[against] for line in chosen], [line[field] for line in chosen]

    def skipped(self, against: str) -> list[float]:
        """Where steps were skipped."""
        return [line[against] for line in self.lines if line.get("skipped") and against in line]


def read_runs(directories: Sequence[Path], labels: Sequence[str] = ()) -> list[Run]:
    """The runs of model directories, each under the label given for it, or the end of its path.

    Raises:
        UserError: one has no log, a damaged one, or one without a training step.
    """
    names = labels or distinct_names(directories)
    return [read_run(path, name) for path, name in zip(directories, names, strict=True)]


def read_run(directory: Path, label: str) -> Run:
    """One run: metrics.jsonl, or loss_log.jsonl where there is no other; raises as `read_runs`."""
    path = directory / METRICS
    if not path.is_file():
        path = directory / LOSS_LOG
    if not path.is_file():
        raise UserError(
            f"{directory}: there is no {METRICS} or {LOSS_LOG}; name the directory of a training "
            f"run"
        )
    lines = read_log(path)
    if not any("loss" in line for line in lines):
        raise UserError(f"{path}: the log holds no training step yet")
    return Run(label, stage_of(directory, lines), lines)


def stage_of(directory: Path, lines: Sequence[dict[str, Any]]) -> str:
    """The stage of a run: as its summary or a checkpoint's says, else inferred: pretraining trains
    every token of the first step."""
    for path in [directory / SUMMARY, *sorted(directory.glob(f"checkpoints/*/{SUMMARY}"))]:
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["stage"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not written yet, or just being replaced
    first = next(line for line in lines if "loss" in line)
    everything = first["tokens"] / first["step"]
    return "pretrain" if first.get("trained_tokens", everything) == everything else "sft"


def distinct_names(directories: Sequence[Path]) -> list[str]:
    """The ends of paths, as short as distinguishes them; etude_sft_model alone is called sft."""
    parts = [directory.resolve().parts for directory in directories]
    longest = max(map(len, parts))
    for depth in range(1, longest + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [name.removeprefix("etude_").removesuffix("_model") for name in names]


def draw(runs: Sequence[Run]) -> tuple[Figure, list[str]]:
    """A figure of all that the runs' logs hold, and what the user should know about it."""
    labels, notes = drawable_labels([run.label for run in runs])
    known = (*PANELS, *watch_panels(runs))
    panels = [p for p in known if any(run.series(p.against, p.field)[0] for run in runs)]
    stages = list(dict.fromkeys(run.stage for run in runs))
    rows = -(-len(panels) // 2)
    with matplotlib.rc_context(style()):
        figure = Figure(
            figsize=(7.2 + 1.6 * (len(stages) - 1), 1.75 * rows + 0.5), layout="constrained"
        )
        grid = figure.add_gridspec(rows, 2 * len(stages))
        for number, panel in enumerate(panels):
            row, half = divmod(number, 2)
            columns = range(half * len(stages), (half + 1) * len(stages))
            axes = [figure.add_subplot(grid[row, column]) for column in columns]
            draw_panel(panel, dict(zip(stages, axes, strict=True)), runs)
            if row == 0 and len(stages) > 1:
                for stage, place in zip(stages, axes, strict=True):
                    place.set_title(stage, color=GREY)
        add_legend(figure, runs, labels, panels)
        figure.align_ylabels()
    return figure, notes


def watch_panels(runs: Sequence[Run]) -> list[Panel]:
    """A panel for each score of a watched file."""
    fields = dict.fromkeys(f for run in runs for line in run.lines for f in line)
    return [
        Panel(field, "tokens", field.removeprefix(WATCH).replace(": ", "\n"), every_step=False)
        for field in fields
        if field.startswith(WATCH)
    ]


def drawable_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels; one that the fonts cannot draw becomes "run 2", and a note says so."""
    drawn, notes = [], []
    for number, label in enumerate(labels, start=1):
        if missing := missing_characters(label):
            notes.append(
                f"{label} is called run {number} in the picture: no font here has {missing[:5]} "
                "(install Noto Sans CJK, or name the runs with --labels)"
            )
        drawn.append(f"run {number}" if missing else label)
    return drawn, notes


def draw_panel(panel: Panel, axes_of: Mapping[str, Axes], runs: Sequence[Run]) -> None:
    """One quantity of all runs, each on the axes of its stage."""
    first = next(iter(axes_of.values()))
    for stage, axes in axes_of.items():
        chosen = {n: run for n, run in enumerate(runs) if run.stage == stage}
        draw_stage(panel, axes, chosen)
        axes.set_yscale(panel.scale)
        limited = list(chosen.values()) if not panel.one_scale else runs
        if (limits := y_limits(panel, limited)) is not None:
            axes.set_ylim(*limits)
            mark_cut(panel, axes, list(chosen.values()), limits[1])
        style_ticks(panel, axes)
        if axes is not first and panel.one_scale:
            axes.tick_params(labelleft=False, which="both")
    first.set_ylabel(panel.title)


def draw_stage(panel: Panel, axes: Axes, runs: Mapping[int, Run]) -> None:
    """The curves of the runs of a stage, by their number in the figure."""
    ends = [run.lines[-1].get(panel.against) or 0.0 for run in runs.values()]
    unit, name = unit_for(max(ends), TOKEN_UNITS if panel.against == "tokens" else TIME_UNITS)
    axes.set_xlabel(name)
    axes.set_xlim(0, max(1.0, *ends) / unit * 1.02)
    for number, run in runs.items():
        colour = COLOURS[number % len(COLOURS)]
        if panel.every_step:
            draw_steps(panel, axes, run, unit, colour)
        else:
            draw_points(panel, axes, run, unit, colour, with_scripts=len(runs) <= 2)
        if panel.marks_skipped and (places := run.skipped(panel.against)):
            x, top = np.array(places) / unit, axes.get_xaxis_transform()  # y: 0.97 of the height
            y = np.full(len(places), 0.97)
            axes.plot(x, y, "x", color=colour, markersize=4, transform=top, clip_on=False)


def draw_steps(panel: Panel, axes: Axes, run: Run, unit: float, colour: str) -> None:
    """A value each step: pale, and the running mean of about a hundredth of the run."""
    xs, ys = run.series(panel.against, panel.field)
    x, y = np.array(xs) / unit, np.array(ys) * panel.factor
    if panel.field == RATE:
        axes.plot(x, y, color=colour)
        muon_x, muon_y = run.series(panel.against, MUON_RATE)
        axes.plot(
            np.array(muon_x) / unit, np.array(muon_y) * panel.factor, color=colour, alpha=MUON_ALPHA
        )
        return
    # a picture inside the PDF where lines alone would make it slow to look at
    axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.5, rasterized=len(x) > 10_000)
    used = ~np.isin(xs, run.skipped(panel.against))
    keep = 1 - 1 / max(4.0, len(y) / 100)
    if panel.scale == "log":
        used &= y > 0
        mean = np.exp(running_mean(np.log(y[used]).tolist(), keep))
    else:
        mean = np.array(running_mean(y[used].tolist(), keep))
    axes.plot(x[used], mean, color=colour)


def draw_points(
    panel: Panel, axes: Axes, run: Run, unit: float, colour: str, with_scripts: bool
) -> None:
    """The evaluations: over all records (thick), and by script where there are several."""
    found = {end: run.series(panel.against, panel.field + end) for end in SCRIPTS}
    scripts = [end for end in SCRIPTS if end and found[end][0]]
    shown = ["", *scripts] if with_scripts and len(scripts) > 1 else [""]
    for end in shown:
        xs, ys = found[end]
        width, marker = (0.9, "") if end else (1.4, "o")
        x, y = np.array(xs) / unit, np.array(ys) * panel.factor
        (line,) = axes.plot(x, y, SCRIPTS[end], color=colour, linewidth=width)
        line.set(marker=marker, markersize=2.5)


def y_limits(panel: Panel, runs: Sequence[Run]) -> tuple[float, float] | None:
    """Where the y axis begins and ends: it holds what the runs did after their beginnings, single
    spikes left out; None where there is nothing to show."""
    lows, highs = [], []
    for run in runs:
        for end in SCRIPTS if panel.field == BITS else ("",):
            xs, ys = map(np.array, run.series(panel.against, panel.field + end))
            if panel.field == RATE:
                ys = np.concatenate([ys, run.series(panel.against, MUON_RATE)[1]])
                xs = np.resize(xs, ys.shape)
            if not len(ys):
                continue
            early = BEGINNING if panel.every_step else FIRST_POINT
            if not panel.every_step and panel.field != BITS:
                early = 0  # what was before training is what the others are compared with
            settled = xs >= xs[-1] * early
            if panel.every_step:
                settled &= ~np.isin(xs, run.skipped(panel.against))
            values = ys[settled] if settled.sum() > 2 else ys
            low, high = np.quantile(values, [0.002, 0.998]) * panel.factor
            lows.append(float(low))
            highs.append(float(high))
    if not lows:
        return None
    low, high = min(lows), max(highs)
    if panel.scale == "log":
        return (low / 1.3, high * 1.5) if low > 0 else None
    margin = 0.07 * ((high - low) or abs(high) or 1.0)
    return (0.0, (high or 1.0) * 1.1) if panel.from_zero else (low - margin, high + margin)


def mark_cut(panel: Panel, axes: Axes, runs: Sequence[Run], top: float) -> None:
    """Says how high a curve began whose beginning the axis leaves out."""
    firsts: list[float] = []
    for run in runs:
        xs, ys = run.series(panel.against, panel.field)
        skipped = set(run.skipped(panel.against))
        used = [y for x, y in zip(xs, ys, strict=True) if x not in skipped]
        firsts += [y * panel.factor for y in used[:1]]
    highest = max(firsts, default=top)
    if highest > top:
        text, style = f"↑ begins at {highest:.3g}", {"color": GREY, "fontsize": "small"}
        axes.text(0.98, 0.98, text, style, ha="right", va="top", transform=axes.transAxes)


def style_ticks(panel: Panel, axes: Axes) -> None:
    """Few, plain numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    if panel.scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_minor_locator(LogLocator(subs="all", numticks=40))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))


def add_legend(
    figure: Figure, runs: Sequence[Run], labels: Sequence[str], panels: Sequence[Panel]
) -> None:
    """One legend above the panels: the runs, and the signs that are used."""
    entries = [
        Line2D([], [], color=COLOURS[number % len(COLOURS)], label=label)
        for number, label in enumerate(labels)
    ]
    styles = {line.get_linestyle() for axes in figure.axes for line in axes.lines}
    entries += [
        Line2D([], [], color=GREY, linestyle=style, linewidth=0.9, label=f"{end[1:]} records")
        for end, style in SCRIPTS.items()
        if end and style in styles
    ]
    if any(line.get(MUON_RATE) is not None for run in runs for line in run.lines):
        label = "learning rate of Muon"
        entries.append(Line2D([], [], color=GREY, alpha=MUON_ALPHA, label=label))
    if any(panel.marks_skipped and run.skipped(panel.against) for panel in panels for run in runs):
        entries.append(
            Line2D([], [], color=GREY, marker="x", markersize=4, linestyle="", label="skipped step")
        )
    longest = max(len(str(entry.get_label())) for entry in entries)
    columns = max(1, min(len(entries), 5, LEGEND_WIDTH // (longest + 7)))
    figure.legend(handles=entries, loc="outside upper center", ncols=columns)


def running_mean(values: Sequence[float], keep: float) -> list[float]:
    """Exponential running mean, corrected for its start at zero as in Adam (arXiv 1412.6980)."""
    mean, means = 0.0, []
    for count, value in enumerate(values, start=1):
        mean = keep * mean + (1 - keep) * value
        means.append(mean / (1 - keep**count))
    return means
