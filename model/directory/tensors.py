"""Files of tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from config import UserError


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file as transformers likes it, for whoever may read other new files
    (safetensors makes it for its owner alone)."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; UserError when it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: train the model first, or name another directory; only "
            "safetensors files are read"
        ) from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
