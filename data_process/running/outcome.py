"""What a data script says at its end: documents in, out and dropped, time, speed."""

from __future__ import annotations

from collections import Counter


def outcome(counts: Counter[str], input_bytes: int, seconds: float) -> list[str]:
    """The lines of a small table.

    Args:
        counts: what the steps counted: in, `dropped: REASON`, other things, out.
        input_bytes: size of the input.
        seconds: time that the work took.
    """
    dropped = sorted(key for key in counts if key.startswith("dropped: "))
    others = sorted(set(counts) - {"in", "out", *dropped})
    rows = [("documents in", "in"), *((key, key) for key in (*dropped, *others)), ("out", "out")]
    lines = [f"{counts[key]:>14,}  {name}" for name, key in rows if counts[key] or key == "out"]
    speed = input_bytes / max(seconds, 1e-9) / 1e6
    return [*lines, f"{seconds:>13,.1f}s  {speed:,.1f} MB/s"]
