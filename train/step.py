"""One optimizer step: gradients, clipping, the guard's verdict, the update.

Nothing here waits for the device: what the host wants to know comes back as a tensor and is read
later (`train/run/records.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.transformer import Etude
from train.data.rows import IGNORED, Batch
from train.distributed import World, clip_gradient, no_sync
from train.guard import IN_A_ROW, TOTAL, StepGuard

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
