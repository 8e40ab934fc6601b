"""The picture that a run draws of itself at its end."""

from __future__ import annotations

import sys
from pathlib import Path

from model.directory.storage import replace_file

PICTURE = "training.png"


def draw_picture(directory: Path) -> None:
    """Draws the curves of the run in a model directory; whatever goes wrong is a warning."""
    try:
        from data_process.pipeline.figures import save
        from train.run.curves import draw, read_runs  # matplotlib takes a second to load

        figure, _ = draw(read_runs([directory]))
        replace_file(directory / PICTURE, lambda path: save(figure, path, "png"))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: {PICTURE} was not drawn ({reason})", file=sys.stderr)
    else:
        print(f"the curves are in {directory / PICTURE}")
