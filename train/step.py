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
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from config import TrainConfig, UserError
from model.transformer import Etude
from train.compilation import Compilation
from train.data.batches import IGNORED, Batch
from train.distributed import World, clip_gradient, no_sync
from train.objective import Objective, Prepared, prepare_all

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
        self,
        config: TrainConfig,
        vocab_size: int,
        dtype: torch.dtype,
        device: torch.device,
        first_loss: float | None = None,
    ) -> None:
        """first_loss: where the objective's own loss begins; see `Objective`."""
        self.spike_factor = config.spike_factor or math.inf
        self.guessing = max(math.log(vocab_size), first_loss or 0.0)
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
        # Blind guessing costs ln(vocabulary). No mean is known at first: then twice as much is bad.
        limit = torch.where(warm, state[LOSS] + LOSS_RISE * self.guessing, 2 * self.guessing)
        lasting = state[IN_A_ROW] >= PATIENCE
        spike = warm & (norm64 > self.spike_factor * state[NORM])
        good = finite & (loss64 <= limit) & (~spike | lasting)
        overflow = ~finite & (state[SCALE] > 1)  # the loss scale was too high, not the step bad
        bad = ~good & ~overflow
        scale, since = self.next_scale(state, good, overflow)
        # The first step, and a spike that lasted, restart the running means at their own values.
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


BALANCE = "router_aux_loss"
"""The mean balance loss of a step's rows, without its coefficient, logged where there are experts
beside the loss, which is without it."""
RECORD = ("loss", "grad_norm", "skipped", "trained_tokens", "skipped_in_a_row", "skipped_steps")
"""What a step's record holds, in this order."""


