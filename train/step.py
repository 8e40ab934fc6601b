"""One optimizer step: gradients, clipping, the guard's verdict, the update.

Nothing here waits for the device: what the host wants to know is returned as a tensor, which
`RecordQueue` copies to the host while the next step is already being launched.

The guard keeps a bad step out of the weights. A step is bad when its loss or gradient norm is not
finite, when the norm is many times its running mean, or when the loss is far above its own. The
verdict is a tensor on the device, and the optimizers leave everything as it was where it is 1. A
large norm that lasts while the loss stays near its mean is no outlier but the run's new state (a
model that knows its text by heart has tiny gradients until one row surprises it): it is accepted,
since clipping bounds it anyway. For float16 the guard also holds the loss scale (Mixed Precision
Training, arXiv 1710.03740): an overflow lowers it and does not count as a bad step.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from config import TrainConfig
from model.transformer import Etude
from train.data.batches import IGNORED, Batch
from train.distributed import World, clip_gradient, no_sync

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


RECORD = ("loss", "grad_norm", "skipped", "trained_tokens", "skipped_in_a_row", "skipped_steps")
"""What a step's record holds, in this order."""


class TrainingStep:
    """All that one optimizer step needs."""

    def __init__(
        self,
        module: nn.Module,
        model: Etude,
        optimizers: Mapping[str, torch.optim.Optimizer],
        guard: StepGuard,
        world: World,
        max_grad_norm: float,
    ) -> None:
        """module computes the summed loss (SummedLoss, perhaps wrapped for several processes)."""
        self.module, self.model, self.optimizers = module, model, optimizers
        self.guard, self.world, self.max_grad_norm = guard, world, max_grad_norm

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Trains on this process's micro-batches; returns the step's record (RECORD,) float64, on
        the device."""
        loss, trained = self.accumulate_gradient(batches)
        if self.guard.scales:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            torch._foreach_div_(gradients, self.guard.loss_scale)
        norm = clip_gradient(self.model, self.max_grad_norm)
        bad = self.guard.judge(loss, norm)
        for optimizer in self.optimizers.values():
            optimizer.found_inf = bad  # type: ignore[attr-defined]  # as GradScaler tells it
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state = self.guard.state
        counts = [bad, trained, state[IN_A_ROW], state[TOTAL]]
        return torch.stack([value.double() for value in (loss, norm, *counts)])

    def accumulate_gradient(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Adds up the gradient of the step's loss over micro-batches and processes.

        Returns:
            The mean loss over the step's trained tokens, in nats, and their number.
        """
        counts = [(batch.labels != IGNORED).sum() for batch in batches]
        trained = self.world.sum(torch.stack(counts).sum())
        # Processes average their gradients; the step wants their sum.
        weight = self.guard.loss_scale * self.world.size / trained.clamp(min=1)
        total = torch.zeros((), device=trained.device)
        for number, batch in enumerate(batches, start=1):
            with no_sync(self.module, self.world, last=number == len(batches)):
                loss = self.module(batch.input_ids, batch.labels, batch.document_ids)
                (loss * weight).backward()
            total += loss.detach()
        return self.world.sum(total) / trained.clamp(min=1), trained


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
