"""How pictures look: colours, sizes, fonts, and the units of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import font_manager

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart with any kind of colour blindness (Okabe and Ito, "Color Universal Design", 2008)."""

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.35,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's default, Type 3
    "savefig.dpi": 200,
}

LATIN_FONT = "DejaVu Sans"
"""Comes with matplotlib."""
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # the first face of the collection file that holds SC too
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Arial Unicode MS",
)

TOKEN_UNITS = ((1e9, "billion tokens"), (1e6, "million tokens"), (1e3, "thousand tokens"))
TIME_UNITS = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def font_families() -> list[str]:
    """The fonts to take characters from, in this order: of those wanted, the ones that there
    are."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [LATIN_FONT, *(name for name in CHINESE_FONTS if name in installed)]


def style(families: Sequence[str]) -> Any:
    """The settings of matplotlib for a picture in some fonts."""
    return {**STYLE, "font.family": list(families)}


def missing_characters(text: str, families: Sequence[str]) -> str:
    """The characters of a text that none of the fonts has."""
    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in families]
    return "".join(c for c in text if not any(font.get_char_index(ord(c)) for font in fonts))


def unit_for(largest: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest unit that an axis up to `largest` holds, else the smallest."""
    return next((unit for unit in units if largest >= unit[0]), units[-1])