@dataclass(eq=False)
class TrainingStep:
    """All that one optimizer step needs."""

    module: nn.Module
    """Computes the summed loss (SummedLoss, perhaps wrapped for several processes)."""
    model: Etude
    optimizers: Mapping[str, torch.optim.Optimizer]
    guard: StepGuard
    world: World
    max_grad_norm: float
    objective: Objective
    compilation: Compilation = field(default_factory=Compilation)
    """Given up where compiling fails."""
    dropout_seed: int | None = None
    """Of the step's random numbers, set before each one; None: it draws none."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a record holds beyond RECORD."""
        experts = self.model.config.num_experts > 0
        return (*self.objective.metrics, *((BALANCE,) if experts else ()))

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Trains on this process's micro-batches; returns the step's record, float64 on the device:
        the numbers of RECORD, then those of `metrics`."""
        prepared = self.prepare(batches)
        loss, trained, metrics = self.compute_gradient(prepared)
        if "loss" in self.objective.metrics:
            loss = metrics[self.objective.metrics.index("loss")]
        if self.guard.scales:
            # Back from the scaled loss to the true gradient, before anything looks at its norm.
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            torch._foreach_div_(gradients, self.guard.loss_scale)
        norm = clip_gradient(self.model, self.max_grad_norm)
        bad = self.guard.judge(loss, norm)
        for optimizer in self.optimizers.values():
            # As GradScaler sets it: the optimizer reads it on the device, so nothing waits here.
            optimizer.found_inf = bad  # type: ignore[attr-defined]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state = self.guard.state
        counts = [bad, trained, state[IN_A_ROW], state[TOTAL]]
        return torch.stack([value.double() for value in (loss, norm, *counts, *metrics)])

    def prepare(self, batches: Sequence[Batch]) -> list[Prepared]:
        """The micro-batches with their objective's weights or soft targets."""
        if not self.objective.first_pass:
            return [self.objective.prepare(batch, None) for batch in batches]
        with torch.no_grad():  # (rows, max_length) each
            log_probs = [
                -self.module(*batch.inputs, per_token=True)
                if batch.log_probs is None
                else batch.log_probs
                for batch in batches
            ]
        return prepare_all(self.objective, batches, log_probs, self.total)

    def compute_gradient(
        self, prepared: Sequence[Prepared]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """See `accumulate_gradient`. A step in which compiling failed is computed again, so that
        none is half compiled; several processes go on in it, for the others would wait."""
        alone = self.world.size == 1 and self.compilation.active
        try:
            result = self.accumulate_gradient(prepared)
        except (UserError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            if not alone:
                raise
            self.compilation.give_up(error)
        if alone and not self.compilation.active:
            self.model.zero_grad(set_to_none=True)
            result = self.accumulate_gradient(prepared)
        return result

    def accumulate_gradient(
        self, prepared: Sequence[Prepared]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Adds up the gradient of the step's loss over micro-batches and processes.

        Returns:
            The step's loss divided by its normaliser (with cross-entropy, nats a trained token),
            the number of trained tokens, and the objective's metrics.
        """
        batches = [batch for batch, _ in prepared]
        trained = self.total([(batch.labels != IGNORED).sum() for batch in batches])
        own = [self.objective.normaliser(batch) for batch in batches]
        parts = [part for part in own if part is not None]
        normaliser = (self.total(parts) if parts else trained).clamp(min=1)
        # Processes average their gradients; the step wants their sum. So with R processes
        # 1/R * sum of (R / normaliser * gradient) = sum of gradients / normaliser.
        weight = self.guard.loss_scale * self.world.size / normaliser
        total, balances = torch.zeros((), device=trained.device), list[Tensor]()
        if self.dropout_seed is not None:  # so a step is the same in a run that is continued
            torch.manual_seed(self.dropout_seed)
        for number, batch in enumerate(batches, start=1):
            with no_sync(self.module, last=number == len(batches)):
                loss = self.module(*batch.inputs)
                (loss * weight).backward()
            total += loss.detach()
            summed: Any = getattr(self.module, "module", self.module)  # below DDP
            balance: Tensor | None = summed.balance
            if balance is not None:
                balances.append(balance)
                total -= self.model.config.router_aux_loss_coef * balance[0]
        sums = [metrics for _, metrics in prepared if metrics is not None]
        metrics = list((self.total(sums) / normaliser).unbind()) if sums else []
        if balances:
            found, weight_of_rows = self.total(balances).unbind()
            metrics.append(found / weight_of_rows.clamp(min=1e-12))
        return self.world.sum(total) / normaliser, trained, metrics

    def total(self, parts: list[Tensor]) -> Tensor:
        """The sum of the micro-batches' tensors over all processes."""
        return self.world.sum(torch.stack(parts).sum(dim=0))


class RecordQueue:
    """Records in the order of their steps."""

    def __init__(self, device: torch.device, metrics: Sequence[str] = ()) -> None:
        """metrics: the names of what a record holds beyond RECORD."""
        self.names = (*RECORD, *metrics)
        self.waits = device.type == "cuda"
        self.waiting: deque[tuple[dict[str, Any], Tensor, torch.cuda.Event | None]] = deque()
        """What the host knew of a step; its record, on the host once the event has happened."""

    def put(self, facts: dict[str, Any], record: Tensor) -> None:
        """Sends a step's record to the host."""
        copied = None
        if self.waits:
            # Only into pinned memory can a copy run beside what the GPU is doing.
            host = torch.empty(record.shape, dtype=record.dtype, pin_memory=True)
            record = host.copy_(record, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        self.waiting.append((facts, record, copied))

    def take(self, everything: bool = False) -> list[dict[str, Any]]:
        """The steps whose numbers can be read without a wait (all but the newest on a GPU), or
        everything; facts and numbers joined."""
        keep = 1 if self.waits and not everything else 0
        taken = []
        while len(self.waiting) > keep:
            facts, record, copied = self.waiting.popleft()
            if copied is not None:
                copied.synchronize()
            taken.append({**facts, **dict(zip(self.names, record.tolist(), strict=True))})
        return taken


def seed_of(*numbers: int) -> int:
    """A seed for torch's generators that is a function of some numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
