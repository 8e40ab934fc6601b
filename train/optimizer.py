"""The optimizers: AdamW for everything, or Muon for the hidden matrices and AdamW for the rest; and
the learning rate over a run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from config import TrainConfig
from model.transformer import Etude

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Keller Jordan, "Muon",
kellerjordan.github.io/posts/muon)."""
LARGE = 512
"""Rows from which a CPU multiplies faster one matrix at a time, all cores at it, than many; and
from which, on any device, Newton-Schulz iterations go in pairs."""


def build_optimizers(
    model: Etude, config: TrainConfig, dtype: torch.dtype = torch.float32
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a model, "adamw" and "muon"; each group keeps its peak rate in "peak_lr".

    Args:
        model: the network, on its device.
        config: rates, decay and the choice of optimizer.
        dtype: format of Muon's matrix products.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # Not a router: its rows are the experts', and none of them should move as much as any other.
    matrices = [n for n, p in parameters.items() if p.dim() >= 2 and ".mlp.gate." not in n]
    hidden = [name for name in matrices if ".layers." in name]
    by_muon = hidden if config.optimizer == "muon" else []
    rest = [p for n, p in parameters.items() if n not in by_muon]
    # Decay pulls matrices towards zero; the weights of the norms belong near one.
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=True,
    )
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
    if by_muon:
        rate, decay = config.muon_learning_rate, config.weight_decay
        chosen = [parameters[name] for name in by_muon]
        optimizers["muon"] = Muon(
            chosen, lr=rate, momentum=config.muon_momentum, weight_decay=decay, dtype=dtype
        )
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by Newton-Schulz: each update turns all directions of a matrix
    equally.

    torch.optim.Muon takes one matrix at a time and always in bfloat16, which many CPUs are slow at.
    This one stacks matrices of equal shape and works in the format that it is given.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; none where `found_inf` (a tensor of one
        number, as GradScaler sets it) says 1."""
        assert closure is None  # Etude's loop never passes one
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        if found_inf is not None and found_inf.device.type == "cpu" and found_inf.item():
            return  # a GPU's is not waited for: `update` reads it there
        for group in self.param_groups:
            together: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    # Large ones alone: what is done to one stays in a CPU's caches.
                    key = (*parameter.shape, *((number,) if is_large(parameter) else ()))
                    together[key].append(parameter)
            for parameters in together.values():
                self.update(parameters, group, found_inf)

    def update(
        self, parameters: list[Tensor], group: dict[str, Any], found_inf: Tensor | None
    ) -> None:
        """Updates matrices of one shape together."""
        buffers = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffers.append(local_part(state["momentum_buffer"]))
        gradients = [local_part(p.grad) for p in parameters if p.grad is not None]
        go: float | Tensor = 1.0  # 0: every factor below leaves things as they were
        if found_inf is not None:
            go = 1.0 - found_inf
            if found_inf.device.type != "cpu":  # else `step` has seen that it is 0
                gradients = [torch.where(found_inf > 0, 0.0, gradient) for gradient in gradients]
        for buffer, gradient in zip(buffers, gradients, strict=True):
            # m <- m + (1 - momentum) * (g - m), an exponential moving average of the gradient
            buffer.lerp_(gradient, go * (1 - group["momentum"]))
        # Nesterov: look one step of momentum ahead; (matrices, rows, columns), of experts (layers,
        # experts, rows, columns).
        ahead = torch.stack(torch._foreach_lerp(gradients, buffers, group["momentum"]))
        updates = orthogonalize_parts(ahead, parameters[0], group["steps"], self.dtype)
        rows, columns = parameters[0].shape[-2:]
        # U V^T has entries of root mean square 1 / sqrt(max(rows, columns)); the factor makes that
        # 1 / sqrt(columns) for every shape, so that each output moves by about the learning rate.
        updates.mul_(go * -group["lr"] * max(1.0, rows / columns) ** 0.5)
        weights = [local_part(parameter) for parameter in parameters]
        # Decoupled weight decay, as in AdamW (arXiv 1711.05101).
        torch._foreach_mul_(weights, 1 - go * group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(updates.unbind(0)))


def is_large(parameter: Tensor) -> bool:
    """Whether a CPU multiplies a matrix faster alone."""
    on_cpu = parameter.device.type == "cpu" and not isinstance(parameter, DTensor)
    return on_cpu and parameter.dim() == 2 and min(parameter.shape) >= LARGE


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; it shares its memory."""
    if isinstance(tensor, DTensor):
        return tensor.to_local()
    return tensor


