"""One thread: tiny models gain nothing from more, and lose much when the machine is busy."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
