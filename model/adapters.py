"""Low-rank adapters of a model's linear layers: LoRA (arXiv 2106.09685) with the scaling of rsLoRA
(2312.03732) and the magnitudes of DoRA (2402.09353), all as in PEFT.

    LoRA    y = W x + s B A x                      s = alpha / rank, or alpha / sqrt(rank)
    DoRA    y = m / |W + s B A| * (W x + s B A x)  |.| the norm of each row, which takes no gradient

W, the base, is frozen. A layer with an adapter is a linear layer whose weight keeps its name, with
`lora_A.weight` (rank, in), `lora_B.weight` (out, rank) and `lora_magnitude_vector` (out,) beside
it: PEFT's names, so the names of the base's weights do not change. An output layer that is tied to
the embedding keeps sharing its weight; the adapter changes the output layer alone.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import LoraConfig, UserError
from model.frozen import linear, unpacked
from model.transformer import Etude

MARK = ".lora_"
"""Part of the name of each of an adapter's weights, and of no other."""
EVERY_BLOCK = "all"
"""The target that stands for all linear layers of all blocks, as PEFT's all-linear."""


class LoRALinear(nn.Linear):
    """A linear layer with an adapter."""

    def __init__(self, base: nn.Linear, rank: int, lora: LoraConfig) -> None:
        """Takes the base's weights; the adapter's own hold nothing yet, see `initialize`."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.register_buffer("scales", getattr(base, "scales", None), persistent=False)
        self.scales: Tensor | None
        self.scaling = lora.lora_alpha / (math.sqrt(rank) if lora.use_rslora else rank)
        self.dropout = lora.lora_dropout
        device = base.weight.device
        down = nn.Linear(self.in_features, rank, bias=False, device="meta")  # draws no numbers
        up = nn.Linear(rank, self.out_features, bias=False, device="meta")
        self.lora_A, self.lora_B = down.to_empty(device=device), up.to_empty(device=device)
        magnitude = torch.empty(self.out_features, device=device) if lora.use_dora else None
        self.lora_magnitude_vector = None if magnitude is None else nn.Parameter(magnitude)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """PEFT's initial values: B is zero, so that the layer begins as its base is."""
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B.weight)
        if self.lora_magnitude_vector is not None:
            self.lora_magnitude_vector.copy_(self.whole().norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out). Dropout acts where gradients are recorded."""
        result = linear(x, self.weight, self.scales, self.bias)  # (..., out)
        dropped = self.dropped(x)  # (..., in)
        low = self.lora_B(self.lora_A(dropped)) * self.scaling  # (..., out)
        if self.lora_magnitude_vector is None:
            return result + low
        gain = self.gain()  # (out,)
        kept = result  # (..., out)
        if dropped is not x:
            kept = linear(dropped, self.weight, self.scales, self.bias)
        kept = kept if self.bias is None else kept - self.bias
        return result + (gain - 1) * kept + gain * low

    def dropped(self, x: Tensor) -> Tensor:
        """The adapter's input, with dropout where gradients are recorded."""
        return F.dropout(x, self.dropout) if self.dropout and torch.is_grad_enabled() else x

    def whole(self) -> Tensor:
        """The base's weight (out, in), in float32 however it is kept."""
        return unpacked(self.weight, self.scales)

    def change(self) -> Tensor:
        """s B A, (out, in), in float32 whatever the products are in."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.scaling * (self.lora_B.weight @ self.lora_A.weight)

    def gain(self) -> Tensor:
        """DoRA's factor of each output, (out,)."""
        assert self.lora_magnitude_vector is not None
        with torch.no_grad():
            norms = (self.whole() + self.change()).norm(dim=1)  # (out,)
        return self.lora_magnitude_vector / norms

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The one weight (out, in) that does what base and adapter do."""
        weight = self.whole() + self.change()
        return weight if self.lora_magnitude_vector is None else weight * self.gain()[:, None]

    def as_product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The layer as one product, for a loss that takes the output layer's weight.

        Args:
            x: (tokens, in).

        Returns:
            (tokens, n) and (out, n): the first times the second transposed is the layer's result.
        """
        dropped = self.dropped(x)
        low = F.linear(dropped, self.lora_A.weight.to(x.dtype)) * self.scaling  # (tokens, rank)
        if self.lora_magnitude_vector is None:
            return torch.cat([x, low], 1), torch.cat([self.weight, self.lora_B.weight], 1)
        gain = self.gain()[:, None]  # (out, 1)
        parts = [self.weight, (gain - 1) * self.weight, gain * self.lora_B.weight]
        return torch.cat([x, dropped, low], 1), torch.cat(parts, 1)


