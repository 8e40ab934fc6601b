"""What a scaling study found: the best sizes, the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from config import LADDER, ModelConfig, nano, rung
from tool.benchmarks.scaling_runs import ScalingRun, parameters_of
from train.run.auto_shape import ScalingLaw, rounded
from train.run.plan import flops_per_token

BUDGETS = (1e13, 1e14, 1e15, 1e16)
"""Floating-point operations for which the best size is told."""


def best_of_ladder(
    law: ScalingLaw, others: Sequence[ScalingLaw], operations: float
) -> dict[str, Any]:
    """The shape of the ladder that should reach the lowest loss with so many floating-point
    operations, and those that the laws with one trial left out would choose."""
    best = best_rung(law, operations)
    shape = rung(*LADDER[best])
    parameters, tokens = cost(shape, operations)
    return {
        "operations": operations,
        "rung": best,
        "parameters": parameters,
        "tokens": round(tokens),
        "bits_per_byte": round(law.loss(parameters, tokens), 3),
        "rungs_with_one_run_left_out": sorted({best_rung(law, operations) for law in others}),
    }


def best_rung(law: ScalingLaw, operations: float) -> int:
    """The place in the ladder of the shape with the lowest loss."""
    losses = [law.loss(*cost(rung(*place), operations)) for place in LADDER]
    return losses.index(min(losses))


def cost(shape: ModelConfig, operations: float) -> tuple[int, float]:
    """The parameters of a shape, and the tokens that so many operations train."""
    settings = nano()
    vocab_size, length = settings.model.vocab_size, settings.pretrain.max_length
    shape = dataclasses.replace(shape, vocab_size=vocab_size)
    return parameters_of(shape, vocab_size), operations / flops_per_token(shape, length)


def table(runs: Sequence[ScalingRun], law: ScalingLaw) -> str:
    """The runs, for people."""
    lines = [f"{'parameters':>12} {'tokens':>9} {'bits per byte':>14} {'law':>7} {'time':>8}"]
    for run in runs:
        lines.append(
            f"{run.parameters / 1e6:>10.2f} M {run.tokens / 1e6:>7.2f} M "
            f"{run.bits_per_byte:>14.4f} {law.loss(run.parameters, run.tokens):>7.4f} "
            f"{run.seconds:>6.0f} s"
        )
    return "\n".join(lines)


def told(law: ScalingLaw, off: float, budgets: Sequence[dict[str, Any]]) -> list[str]:
    """The law and what follows from it, for people."""
    law = rounded(law)
    lines = [
        f"bits per byte = {law.irreducible:g} + {law.size:g} / (parameters / 1M)^"
        f"{law.size_exponent:g} + {law.data:g} / (tokens / 1M)^{law.data_exponent:g}, "
        f"off by {off:.1%}",
    ]
    for budget in budgets:
        lines.append(
            f"{budget['operations']:.0e} operations: {budget['parameters'] / 1e6:.1f}M parameters, "
            f"{budget['tokens'] / 1e6:.1f}M tokens, {budget['bits_per_byte']:.3f} bits per byte "
            f"(with one run left out: rungs {budget['rungs_with_one_run_left_out']})"
        )
    return lines
