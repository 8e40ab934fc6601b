"""The number format of the matrix products, chosen by measurement.

Weights, gradients, optimizer state, norms and the loss are float32 always. Matrix products run in
the format that this device multiplies fastest in: bfloat16 on GPUs and on CPUs with AMX or fast
AVX-512 bfloat16, float32 on the others, where bfloat16 is emulated and can be half as fast.
"""

from __future__ import annotations

import time

import torch

from config import DtypeName

CLEARLY_FASTER = 1.25
"""bfloat16 must win by this factor; the casts around a product cost time too."""


def pick_dtype(name: DtypeName, device: torch.device) -> DtypeName:
    """The format of a --dtype flag; auto measures for half a second."""
    if name != "auto":
        return name
    exact = matmul_speed(device, torch.float32)
    short = matmul_speed(device, torch.bfloat16)
    return "bfloat16" if short > CLEARLY_FASTER * exact else "float32"


def matmul_speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.25) -> float:
    """Operations per second of a matrix product of training's size, measured."""
    x = torch.ones(2048, 512, device=device, dtype=dtype)
    weight = torch.ones(512, 512, device=device, dtype=dtype)
    x @ weight  # warm up
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        x @ weight
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2.0 * 2048 * 512 * 512 / (time.perf_counter() - begin))
    return best
