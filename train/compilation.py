"""Compiling the loss, where that is possible, into kernels that repeat themselves to the bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from model.transformer import Etude

LossFunction = Callable[[Etude, Tensor, Tensor, Tensor | None, torch.dtype], Tensor]
COMPILERS = ("g++", "c++", "clang++", "cl")


class CompiledLoss:
    """A loss function compiled at its first call, or, where that fails, as it is: slower, and one
    line says so."""

    def __init__(self, function: LossFunction) -> None:
        self.function = self.plain = function
        if os.environ.get("CXX") or any(shutil.which(name) for name in COMPILERS):
            self.function = torch.compile(function)
        else:
            self.say("no C++ compiler found")

    def __call__(
        self,
        model: Etude,
        input_ids: Tensor,
        labels: Tensor,
        document_ids: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        """The loss; arguments and result are those of the function."""
        try:
            return self.function(model, input_ids, labels, document_ids, dtype)
        except TorchDynamoException as error:
            if self.function is self.plain:
                raise
            self.say(f"compiling failed ({type(error).__name__})")
            self.function = self.plain
            return self.function(model, input_ids, labels, document_ids, dtype)

    def say(self, reason: str) -> None:
        """Tells why training is not compiled."""
        print(
            f"  {reason}: training runs uncompiled, more slowly; install g++ or clang", flush=True
        )


def use_deterministic_kernels(device: torch.device) -> None:
    """Makes the same step give the same bits in every process, on the CPU.

    Without it a compiled embedding adds up its gradient with atomic additions, whose order is
    chance. It costs no time that could be measured. On CUDA it would, and needs more than this.
    """
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling new memory is a debugging aid of that mode, and slow.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
