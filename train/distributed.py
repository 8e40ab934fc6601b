"""Training in several processes: who is who, what they agree on, how they share the model.

torchrun starts the processes and gives each its number. The model's mathematics, the order of the
rows and the checkpoints do not depend on how many there are. Without torchrun nothing here does
anything.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from config import ParallelName, UserError
from model.adapters import adapter_weights
from model.device import pick_device
from model.directory.pretrained import weights_of
from model.transformer import Etude

T = TypeVar("T")

HOST_TIMEOUT = timedelta(seconds=120)
"""How long a process waits for the others on the host, once in every step."""
DEVICE_TIMEOUT = timedelta(minutes=10)
"""How long NCCL waits; its first call also builds all connections."""
PATIENCE = timedelta(hours=12)
"""How long a barrier waits, while one process tokenises or saves; one that dies ends it."""
LOST_CONTACT = ("gloo", "nccl", "connection", "socket", "timed out", "timeout", "barrier")
"""Words of the errors of a lost or silent process; torch has no type that is common to them."""


@dataclass(frozen=True)
class World:
    """This process among all of a run."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    parallel: ParallelName = "ddp"
    control: dist.ProcessGroup | None = None
    """All processes, by way of the host: what they agree on here does not wait for a GPU."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    @property
    def shards(self) -> bool:
        """Whether each process holds only its own part of the weights."""
        return self.size > 1 and self.parallel == "fsdp"

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, written into the tensor, on its device."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.size == 1:
            return flag
        count = torch.tensor(int(flag))
        dist.all_reduce(count, group=self.control)
        return bool(count)

    def same(self, value: T) -> T:
        """The main process's value, which JSON must be able to hold."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode()
        length = torch.tensor(len(text))
        dist.broadcast(length, 0, group=self.control)
        content = torch.zeros(int(length), dtype=torch.uint8)  # (length,), the text's bytes
        if self.is_main:
            content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self.control)
        agreed: T = json.loads(bytes(content.tolist()))
        return agreed

    def barrier(self) -> None:
        """Waits until all have come, however long one of them works."""
        if self.size > 1:
            dist.monitored_barrier(group=self.control, timeout=PATIENCE)


@contextmanager
def join_world(device_name: str, parallel: ParallelName) -> Iterator[World]:
    """Joins the processes that torchrun started; without torchrun, a world of one.

    Args:
        device_name: that of --device; each process takes its own GPU, or all share the CPU.
        parallel: ddp or fsdp.

    Raises:
        UserError: there is no such device, or another process died or does not answer.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=pick_device(device_name), parallel=parallel)
        return
    rank = int(os.environ["RANK"])
    device = own_device(device_name)
    with explained_loss(rank, size):
        control = join_group(rank, size, device)
        try:
            yield World(rank, size, device, parallel, control)
        except BaseException:
            abandon()
            raise
        dist.destroy_process_group()


def join_group(rank: int, size: int, device: torch.device) -> dist.ProcessGroup:
    """Makes the process group for tensors on a device; returns that for agreements on the host."""
    # Says that gloo exchanges parts by way of wholes, which nobody can change.
    logging.getLogger("torch.distributed.tensor._collective_utils").setLevel(logging.ERROR)
    backend, timeout = "gloo", HOST_TIMEOUT
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend, timeout = "nccl", DEVICE_TIMEOUT
    found, _, _ = next(rendezvous("env://", timeout=HOST_TIMEOUT))
    # With --max-restarts, torchrun's store still holds the addresses of processes that died.
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.distributed_c10d.PrefixStore(f"start {start}", found)
    dist.init_process_group(backend, timeout=timeout, world_size=size, rank=rank, store=store)
    return dist.new_group(backend="gloo", timeout=HOST_TIMEOUT)


def own_device(device_name: str) -> torch.device:
    """The device of this process among those that torchrun started on this machine."""
    local_rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device_name == "cpu" or (device_name == "auto" and not count):
        return torch.device("cpu")
    if device_name not in ("auto", "cuda"):
        raise UserError(
            f"--device {device_name}: torchrun gives every process a GPU of its own; use --device "
            "auto, cuda or cpu, and choose GPUs by CUDA_VISIBLE_DEVICES"
        )
    if local_rank >= count:
        raise UserError(
            f"torchrun started process {local_rank + 1} on a machine with {count} GPUs: use "
            f"--nproc-per-node {max(count, 1)}, or --device cpu"
        )
    return torch.device("cuda", local_rank)


def abandon() -> None:
    """Leaves the other processes without a farewell, so that nothing waits for them."""
    with suppress(RuntimeError):
        if dist.group.WORLD is not None:
            dist.group.WORLD.abort()


@contextmanager
def explained_loss(rank: int, size: int) -> Iterator[None]:
    """Turns the error of a lost or silent process into a sentence."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError)
        if not lost and not any(word in str(error).lower() for word in LOST_CONTACT):
            raise
        # Without the place in gloo's source and the advice for programmers.
        reason = re.sub(r"^\[[^]]*\] ?", "", str(error).partition("\n")[0]).partition(". ")[0]
        raise UserError(
            f"process {rank} of {size} lost contact with the others ({reason}): one of them died "
            "or hangs; look for the first error in their output. If none failed, look at the "
            "network: NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME name the interface to use, "
            "NCCL_IB_DISABLE=1 does without InfiniBand. The same command continues from the last "
            "checkpoint"
        ) from error


