"""One optimizer step: what it does, and that a bad one does nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from config import PretrainConfig
from model.transformer import Etude
from train.checkpoint import optimizer_tensors
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objective import CrossEntropy, SummedLoss
from train.optimizer import build_optimizers
from train.step import RECORD, StepGuard, TrainingStep


def make_step(model: Etude, optimizer: str, dtype: torch.dtype = torch.float32) -> TrainingStep:
    config = PretrainConfig(optimizer=optimizer, learning_rate=1e-3)  # type: ignore[arg-type]
    optimizers = build_optimizers(model, config)
    guard = StepGuard(config, model.config.vocab_size, dtype, torch.device("cpu"))
    return TrainingStep(
        SummedLoss(model, dtype), model, optimizers, guard, World(), 1.0, CrossEntropy()
    )


def batches(model: Etude, count: int = 2) -> list[Batch]:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(0, model.config.vocab_size, (count, 2, 9), generator=draw)
    return [Batch(part[:, :-1], part[:, 1:].clone()) for part in ids]


def everything(step: TrainingStep) -> dict[str, Tensor]:
    weights = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    state = {n: t.clone() for n, t in optimizer_tensors(step.optimizers).items()}
    return weights | state


def break_gradient(model: Etude, factor: float) -> RemovableHandle:
    weight = model.model.norm.weight
    return weight.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]


def numbers(record: Tensor) -> dict[str, float]:
    return dict(zip(RECORD, record.tolist(), strict=True))


@pytest.fixture(params=["adamw", "muon"])
def optimizer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_step_with_a_nan_gradient_leaves_weights_and_optimizer_as_they_were(
    model: Etude, optimizer: str
) -> None:
    step = make_step(model, optimizer)
    step(batches(model))
    before = everything(step)
    hook = break_gradient(model, torch.nan)
    record = numbers(step(batches(model)))
    hook.remove()
    assert (record["skipped"], record["skipped_steps"]) == (1.0, 1.0)
    after = everything(step)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    record = numbers(step(batches(model)))
    assert (record["skipped"], record["skipped_in_a_row"]) == (0.0, 0.0)
    assert not torch.equal(before["model.norm.weight"], everything(step)["model.norm.weight"])


def test_a_bad_first_step_leaves_no_trace(model: Etude, optimizer: str) -> None:
    step, twin = make_step(model, optimizer), None
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    hook = break_gradient(model, torch.inf)
    assert numbers(step(batches(model)))["skipped"] == 1.0
    hook.remove()
    step(batches(model))
    after = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.load_state_dict({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    twin = make_step(model, optimizer)
    twin(batches(model))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, after[name]), name


def test_a_fully_masked_step_has_no_gradient(model: Etude) -> None:
    step = make_step(model, "adamw")
    masked = [Batch(b.input_ids, torch.full_like(b.labels, IGNORED)) for b in batches(model)]
    record = numbers(step(masked))
    assert (record["loss"], record["grad_norm"], record["trained_tokens"]) == (0.0, 0.0, 0.0)
    assert record["skipped"] == 0.0


def test_float16_with_its_loss_scale_steps_nearly_as_float32(model: Etude) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    records, norms = [], []
    for dtype in (torch.float32, torch.float16):
        model.load_state_dict(state)
        record = numbers(make_step(model, "adamw", dtype)(batches(model)))
        records.append(record)
        norms.append(record["grad_norm"])
    assert records[1]["skipped"] == 0.0
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
