"""Draws the curves of one or several runs: loss and bits per byte against tokens and time, learning
rate, gradient norm and throughput.

python plot_training.py --model_dirs ../weight/demo/etude_pretrained_model --output curves.pdf
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import UserError
from tool.settings import PlotConfig


def main() -> None:
    """Reads the command line and draws."""
    plot(parse_flags(PlotConfig(), __doc__))


def plot(config: PlotConfig) -> None:
    """Writes the picture and says where it is."""
    from data_process.pipeline.figures import save
    from model.directory.storage import replace_file  # heavy modules come after the command line
    from train.run.curves import draw, read_runs

    figure, notes = draw(read_runs(config.model_dirs, config.labels))
    if not config.output.parent.is_dir():
        raise UserError(f"--output {config.output}: the folder does not exist; make it first")
    replace_file(config.output, lambda path: save(figure, path, config.picture_kind))
    print(*notes, f"the curves are in {config.output}", sep="\n")


if __name__ == "__main__":
    run_script(main)
