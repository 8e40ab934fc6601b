"""The machine in words, for what was measured on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine_facts(device_name: str) -> dict[str, str | int | None]:
    """Processor, cores, device and versions.

    Raises:
        UserError: there is no such device.
    """
    import transformers  # heavy modules come late: the demo's script wants the processor alone

    from model.device import pick_device
    from train.machine import describe_machine, git_commit

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "device": describe_machine(pick_device(device_name)),
        "python": platform.python_version(),
        "transformers": transformers.__version__,
        "git_commit": git_commit(),
    }


def machine_sentence(machine: Mapping[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores; {machine['device']}; "
        f"transformers {machine['transformers']}"
    )