def orthogonalize_parts(parts: Tensor, like: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """`orthogonalize` for matrices of which every process may hold only some rows.

    Each process then gets some whole matrices, orthogonalises those, and gives the rows back: the
    work is shared, and nothing is computed twice.

    Args:
        parts: (count, rows that this process holds, columns), or (count, experts that this process
            holds, rows, columns).
        like: one of the parameters: how they are spread over the processes.
        steps: as in `orthogonalize`.
        dtype: likewise.
    """
    if parts.dim() == 4:  # whole matrices, also where processes share them
        return orthogonalize(parts.flatten(0, 1), steps, dtype).view_as(parts)
    if not isinstance(like, DTensor):
        return orthogonalize(parts, steps, dtype)
    mesh, by_row, by_matrix = like.device_mesh, [Shard(1)], [Shard(0)]
    assert like.placements == (Shard(0),)
    shape = torch.Size((parts.shape[0], *like.shape))
    stride = (like.shape[0] * like.shape[1], like.shape[1], 1)
    spread = DTensor.from_local(parts, mesh, by_row, shape=shape, stride=stride)
    mine = orthogonalize(spread.redistribute(mesh, by_matrix).to_local(), steps, dtype)
    result = DTensor.from_local(mine.contiguous(), mesh, by_matrix, shape=shape, stride=stride)
    return local_part(result.redistribute(mesh, by_row))


def orthogonalize(matrices: Tensor, steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly U V^T of each matrix's singular value decomposition, by a quintic Newton-Schulz
    iteration.

    Args:
        matrices: (count, rows, columns).
        steps: iterations; five bring every singular value to between about 0.7 and 1.2. Four train
            no worse (LOG.md) and cost a fifth less.
        dtype: format of the products.
    """
    x = matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    # The Frobenius norm is at least the largest singular value, so all of them are at most 1 now.
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    if x.device.type == "cpu" and x.shape[1] >= LARGE:
        x = torch.stack([newton_schulz(matrix, steps) for matrix in x])
    else:
        x = newton_schulz(x, steps)
    return (x.mT if tall else x).to(matrices.dtype)


def newton_schulz(x: Tensor, steps: int) -> Tensor:
    """Brings every singular value s of x, (rows, columns) or (count, rows, columns), at most 1, to
    about 1 by iterations of s <- a s + b s^3 + c s^5; the singular vectors stay.

    With A = x x^T an iteration is x <- P x, P = a + b A + c A^2, and P A P is the A of the next
    one. So where rows are many, but columns many more, two of them need only products of
    rows x rows between the first and the last. Not more than two: A holds squares, of which a short
    format loses the small ones.
    """
    a, b, c = NEWTON_SCHULZ
    plus_product = torch.baddbmm if x.dim() == 3 else torch.addmm
    in_pairs = x.shape[-2] >= LARGE and x.shape[-1] >= 2 * x.shape[-2]
    while steps > 0:
        gram = x @ x.mT  # (..., rows, rows), rows <= columns
        factor = plus_product(gram, gram, gram, beta=b, alpha=c)  # P without a
        if in_pairs and steps > 1:
            factor.diagonal(dim1=-2, dim2=-1).add_(a)
            gram = gram @ factor @ factor  # all of these commute
            second = plus_product(gram, gram, gram, beta=b, alpha=c)
            second.diagonal(dim1=-2, dim2=-1).add_(a)
            x = second @ factor @ x
            steps -= 2
        else:
            x = plus_product(x, factor, x, beta=a)
            steps -= 1
    return x


def set_learning_rates(optimizers: dict[str, torch.optim.Optimizer], scale: float) -> None:
    """Sets every group's learning rate to a share of its peak, before each step."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * scale


def lr_scale(step: float, total: int, config: TrainConfig) -> float:
    """The learning-rate schedule: the share of the peak rate at a step (from 0) of total; a run
    against the clock counts in fractions of a step.

    It rises linearly in the first warmup_ratio of the run and then falls to min_lr_ratio: along a
    half cosine (SGDR, arXiv 1608.03983), a line, or, with warmup_stable_decay, a line over the last
    decay_ratio of the run.
    """
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)  # neither the first step is 0 nor the last one the peak
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
