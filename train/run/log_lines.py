"""The logs of a run as files: their names, and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config import UserError

LOSS_LOG = "loss_log.jsonl"
METRICS = "metrics.jsonl"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log. A last line without its end is passed over: the run is writing it just
    now, or a crash tore it.

    Raises:
        UserError: a line is no JSON object; it is named.
    """
    lines = []
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or "step" not in fields:
            raise UserError(
                f"{path}:{number}: not a line of a training log; the file is damaged, remove the "
                f"line"
            )
        lines.append(fields)
    return lines