def output_product(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """An output layer as one product of x (tokens, in) and its weight; see
    `LoRALinear.as_product`."""
    return layer.as_product(x) if isinstance(layer, LoRALinear) else (x, layer.weight)


def add_adapter(model: Etude, lora: LoraConfig, generator: torch.Generator) -> None:
    """Freezes a model and gives it a new adapter.

    Raises:
        UserError: a target names no linear layer, or the rank is above what any of them can have.
    """
    names = target_names(model, lora.lora_targets)
    largest = max(min(model.get_submodule(name).weight.shape) for name in names)  # type: ignore[arg-type]
    if lora.lora_rank > largest:
        raise UserError(
            f"--lora_rank {lora.lora_rank}: no layer of --lora_targets has a rank above {largest}; "
            "use less (8 is usual), or train the whole model with --lora_rank 0"
        )
    attach(model, dict.fromkeys(names, lora.lora_rank), lora)
    for layer in adapted_layers(model).values():
        layer.initialize(generator)


def attach(model: Etude, ranks: Mapping[str, int], lora: LoraConfig) -> None:
    """Freezes a model, and puts an adapter without values on the layers of these names."""
    model.requires_grad_(False)
    for name, rank in ranks.items():
        parent, _, own = name.rpartition(".")
        layer = LoRALinear(model.get_submodule(name), rank, lora)  # type: ignore[arg-type]
        setattr(model.get_submodule(parent), own, layer)


def linear_layers(model: Etude) -> list[str]:
    """The names of what can have an adapter."""
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]


def target_names(model: Etude, targets: tuple[str, ...]) -> list[str]:
    """The layers that targets mean: each one whose name is a target, or ends with it after a dot.

    Raises:
        UserError: a target names no linear layer.
    """
    names = linear_layers(model)
    chosen = set[str]()
    for target in targets:
        ends = [n for n in names if n == target or n.endswith(f".{target}")]
        found = [n for n in names if ".layers." in n] if target == EVERY_BLOCK else ends
        if not found:
            there = sorted({name.rpartition(".")[2] for name in names})
            raise UserError(
                f"--lora_targets {target}: the model has no such linear layer; use "
                f"{EVERY_BLOCK} or some of {', '.join(there)}"
            )
        chosen.update(found)
    return [name for name in names if name in chosen]


def adapted_layers(model: Etude) -> dict[str, LoRALinear]:
    """The layers with an adapter, by name."""
    return {n: part for n, part in model.named_modules() if isinstance(part, LoRALinear)}


def adapter_weights(model: Etude) -> dict[str, Tensor]:
    """An adapter's weights, by PEFT's names without their prefix; empty without an adapter."""
    return {name: tensor for name, tensor in model.state_dict().items() if MARK in name}


def merge_adapter(model: Etude) -> None:
    """Makes one weight of each layer's and its adapter's. An output layer that was tied to the
    embedding is its own from here on, for the embedding must not change with it."""
    for name, layer in adapted_layers(model).items():
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        plain.weight, plain.bias = nn.Parameter(layer.merged()), layer.bias
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, plain)
        if name == "lm_head":
            model.config = dataclasses.replace(model.config, tie_word_embeddings=False)


def sharing_copy(model: Etude) -> Etude:
    """A second model with the same weights in the same memory, which can have another adapter."""
    shared = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def trained_parameters(model: Etude) -> int:
    """Number of weights that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
