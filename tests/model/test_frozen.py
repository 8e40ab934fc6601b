"""Frozen weights in 16 or 8 bits compute what the same weights do in float32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from config import LoraConfig, WeightsName
from model.adapters import LoRALinear, adapted_layers, add_adapter, merge_adapter
from model.frozen import FrozenLinear, freeze_weights, linear, packed, saved_bytes, unpacked
from model.transformer import Etude

KINDS: tuple[WeightsName, ...] = ("bfloat16", "int8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
def test_products_and_their_gradients_are_those_of_the_unpacked_weight(
    kind: WeightsName, bias: bool
) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(48, 20, bias=bias)
    frozen = FrozenLinear(layer, kind)
    weight = unpacked(frozen.weight, frozen.scales)
    x = torch.randn(3, 5, 48, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    ours, expected = frozen(x), nn.functional.linear(same, weight, layer.bias)
    torch.testing.assert_close(ours, expected)
    for result in (ours, expected):
        result.square().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, same.grad)
    assert frozen.weight.grad is None
    step = weight.abs().amax(1, keepdim=True) / (256 if kind == "bfloat16" else 254)
    assert ((weight - layer.weight).abs() <= step + 1e-7).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_unpacked_weight_is_kept_for_the_backward_pass(kind: WeightsName) -> None:
    kept: list[torch.Tensor] = []
    weight, scales = packed(torch.randn(64, 64), kind)
    x = torch.randn(2, 64, requires_grad=True)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        linear(x, weight, scales, None)
    assert kept
    assert not [t for t in kept if t.shape == (64, 64) and t.dtype == torch.float32]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [LoraConfig(lora_rank=4), LoraConfig(lora_rank=4, use_dora=True)])
def test_an_adapter_over_frozen_weights_is_one_over_what_they_stand_for(
    model: Etude, kind: WeightsName, lora: LoraConfig
) -> None:
    plain = copy.deepcopy(model)
    freeze_weights(model, kind)
    for name, layer in model.named_modules():
        if isinstance(layer, FrozenLinear):
            plain.get_parameter(f"{name}.weight").data = unpacked(layer.weight, layer.scales)
    for each in (model, plain):
        add_adapter(each, lora, torch.Generator().manual_seed(1))
        for adapted in adapted_layers(each).values():
            nn.init.constant_(adapted.lora_B.weight, 0.01)
    ids = torch.arange(12).view(2, 6)
    torch.testing.assert_close(model(ids), plain(ids), atol=1e-4, rtol=1e-4)
    for each in (model, plain):
        each(ids).square().mean().backward()
    names = {name for name, p in model.named_parameters() if p.grad is not None}
    assert names == {name for name, _ in model.named_parameters() if ".lora_" in name}
    for name in names:
        ours, theirs = model.get_parameter(name).grad, plain.get_parameter(name).grad
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    merge_adapter(model)
    torch.testing.assert_close(model(ids), plain(ids), atol=1e-4, rtol=1e-4)


def test_what_is_saved_is_counted(model: Etude) -> None:
    blocks = [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layers." in n]
    weights = sum(layer.weight.numel() for layer in blocks)
    assert saved_bytes(model) == 0
    freeze_weights(model, "int8")
    assert saved_bytes(model) == 3 * weights
    assert not any(isinstance(part, LoRALinear) for part in model.modules())