@contextmanager
def main_first(world: World) -> Iterator[None]:
    """The main process does the block first, then all others, who find in the cache what it
    made."""
    if not world.is_main:
        world.barrier()
    yield
    if world.is_main:
        world.barrier()


def parallelize(module: nn.Module, model: Etude, world: World) -> nn.Module:
    """Spreads a module over the processes, in place or by a wrapper; with one process, itself.

    Gradients are averaged over the processes.

    Args:
        module: computes the summed loss: module(input_ids, labels, document_ids).
        model: the network inside it, on its device.
        world: the processes.
    """
    if world.size == 1:
        return module
    if world.parallel == "ddp":
        wrapped = DistributedDataParallel(
            module, gradient_as_bucket_view=True, forward_sync_buffers=False
        )
        settle_buckets(wrapped, world)
        return wrapped
    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    # All the rest is one group, for the output layer may be the embedding. It is given back after
    # the forward pass too: outside of a pass, weights are always in parts.
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    return module


def settle_buckets(module: DistributedDataParallel, world: World) -> None:
    """Lets DDP see one backward pass, after which it orders gradients as they come.

    It would do so after the first step, and a sum of three or more numbers depends on its order:
    the first step of a continued run would differ from the same step of an undisturbed one.
    """
    ids = torch.zeros((1, 2), dtype=torch.long, device=world.device)
    with torch.compiler.set_stance("force_eager"):
        module(ids, ids, None).backward()
    module.zero_grad(set_to_none=True)


def no_sync(module: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Around a micro-batch: DDP adds up the processes' gradients after the last one only.

    FSDP does after each: to wait, every process would have to keep the whole gradient.
    """
    if last or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Inside, the network can be called by itself (to generate), by all processes alike."""
    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def full_weights(model: Etude, world: World) -> dict[str, Tensor]:
    """The weights by their Llama names, or those of the adapter alone where there is one, whole, on
    the CPU of the main process. All must call it."""
    weights = adapter_weights(model) or weights_of(model)
    if world.shards:
        # Half a second, which most runs need not wait for.
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        gathered = cast(dict[str, Tensor], get_model_state_dict(model, options=options))
        weights = {name: gathered[name] for name in weights if name in gathered}
    return {name: tensor.detach().cpu() for name, tensor in weights.items() if world.is_main}


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor whose parts the processes hold, whole; any other as it is. All must call it."""
    if isinstance(tensor, DTensor):
        return tensor.full_tensor()
    return tensor


def placed_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor on the device of another; where that is in parts, this process's part."""
    moved = tensor.to(other.device)
    if isinstance(other, DTensor):
        return distribute_tensor(moved, other.device_mesh, other.placements, src_data_rank=None)
    return moved


def clip_gradient(model: Etude, max_norm: float) -> Tensor:
    """Scales the gradient down to max_norm (0: leaves it) and returns the norm it had, without
    waiting for the device."""
    limit = max_norm if max_norm > 0 else math.inf
    return full_tensor(torch.nn.utils.clip_grad_norm_(model.parameters(), limit))
