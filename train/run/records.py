"""The way of a step's numbers from the device to the host.

On a GPU the record of a step is copied while the next step is already being launched, and read
after that: the device never waits for the log. On a CPU it is there at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from train.step import RECORD


@dataclass(frozen=True)
class Arrival:
    """A record on its way."""

    facts: dict[str, Any]
    """What the host knew of the step."""
    record: Tensor
    """(RECORD,) float64, on the host once the event has happened."""
    copied: torch.cuda.Event | None


class RecordQueue:
    """Records in the order of their steps."""

    def __init__(self, device: torch.device) -> None:
        self.waits = device.type == "cuda"
        self.arrivals: deque[Arrival] = deque()

    def put(self, facts: dict[str, Any], record: Tensor) -> None:
        """Sends a step's record to the host."""
        if not self.waits:
            self.arrivals.append(Arrival(facts, record, None))
            return
        host = torch.empty(record.shape, dtype=record.dtype, pin_memory=True)
        host.copy_(record, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self.arrivals.append(Arrival(facts, host, copied))

    def take(self, everything: bool = False) -> list[dict[str, Any]]:
        """The steps whose numbers can be read without a wait (all but the newest on a GPU), or
        everything; facts and numbers joined."""
        keep = 1 if self.waits and not everything else 0
        taken = []
        while len(self.arrivals) > keep:
            arrival = self.arrivals.popleft()
            if arrival.copied is not None:
                arrival.copied.synchronize()
            numbers = dict(zip(RECORD, arrival.record.tolist(), strict=True))
            taken.append({**arrival.facts, **numbers})
        return taken
