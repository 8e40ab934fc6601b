"""Files of tensors."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from config import UserError

MAPPED_BYTES = 1 << 24
"""So much of a file is read before it is mapped again, or 1/50 of it (a mapping takes half a
millisecond, and more with a long header)."""


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file as transformers likes it, for whoever may read other new files
    (safetensors makes it for its owner alone)."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


EXPERT = re.compile(r"(.*\.mlp\.experts\.)(\d+)\.(\w+)\.weight")
"""The name of one expert's matrix in a file: transformers' and everyone's."""
EXPERTS = re.compile(r"(.*\.mlp\.experts\.)(\w+)")
"""That of all experts' in the network."""


def split_experts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of a file: a matrix for each expert, on the same memory."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if match := EXPERTS.fullmatch(name):
            prefix, kind = match.groups()
            found |= {f"{prefix}{n}.{kind}.weight": expert for n, expert in enumerate(tensor)}
        else:
            found[name] = tensor
    return found


def join_experts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `split_experts`; a layer without some of its experts stays apart."""
    found, apart = dict(weights), defaultdict[str, dict[int, Tensor]](dict)
    for name in weights:
        if match := EXPERT.fullmatch(name):
            prefix, number, kind = match.groups()
            apart[prefix + kind][int(number)] = found.pop(name)
    for name, experts in apart.items():
        shapes = {expert.shape for expert in experts.values()}
        if len(shapes) > 1 or max(experts) >= len(experts):
            prefix, _, kind = name.rpartition(".")
            found |= {f"{prefix}.{n}.{kind}.weight": expert for n, expert in experts.items()}
        else:
            found[name] = torch.stack([experts[number] for number in range(len(experts))])
        experts.clear()
    return found


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; UserError when it is missing or damaged."""
    return dict(read_each(path))


def read_each(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file by their names, one after the other. Each is a view of the mapped file,
    which is mapped again now and then: what is let go of does not stay in memory while others are
    read.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            names, seen = list(file.keys()), 0
        most = max(MAPPED_BYTES, path.stat().st_size // 50)
        while names:
            with safe_open(path, "pt") as file:
                while names and seen < most:
                    name = names.pop(0)
                    tensor = file.get_tensor(name)
                    seen += tensor.nbytes
                    yield name, tensor
            seen = 0
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: train the model first, or name another directory; only "
            "safetensors files are read"
        ) from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
