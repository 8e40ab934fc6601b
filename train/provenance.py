"""Where a model came from: the code, the machine."""

from __future__ import annotations

import platform
import subprocess

import torch

from config import ROOT


def git_commit() -> str:
    """The commit of this checkout, with -dirty when files differ from it; "unknown" without git."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"


def describe_machine(device: torch.device) -> str:
    """The device in words: cpu (2 threads, torch 2.13.0), or the name of the GPU."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (torch {torch.__version__})"
    return (
        f"{platform.machine()} cpu ({torch.get_num_threads()} threads, torch {torch.__version__})"
    )
