"""What a plot is; the plots themselves are in stories_en.py and stories_zh.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plot:
    """Templates of one plot. `talk` takes the place of `help` in some of the long stories."""

    problem: str
    attempt: str
    talk: str
    help: str
    end: str
