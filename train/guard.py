"""Keeping a bad step out of the weights, without asking the device in the middle of it.

A step is bad when its loss or gradient norm is not finite, when the norm is many times its running
mean, or when the loss is far above its own. The verdict is a tensor on the device, and the
optimizers leave everything as it was where it says so; the host hears of it when it reads the
step's numbers. A large norm that lasts while the loss stays near its mean is no outlier but how the
run now is (a model that knows its text by heart has tiny gradients until one row surprises it): it
is accepted, for clipping bounds it anyway. For float16 the guard also holds the loss scale (Mixed
Precision Training, arXiv 1710.03740): an overflow lowers it, and is not the run's fault.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from config import TrainConfig

WARMUP = 50
"""Good steps before a gradient norm or a loss can be called a spike."""
KEEP = 0.98
"""Decay of the running means of the gradient norm and the loss."""
PATIENCE = 3
"""Spikes of the norm alone that are skipped in a row before the next one is accepted."""
LOSS_RISE = 0.25
"""How far above its mean a loss is bad, as a share of the loss of blind guessing,
ln(vocabulary)."""
FIRST_SCALE = 2.0**14
STEPS_BEFORE_RAISE = 1_000
NORM, GOOD, IN_A_ROW, TOTAL, SCALE, SINCE, LOSS = range(7)


class StepGuard:
    """Judges steps; its state is one tensor, kept in checkpoints."""

    def __init__(
        self, config: TrainConfig, vocab_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.spike_factor = config.spike_factor or math.inf
        self.guessing = math.log(vocab_size)
        self.scales = dtype == torch.float16
        self.state = torch.zeros(7, dtype=torch.float64, device=device)
        """Running mean of the norm; good steps; bad ones in a row; bad ones in all; the loss scale;
        good steps since it last changed; running mean of the loss."""
        self.state[SCALE] = FIRST_SCALE if self.scales else 1.0

    @property
    def loss_scale(self) -> Tensor:
        """What the loss is multiplied by before the backward pass."""
        return self.state[SCALE].float()

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether a step is bad, as 1.0 or 0.0 on the device (torch's found_inf).

        Args:
            loss: the step's mean loss, in nats.
            norm: the gradient's norm, before clipping.
        """
        state = self.state.clone()
        loss64, norm64 = loss.double(), norm.double()
        finite = torch.isfinite(loss64) & torch.isfinite(norm64)
        warm = state[GOOD] >= WARMUP
        limit = torch.where(warm, state[LOSS] + LOSS_RISE * self.guessing, 2 * self.guessing)
        lasting = state[IN_A_ROW] >= PATIENCE
        spike = warm & (norm64 > self.spike_factor * state[NORM])
        good = finite & (loss64 <= limit) & (~spike | lasting)
        overflow = ~finite & (state[SCALE] > 1)
        bad = ~good & ~overflow
        scale, since = self.next_scale(state, good, overflow)
        keep = torch.where((state[GOOD] == 0) | spike, 0.0, KEEP)
        mean_norm = keep * state[NORM] + (1 - keep) * norm64
        mean_loss = keep * state[LOSS] + (1 - keep) * loss64
        self.state = torch.stack(
            [
                torch.where(good, mean_norm, state[NORM]),
                state[GOOD] + good,
                torch.where(good, 0.0, state[IN_A_ROW] + bad),
                state[TOTAL] + bad,
                scale,
                since,
                torch.where(good, mean_loss, state[LOSS]),
            ]
        )
        return (~good).float()

    def next_scale(self, state: Tensor, good: Tensor, overflow: Tensor) -> tuple[Tensor, Tensor]:
        """The loss scale after a step, and the good steps since it changed."""
        if not self.scales:
            return state[SCALE], state[SINCE]
        since = torch.where(overflow, 0.0, state[SINCE] + good)
        rise = since >= STEPS_BEFORE_RAISE
        scale = torch.where(overflow, state[SCALE] / 2, state[SCALE] * (1.0 + rise))
        return scale, torch.where(rise, 0.0, since)
