"""Muon orthogonalises; each weight belongs to one optimizer."""

from __future__ import annotations

import pytest
import torch

from config import PretrainConfig
from model.transformer import Etude
from train.optimizer import Muon, build_optimizers, orthogonalize, set_learning_rates


def test_orthogonalize_brings_all_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(1)
    for shape in ((3, 16, 40), (3, 40, 16), (2, 24, 24)):
        result = orthogonalize(torch.randn(shape, generator=generator), steps=5)
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.3
        assert values.max() < 1.3


@pytest.mark.parametrize("large", [1, 512])  # one matrix at a time, and all at once
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (2, 24, 24)])
def test_orthogonalize_is_the_published_iteration(
    shape: tuple[int, ...], dtype: torch.dtype, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applied to the singular values, that is; also where most of them are small, as those of
    gradients are."""
    monkeypatch.setattr("train.optimizer.LARGE", large)
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    s = s.norm(dim=1, keepdim=True) * 0.5 ** torch.arange(s.shape[1])
    matrices = u * s[:, None] @ v
    for steps in range(1, 6):
        scaled = s / s.norm(dim=1, keepdim=True)
        for _ in range(steps):
            scaled = 3.4445 * scaled - 4.7750 * scaled**3 + 2.0315 * scaled**5
        expected = u * scaled[:, None] @ v
        error = (orthogonalize(matrices, steps, dtype) - expected).norm() / expected.norm()
        # What bfloat16 rounds grows with every iteration, where values are small.
        assert error < (1e-6 if dtype == torch.float64 else 0.007 * 2**steps)


def test_muon_follows_the_muon_of_torch() -> None:
    """torch's works in bfloat16, so the two agree to its precision."""
    weight = torch.randn(32, 48, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(weight.clone()) for _ in range(2))
    mine = Muon([ours], lr=0.02, weight_decay=0.1, steps=5)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, ns_steps=5)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        gradient = torch.randn(32, 48, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()  # type: ignore[no-untyped-call]
        reference.step()  # type: ignore[no-untyped-call]
    moved = (theirs - weight).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_every_weight_is_trained_by_exactly_one_optimizer(model: Etude) -> None:
    for name in ("adamw", "muon"):
        optimizers = build_optimizers(model, PretrainConfig(optimizer=name))  # type: ignore[arg-type]
        owned = [
            parameter
            for optimizer in optimizers.values()
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        assert len(owned) == len(list(model.parameters()))
        assert {id(p) for p in owned} == {id(p) for p in model.parameters()}


def test_norms_do_not_decay_and_the_embedding_is_not_muons(model: Etude) -> None:
    optimizers = build_optimizers(model, PretrainConfig(optimizer="muon"))
    adamw, muon = optimizers["adamw"], optimizers["muon"]
    decayed = [p for group in adamw.param_groups if group["weight_decay"] for p in group["params"]]
    assert all(p.dim() == 2 for p in decayed)
    assert any(p is model.model.embed_tokens.weight for p in decayed)
    assert all(p.dim() == 2 for group in muon.param_groups for p in group["params"])


def test_learning_rates_scale_from_their_own_peaks(model: Etude) -> None:
    config = PretrainConfig(optimizer="muon", learning_rate=1e-3, muon_learning_rate=0.02)
    optimizers = build_optimizers(model, config)
    set_learning_rates(optimizers, 0.5)
    set_learning_rates(optimizers, 0.25)
    assert optimizers["adamw"].param_groups[0]["lr"] == 2.5e-4
    assert optimizers["muon"].param_groups[0]["lr"] == 0.005


def test_muon_leaves_everything_as_it_was_where_a_step_is_bad() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(8, 12, generator=generator))
    muon = Muon([weight], lr=0.02, weight_decay=0.1)
    weight.grad = torch.randn(8, 12, generator=generator)
    muon.step()  # type: ignore[no-untyped-call]
    buffer = muon.state[weight]["momentum_buffer"]
    before = weight.detach().clone(), buffer.clone()
    muon.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    weight.grad[0, 0] = torch.nan
    muon.step()  # type: ignore[no-untyped-call]
    assert torch.equal(weight, before[0])
    assert torch.equal(buffer, before[1])


def test_muon_takes_the_same_step_with_and_without_a_verdict() -> None:
    generator = torch.Generator().manual_seed(1)
    start, gradient = torch.randn((2, 8, 12), generator=generator)
    moved = []
    for verdict in (None, torch.tensor(0.0)):
        weight = torch.nn.Parameter(start.clone())
        muon = Muon([weight], lr=0.02, weight_decay=0.1)
        if verdict is not None:
            muon.found_inf = verdict  # type: ignore[attr-defined]
        weight.grad = gradient.clone()
        muon.step()  # type: ignore[no-untyped-call]
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=1e-7)
