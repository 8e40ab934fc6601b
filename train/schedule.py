"""The learning rate over a run."""

from __future__ import annotations

import math

from config import TrainConfig


def lr_scale(step: float, total: int, config: TrainConfig) -> float:
    """The share of the peak learning rate at a step (from 0) of total; a run against the clock
    counts in fractions of a step.

    It rises linearly in the first warmup_ratio of the run and then falls to min_lr_ratio: along a
    half cosine (SGDR, arXiv 1608.03983), a line, or, with warmup_stable_decay, a line over the last
    decay_ratio of the run.
    """
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.lr_scheduler_type == "warmup_stable_decay":
        start = max(warmup, total - math.ceil(config.decay_ratio * total))
    else:
        start = warmup
    if step < start:
        return 1.0
    done = min(1.0, (step - start) / max(1, total - 1 - start))
    if config.lr_scheduler_type == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return 1.0 - (1.0 - config.min_lr_ratio) * done
