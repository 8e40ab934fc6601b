"""The largest memory of a piece of work, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from config import ModelConfig
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.measuring import run_apart

SIZES: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
"""Some 120M weights, few and large ones, as a large model has."""


def peak_bytes(work: Callable[..., None], *args: object) -> int:
    """By how much the resident memory of a process grows at most while it works, after it has done
    the same on something small.

    Args:
        work: a function of a module, of the folder to work in and more arguments; a folder "small"
            beside this one has the same files.
        args: its arguments.
    """
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the largest memory of a process can only be reset on Linux")
    return run_apart(measured, work, *args)


def measured(work: Callable[..., None], folder: Path, *args: object) -> int:
    """`peak_bytes` in this process."""
    work(folder.with_name("small"), *args)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): VmHWM = VmRSS
    before = status_bytes("VmRSS")
    work(folder, *args)
    return status_bytes("VmHWM") - before


def status_bytes(name: str) -> int:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def save_large_and_small(folder: Path, tokenizer: EtudeTokenizer, dtype: torch.dtype) -> int:
    """Writes a random model into a folder and a small one beside it; the bytes that the weights of
    the large one take in float32."""
    for place, sizes in ((folder.with_name("small"), {}), (folder, SIZES)):
        config = ModelConfig(len(tokenizer), max_position_embeddings=256, **sizes)
        model = Etude(config)
        model.initialize(torch.Generator().manual_seed(1))
        save_pretrained(place, model.to(dtype), tokenizer, {}, is_chat=False)
    return 4 * model.num_parameters()
