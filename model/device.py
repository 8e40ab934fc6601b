"""The device, chosen in one place."""

from __future__ import annotations

import torch

from config import UserError


def pick_device(name: str) -> torch.device:
    """The device of a --device flag: auto takes CUDA where there is one, else the CPU.

    Raises:
        UserError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"--device {name}: no such device; use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"--device {name}: only cpu and cuda are supported; use auto, cpu or cuda")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise UserError(f"--device {name}: this machine has {count} CUDA devices; use --device cpu")
    return device
