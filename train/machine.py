"""The machine that trains: its memory, its fastest number format, its name; and the code's commit.

Weights, gradients, optimizer state, norms and the loss are float32 always. Matrix products run in
the format that this device multiplies fastest in, by measurement: bfloat16 on GPUs and on CPUs with
AMX or fast AVX-512 bfloat16, float32 on CPUs where bfloat16 is emulated and can be half as fast,
float16 (with a loss scale) on GPUs before Ampere.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from config import ROOT, DtypeName, UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Tells glibc to keep freed activations for the next step.

    By default it gives large blocks back to the system and pays for fresh, zeroed pages a moment
    later: 15 to 20% of eager training on a CPU. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST)


def memory_in_use(device: torch.device) -> int:
    """Bytes: the largest allocation so far on a GPU, else the process's resident memory (its
    largest so far where the system does not report the present one)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * 4096
    return peak_memory()


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes; 0 where it is not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory(device: torch.device) -> tuple[int, str]:
    """Bytes that this process can still take, and the words for what bounds them: the GPU, or the
    tightest of the machine's memory, the limits of its control groups and its own (ulimit)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0], "are free on the GPU"
    bounds = [(LARGEST_MEMORY, "can be addressed"), *machine_memory(), *own_limits()]
    for controller, limit, usage, cached in CONTROL_GROUPS:
        for place in control_groups(controller):
            with suppress(OSError, ValueError, StopIteration):
                most, used = (
                    int((place / name).read_text(encoding="ascii")) for name in (limit, usage)
                )
                stat = (place / "memory.stat").read_text(encoding="ascii").splitlines()
                freeable = next(int(line.split()[1]) for line in stat if line.startswith(cached))
                bounds.append((most - used + freeable, "are left of the container's limit"))
    return max(0, min(bounds)[0]), min(bounds)[1]


LARGEST_MEMORY = 2**62
CONTROL_GROUPS = (
    ("", "memory.max", "memory.current", "inactive_file "),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
)
"""Version 2 and version 1 (Linux, admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst): the name of
the controller, and the files and the field that hold limit, use and what of it can be dropped."""
CONTROL_GROUP_ROOT = Path("/sys/fs/cgroup")


def control_groups(controller: str) -> list[Path]:
    """The directories of the control groups that bound this process's memory, innermost first."""
    root, own = CONTROL_GROUP_ROOT / controller, ""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                own = path.strip("/")
    # In a container the path may be one that only the host has; the root is its own limit then.
    inner = root / own
    return [place for place in (inner, *inner.parents) if place == root or root in place.parents]


def machine_memory() -> list[tuple[int, str]]:
    """What the machine has left, where the system says it."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return [(int(available.split()[1]) * 1024, "are free")]
    with suppress(AttributeError, ValueError, OSError):  # macOS: all that there is
        return [(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "are in this machine")]
    return []


def own_limits() -> list[tuple[int, str]]:
    """What is left of this process's limit on its address space (ulimit -v)."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return []
    used = 0
    with suppress(OSError):
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * 4096
    return [(limit - used, "are left of this process's limit (ulimit -v)")]


def refuse_full_disk(directory: Path, needed: int, what: str, way: str) -> None:
    """Raises UserError when the disk of a directory, which need not be there yet, has not so many
    bytes left.

    Args:
        directory: where to write.
        needed: bytes.
        what: what they are for.
        way: what to do, beside making room.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{directory}: {what} need about {in_bytes(needed)} and {in_bytes(free)} are free "
            f"there: free some space, {way}"
        )


def in_bytes(number: int) -> str:
    """A number of bytes in words: 3.1 MB, 1,200.0 GB."""
    return f"{number / 1e6:.1f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"


CANDIDATES: tuple[DtypeName, ...] = ("float32", "bfloat16", "float16")
"""Safest first."""
CLEARLY_FASTER = 1.25
"""A less exact format must win by this factor; the casts around a product cost time too."""
PROBE_SECONDS = 0.05
"""For each of them."""


def pick_dtype(name: DtypeName, device: torch.device) -> DtypeName:
    """The format of a --dtype flag; auto measures for less than a second."""
    if name != "auto":
        return name
    best, best_speed = CANDIDATES[0], 0.0
    for candidate in CANDIDATES:
        speed = matmul_speed(device, getattr(torch, candidate), PROBE_SECONDS)
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
