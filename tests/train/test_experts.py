"""Experts are trained like everything else: balanced, logged, the same however a step is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from config import LoraConfig, ModelConfig, PretrainConfig
from model.adapters import add_adapter, merge_adapter
from model.experts import balance_loss
from model.transformer import Etude
from tests.model.families import EXPERTS, SHAPES, make, seeded
from train.compilation import Compilation, training_loss
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objective import CrossEntropy, SummedLoss
from train.optimizer import build_optimizers, orthogonalize
from train.run.plan import flops_per_token
from train.step import StepGuard, TrainingStep

CONFIG = replace(EXPERTS, router_aux_loss_coef=0.5)


def batches_of(rows: int, pieces: int) -> list[Batch]:
    """Rows of which some train a part only, in micro-batches."""
    ids = torch.randint(3, 400, (rows, 33), generator=seeded(3))
    labels = ids[:, 1:].clone()
    labels[1, 20:] = IGNORED
    labels[2, :7] = IGNORED
    size = rows // pieces
    return [Batch(ids[n : n + size, :-1], labels[n : n + size]) for n in range(0, rows, size)]


def step_of(model: Etude) -> TrainingStep:
    """A step whose weights stay, so that its gradient can be looked at."""
    guard = StepGuard(PretrainConfig(), 400, torch.float32, torch.device("cpu"))
    return TrainingStep(SummedLoss(model), model, {}, guard, World(), 0.0, CrossEntropy())


def test_a_step_has_the_balance_loss_in_it_however_it_is_cut() -> None:
    found = []
    for pieces in (1, 4):
        model = make(CONFIG)
        step = step_of(model)
        assert step.metrics == ("router_aux_loss",)
        record = step(batches_of(4, pieces))
        found.append((record, [p.grad for p in model.parameters()]))
    (whole, gradients), (cut, others) = found
    torch.testing.assert_close(whole, cut)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)

    # The same from the network itself: each row's balance loss as often as its tokens are trained.
    model, (batch,) = make(CONFIG), batches_of(4, 1)
    logits: list[Tensor] = []
    hidden = model.model(batch.input_ids, router_logits=logits)
    trained = batch.labels != IGNORED
    measured = torch.ones_like(trained)
    measured[1, 20:] = False
    rows = balance_loss(logits, 2, measured)
    balance = (rows * trained.sum(1)).sum() / trained.sum()
    nats = torch.nn.functional.cross_entropy(
        model.lm_head(hidden).flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED
    )
    assert float(whole[0]) == pytest.approx(float(nats.detach()), rel=1e-5)
    assert float(whole[-1]) == pytest.approx(float(balance.detach()), rel=1e-5)
    torch.autograd.backward(nats + 0.5 * balance)
    for one, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-6, rtol=1e-4)


def test_the_balance_loss_makes_experts_equally_busy() -> None:
    model = Etude(replace(CONFIG, router_aux_loss_coef=1.0))
    model.initialize(seeded(1))
    with torch.no_grad():  # nearly all tokens choose the same two
        for layer in model.model.layers:
            layer.mlp.gate.weight.mul_(20)  # type: ignore[union-attr,operator]
    optimizers = build_optimizers(model, PretrainConfig(learning_rate=0.01))
    step = step_of(model)
    step.optimizers = optimizers
    found = [float(step(batches_of(4, 1))[-1]) for _ in range(40)]
    assert found[0] > 2.2
    assert found[-1] < 2.03  # 2, the number of experts that a token takes, is even


def test_muon_turns_each_experts_matrix_by_itself() -> None:
    model = make(CONFIG)
    optimizers = build_optimizers(model, PretrainConfig(optimizer="muon", weight_decay=0.0))
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for p in optimizers["muon"].param_groups[0]["params"]}
    assert "model.layers.0.mlp.experts.gate_proj" in by_muon
    assert not [name for name in by_muon if ".mlp.gate." in name or "norm" in name]
    experts = model.get_parameter("model.layers.0.mlp.experts.gate_proj")
    before = experts.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=seeded(5))
    gradient = experts.grad
    assert gradient is not None
    optimizers["muon"].step()
    ahead = gradient * (1 - 0.95 * 0.95)  # Nesterov's, from a momentum of zero
    moved = 0.02 * orthogonalize(ahead, 4)  # (experts, rows, columns); columns are more
    torch.testing.assert_close(before - experts, moved, atol=1e-5, rtol=1e-3)


def test_what_a_token_costs_is_counted_by_what_it_takes_part_in() -> None:
    dense = ModelConfig(num_hidden_layers=4)
    sparse = replace(dense, use_qk_norm=True, num_experts=8, num_experts_per_tok=2)
    routers = 6 * 4 * 768 * 8
    assert flops_per_token(sparse, 512) == flops_per_token(dense, 512) + routers
    with torch.device("meta"):
        model, plain = Etude(sparse), Etude(replace(dense, use_qk_norm=True))
    more = 4 * 768 * 8
    assert model.active_parameters() == plain.num_parameters() + more
    assert model.num_parameters() == plain.num_parameters() + more + 4 * 3 * 3 * 768 * 2048
    half = replace(dense, sliding_window=128)
    seen = flops_per_token(dense, 512) - flops_per_token(half, 512)
    assert seen == 12 * 4 * 768 * (256 - (128 - 16))


@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapter_keeps_the_biases_of_its_base(use_dora: bool) -> None:
    model = make(SHAPES["qwen2"][0])
    ids = torch.randint(400, (2, 20), generator=seeded(1))
    before = model(ids)
    add_adapter(model, LoraConfig(lora_rank=4, use_dora=use_dora), seeded(2))
    torch.testing.assert_close(model(ids), before, atol=1e-5, rtol=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(3)))
    changed = model(ids)
    assert not torch.allclose(changed, before, atol=1e-2)
    merge_adapter(model)
    torch.testing.assert_close(model(ids), changed, atol=1e-4, rtol=0)


def test_an_adapter_of_a_network_with_experts_leaves_these_alone() -> None:
    """As PEFT does: they are no linear layers, and neither is the router."""
    model = make(SHAPES["qwen3_moe"][0])
    add_adapter(model, LoraConfig(lora_rank=4), seeded(2))
    step = step_of(model)
    record = step(batches_of(4, 1))
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained
    assert all(".self_attn." in name and ".lora_" in name for name in trained)
    assert float(record[-1]) >= 2


@pytest.mark.full
@pytest.mark.parametrize("family", [name for name in SHAPES if name != "llama"])
def test_compiled_training_of_every_family_is_that_of_torch(family: str) -> None:
    results = []
    for compiled in (False, True):
        model = make(SHAPES[family][0])
        loss = training_loss(model, torch.float32, Compilation(compiled))
        (batch,) = batches_of(4, 1)
        total = loss(batch.input_ids, batch.labels)
        total.backward()
        results.append([total.detach(), *(p.grad for p in model.parameters())])
    for plain, other in zip(*results, strict=True):
        torch.testing.assert_close(plain, other, atol=2e-4, rtol=1e-3)


@pytest.mark.full
def test_recomputed_activations_and_bfloat16_train_experts_too() -> None:
    gradients = {}
    for name, dtype, recompute in (
        ("plain", torch.float32, False),
        ("recomputed", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        model = make(CONFIG)
        loss = training_loss(model, dtype, Compilation(False), recompute)
        (batch,) = batches_of(4, 1)
        loss(batch.input_ids, batch.labels).backward()
        gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(gradients["recomputed"], gradients["plain"])
    alike = torch.cosine_similarity(gradients["bfloat16"], gradients["plain"], dim=0)
    assert float(alike) > 0.98
