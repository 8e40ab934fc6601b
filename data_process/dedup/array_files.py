"""Arrays on disk, for the next step to read without holding them in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_process.running.step import put_on_disk
from model.directory.storage import replace_file


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array as .npy and puts it on the disk."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        put_on_disk(file)


def replace_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array as .npy, whole or not at all."""
    replace_file(path, lambda aside: save_array(aside, array))
