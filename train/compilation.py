"""Compiling the training step, where that is possible, into kernels that repeat themselves to the
bit.

Compiled are one transformer block and one chunk of the loss, not the whole network: the first step
comes in half the time (and does not take longer with more layers), for about 3% of the speed,
which `--compile_whole` gives back.
Evaluation and sampling, where shapes vary, run uncompiled.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.utils.checkpoint import checkpoint

from model.kv_cache import LayerCache
from model.transformer import Etude, TransformerBlock
from train.objective import SummedLoss, chunk_loss

COMPILERS = ("g++", "c++", "clang++", "cl")


def training_loss(
    model: Etude,
    dtype: torch.dtype,
    compile: bool,
    gradient_checkpointing: bool = False,
    whole: bool = False,
) -> SummedLoss:
    """The objective of a model, with its blocks and its loss compiled and its activations
    recomputed as asked for.

    Args:
        model: the network; where gradients are recorded, its blocks run the compiled code from here
            on.
        dtype: format of the matrix products.
        compile: compile, where a compiler is found; else print one line that none was.
        gradient_checkpointing: keep one activation a block and compute the others again in the
            backward pass: less memory, a third more work.
        whole: compile network and loss as one piece.
    """
    compile = compile and compiler_found()
    if compile and whole:
        return WholeLoss(model, dtype)
    block = Compiled(TransformerBlock.forward) if compile else TransformerBlock.forward
    if compile or gradient_checkpointing:
        for layer in model.model.layers:
            layer.forward = partial(training_forward, layer, block, gradient_checkpointing)
    return SummedLoss(model, dtype, Compiled(chunk_loss) if compile else None)


class WholeLoss(SummedLoss):
    """The objective, compiled as one piece where gradients are recorded."""

    def __init__(self, model: Etude, dtype: torch.dtype) -> None:
        super().__init__(model, dtype)
        self.function = Compiled(SummedLoss.forward)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """As SummedLoss.forward; evaluation and first passes name options and run uncompiled."""
        if options or not torch.is_grad_enabled():
            return super().forward(*inputs, **options)
        return self.function(self, *inputs)


def training_forward(
    layer: Any,
    function: Callable[..., Tensor],
    recompute: bool,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor | None = None,
    cache: LayerCache | None = None,
) -> Tensor:
    """A block's forward, which takes the compiled way where gradients are recorded."""
    if cache is not None or not torch.is_grad_enabled():
        return TransformerBlock.forward(layer, x, cos, sin, mask, cache)
    if not recompute:
        return function(layer, x, cos, sin, mask)
    recomputed = checkpoint(function, layer, x, cos, sin, mask, use_reentrant=False)
    assert isinstance(recomputed, Tensor)
    return recomputed


class Compiled:
    """A function compiled at its first call, or, where that fails, as it is: slower, and one line
    says so."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.plain = function
        self.function = torch.compile(function)

    def __call__(self, *args: Any) -> Tensor:
        """The function's result."""
        try:
            return self.function(*args)
        except TorchDynamoException as error:
            if self.function is self.plain:
                raise
            warn_uncompiled(f"compiling failed ({type(error).__name__})")
            self.function = self.plain
            return self.function(*args)


def compiler_found() -> bool:
    """Whether there is a C++ compiler; without one a line is printed."""
    found = bool(os.environ.get("CXX")) or any(shutil.which(name) for name in COMPILERS)
    if not found:
        warn_uncompiled("no C++ compiler found")
    return found


def warn_uncompiled(reason: str) -> None:
    """Prints why training is not compiled."""
    print(f"  {reason}: training runs uncompiled, more slowly; install g++ or clang", flush=True)


def use_deterministic_kernels(device: torch.device) -> None:
    """Makes the same step give the same bits in every process, on the CPU.

    Without it a compiled embedding adds up its gradient with atomic additions, whose order is
    chance. It costs no time that could be measured. On CUDA it would, and needs more than this.
    """
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling new memory is a debugging aid of that mode, and slow.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
