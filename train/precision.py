"""The number format of the matrix products, chosen by measurement.

Weights, gradients, optimizer state, norms and the loss are float32 always. Matrix products run in
the format that this device multiplies fastest in: bfloat16 on GPUs and on CPUs with AMX or fast
AVX-512 bfloat16, float32 on CPUs where bfloat16 is emulated and can be half as fast, float16 (with
a loss scale) on GPUs before Ampere.
"""

from __future__ import annotations

import time

import torch

from config import DtypeName

CANDIDATES: tuple[DtypeName, ...] = ("float32", "bfloat16", "float16")
"""Safest first."""
CLEARLY_FASTER = 1.25
"""A less exact format must win by this factor; the casts around a product cost time too."""


def pick_dtype(name: DtypeName, device: torch.device) -> DtypeName:
    """The format of a --dtype flag; auto measures for less than a second."""
    if name != "auto":
        return name
    best, best_speed = CANDIDATES[0], matmul_speed(device, torch.float32)
    for candidate in CANDIDATES[1:]:
        speed = matmul_speed(device, getattr(torch, candidate))
        if speed > CLEARLY_FASTER * best_speed:
            best, best_speed = candidate, speed
    return best


def set_matmul_precision(device: torch.device, dtype: torch.dtype) -> None:
    """Says explicitly what float32 products on a GPU are: full float32 when the run asked for
    float32, TF32 for the few that are left when it runs in a shorter format."""
    if device.type == "cuda":
        exact = dtype == torch.float32
        torch.set_float32_matmul_precision("highest" if exact else "high")


def matmul_speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Operations per second of a matrix product of training's size, measured: the best of the
    repetitions that fit the time."""
    tokens, width = (2048, 512) if device.type == "cpu" else (8192, 4096)
    x = torch.ones(tokens, width, device=device, dtype=dtype)
    weight = torch.ones(width, width, device=device, dtype=dtype)
    result = x @ weight  # warms up, and gives the memory to write to
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        torch.mm(x, weight, out=result)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2.0 * tokens * width * width / (time.perf_counter() - begin))
    return best
