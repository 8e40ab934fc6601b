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
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch._functorch import config as functorch_config
from torch.utils.checkpoint import checkpoint

from model.kv_cache import LayerCache
from model.transformer import Etude, TransformerBlock
from train.objective import Chunk, SummedLoss, chunk_loss

COMPILERS = ("g++", "c++", "clang++", "cl")
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that inductor reads, and sets."""
LONGEST_CAUSE = 200
"""Characters."""


def training_loss(
    model: Etude,
    dtype: torch.dtype,
    compilation: Compilation,
    gradient_checkpointing: bool = False,
    whole: bool = False,
    of_chunk: Chunk = chunk_loss,
) -> SummedLoss:
    """The objective of a model, with its blocks and its loss compiled and its activations
    recomputed as asked for.

    Args:
        model: the network; where gradients are recorded, its blocks run the compiled code from here
            on.
        dtype: format of the matrix products.
        compilation: whether to compile.
        gradient_checkpointing: keep one activation a block and compute the others again in the
            backward pass: less memory, a third more work.
        whole: compile network and loss as one piece.
        of_chunk: `Objective.chunk`.
    """
    block: Callable[..., Any] = TransformerBlock.forward
    chunk = of_chunk
    if compilation.active:
        if whole:
            return WholeLoss(model, dtype, compilation, of_chunk)
        block = Compiled(TransformerBlock.forward, compilation)
        chunk = Compiled(of_chunk, compilation)
    if compilation.active or gradient_checkpointing:
        for layer in model.model.layers:
            layer.forward = partial(training_forward, layer, block, gradient_checkpointing)
    return SummedLoss(model, dtype, chunk)


class WholeLoss(SummedLoss):
    """The objective, compiled as one piece where gradients are recorded."""

    def __init__(
        self, model: Etude, dtype: torch.dtype, compilation: Compilation, chunk: Chunk
    ) -> None:
        super().__init__(model, dtype, chunk)
        self.function = Compiled(SummedLoss.forward, compilation)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """As SummedLoss.forward; evaluation and first passes name options and run uncompiled."""
        if options or not torch.is_grad_enabled():
            return super().forward(*inputs, **options)
        return self.function(self, *inputs)


def training_forward(
    layer: Any,
    function: Callable[..., Any],
    recompute: bool,
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor | None = None,
    cache: LayerCache | None = None,
) -> tuple[Tensor, Tensor | None]:
    """A block's forward, which takes the compiled way where gradients are recorded."""
    if cache is not None or not torch.is_grad_enabled():
        return TransformerBlock.forward(layer, x, cos, sin, mask, cache)
    made: tuple[Tensor, Tensor | None]
    if recompute:
        made = checkpoint(function, layer, x, cos, sin, mask, use_reentrant=False)  # type: ignore[assignment]
    else:
        made = function(layer, x, cos, sin, mask)
    return made


class Compilation:
    """Whether training runs compiled: where it is wanted, until compiling fails."""

    def __init__(self, wanted: bool = False) -> None:
        """Looks for a C++ compiler where compiling is wanted; without one a line is printed."""
        found = bool(os.environ.get("CXX")) or any(shutil.which(name) for name in COMPILERS)
        self.active = wanted and found
        if wanted and not found:
            warn_uncompiled("no C++ compiler found (install g++ or clang)")
        if self.active:
            # Else a backward pass would be compiled inside `.backward()`, where a failure comes too
            # late: some gradients are added up by then, and other processes wait for theirs.
            functorch_config.force_non_lazy_backward_lowering = True
            # Keeps the traced graphs of attention too, by their content, from run to run.
            functorch_config.autograd_cache_allow_custom_autograd_functions = True
            keep_blanks_out_of_paths()

    def give_up(self, error: Exception) -> None:
        """Goes on uncompiled; the first time, a line says why."""
        if self.active:
            self.active = False
            warn_uncompiled(f"compiling failed ({first_cause(error)})")


def keep_blanks_out_of_paths() -> None:
    """Lets inductor, whose command lines do not quote all paths, write into the user's cache where
    the path of the temporary folder holds a blank."""
    if " " not in os.environ.get(INDUCTOR_CACHE, "") + tempfile.gettempdir():
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "etude" / "inductor"
    with suppress(OSError):  # then compiling fails, and says why
        folder.mkdir(parents=True, exist_ok=True)
        # For this process and for inductor's own workers.
        os.environ["TMPDIR"] = os.environ[INDUCTOR_CACHE] = tempfile.tempdir = str(folder)


class Compiled:
    """A function compiled at its first call; once compiling has failed, of this function or of
    another one, as it is."""

    def __init__(self, function: Callable[..., Any], compilation: Compilation) -> None:
        self.plain, self.compilation = function, compilation
        self.function = torch.compile(function)

    def __call__(self, *args: Any) -> Any:
        """The function's result."""
        if self.compilation.active:
            try:
                return self.function(*args)
            except TorchDynamoException as error:
                self.compilation.give_up(error)
        return self.plain(*args)


def first_cause(error: BaseException) -> str:
    """What went wrong beneath a compiler's error, in a line: what the C++ compiler printed first
    about an error, or the innermost exception."""
    while inner := getattr(error, "inner_exception", None) or error.__cause__:
        error = inner
    printed = getattr(error, "output", "") or f"{type(error).__name__}: {error}"
    printed = printed.decode("utf-8", "replace") if isinstance(printed, bytes) else str(printed)
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    line = next((line for line in lines if "error" in line.lower()), lines[0])
    return line if len(line) <= LONGEST_CAUSE else f"{line[:LONGEST_CAUSE]}..."


def warn_uncompiled(reason: str) -> None:
    """Prints why training is not compiled."""
    print(f"  {reason}: training runs uncompiled, more slowly", flush=True)


def use_deterministic_kernels(device: torch.device) -> None:
    """Makes the same step give the same bits in every process, on the CPU.

    Without it a compiled embedding adds up its gradient with atomic additions, whose order is
    chance. It costs no time that could be measured. On CUDA it would, and needs more than this.
    """
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling new memory is a debugging aid of that mode, and slow.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
