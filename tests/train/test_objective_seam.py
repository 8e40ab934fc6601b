"""The seam for objectives: weights on tokens, a first pass without gradient, metrics.

The toy objective below is all that it takes to train on another loss.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import EtudeConfig, ModelConfig, PathConfig, PretrainConfig
from model.transformer import Etude
from tests.train.conftest import Workspace
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objective import CrossEntropy, Objective, Prepared, SummedLoss
from train.optimizer import build_optimizers
from train.stage import Stage
from train.step import RECORD, StepGuard, TrainingStep
from train.train_pretrain import pretraining
from train.trainer import train


class Focal(Objective):
    """The focal loss with its factor (1 - p)^2 held constant (arXiv 1708.02002), a row's mean."""

    first_pass = True
    metrics = ("mean_probability",)

    def prepare(self, batch: Batch, log_probs: Tensor | None) -> Prepared:
        assert log_probs is not None
        trained = batch.labels != IGNORED
        p = torch.where(trained, log_probs.exp(), 0.0)
        weights = (1 - p) ** 2 / trained.sum(dim=1, keepdim=True).clamp(min=1)
        mean = p.sum(dim=1) / trained.sum(dim=1).clamp(min=1)
        return Prepared(dataclasses.replace(batch, weights=weights), mean.sum()[None])

    def normaliser(self, batch: Batch) -> Tensor:
        return torch.tensor(len(batch.labels))


def focal_loss(model: Etude, batch: Batch) -> Tensor:
    """The same as a textbook writes it."""
    logits = model(batch.input_ids)
    losses = F.cross_entropy(
        logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(batch.labels.shape)
    factor = (1 - (-losses).exp().detach()) ** 2
    return ((factor * losses).sum(dim=1) / (batch.labels != IGNORED).sum(dim=1)).mean()


def random_batch(model: Etude, rows: int = 4) -> Batch:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(0, model.config.vocab_size, (rows, 17), generator=draw)
    labels = ids[:, 1:].clone()
    labels[:, :5] = IGNORED
    return Batch(ids[:, :-1], labels)


def split(batch: Batch, count: int) -> list[Batch]:
    inputs, labels = batch.input_ids.chunk(count), batch.labels.chunk(count)
    return [Batch(*parts) for parts in zip(inputs, labels, strict=True)]


def make_step(model: Etude, objective: Objective) -> TrainingStep:
    config = PretrainConfig(learning_rate=1e-3)
    guard = StepGuard(config, model.config.vocab_size, torch.float32, torch.device("cpu"))
    optimizers = build_optimizers(model, config)
    return TrainingStep(SummedLoss(model), model, optimizers, guard, World(), 0.0, objective)


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_an_objective_of_weights_has_the_gradient_of_its_textbook_form(
    model: Etude, micro_batches: int
) -> None:
    batch = random_batch(model)
    expected = torch.autograd.grad(focal_loss(model, batch), list(model.parameters()))
    step = make_step(model, Focal())
    prepared = step.prepare(split(batch, micro_batches))
    loss, trained, metrics = step.accumulate_gradient(prepared)
    torch.testing.assert_close(loss, focal_loss(model, batch))
    assert trained == 4 * 11
    probability = F.softmax(model(batch.input_ids), dim=-1)
    chosen = probability.gather(2, batch.labels.clamp(min=0)[..., None])[:, 5:].mean()
    torch.testing.assert_close(metrics[0], chosen)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_record_holds_the_metrics_of_its_objective(model: Etude) -> None:
    batches = [random_batch(model)]
    assert len(make_step(model, CrossEntropy())(batches)) == len(RECORD)
    record = make_step(model, Focal())(batches)
    assert len(record) == len(RECORD) + 1
    assert 0 < record[-1] < 1


def test_a_metric_called_loss_takes_the_place_of_the_weighted_cross_entropy(model: Etude) -> None:
    class Named(Focal):
        metrics = ("loss",)

    record = make_step(model, Named())([random_batch(model)])
    assert record[0] == record[-1]


def test_weights_of_one_change_no_bit(model: Etude) -> None:
    plain = random_batch(model)
    weighted = dataclasses.replace(plain, weights=torch.ones(plain.labels.shape))
    found = []
    for batch in (plain, weighted):
        loss = SummedLoss(model)(*batch.inputs)
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def stage_of(workspace: Workspace, output: str, accumulation: int = 1) -> Stage:
    """The stage of pretraining in a workspace, with the toy objective."""
    model = ModelConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    config = EtudeConfig(
        model=model,
        pretrain=PretrainConfig(
            batch_size=4,
            gradient_accumulation_steps=accumulation,
            max_length=64,
            max_steps=12,
            save_steps=5,
            eval_steps=8,
            validation_every=10,
            compile=False,
            dtype="float32",
        ),
        paths=PathConfig(
            pretrain_files=(workspace.path / "texts.jsonl",),
            tokenizer_dir=workspace.path / "tokenizer",
            pretrained_model_dir=workspace.path / output,
            cache_dir=workspace.path / "cache",
        ),
    )
    return dataclasses.replace(pretraining(config, World()), objective=Focal())


def log_of(workspace: Workspace, output: str) -> str:
    return (workspace.path / output / "loss_log.jsonl").read_text(encoding="utf-8")


def test_a_stage_with_another_objective_trains_logs_and_resumes_to_the_same_bits(
    workspace: Workspace,
) -> None:
    assert train(stage_of(workspace, "whole"), World()) == 0
    assert log_of(workspace, "whole").count('"mean_probability": 0.0') == 12
    resumed = workspace.path / "resumed"
    shutil.copytree(workspace.path / "whole" / "checkpoints", resumed / "checkpoints")
    shutil.rmtree(resumed / "checkpoints" / "step-00000012")
    for name in ("loss_log.jsonl", "metrics.jsonl"):
        shutil.copy(workspace.path / "whole" / name, resumed)
    assert train(stage_of(workspace, "resumed"), World()) == 0
    assert log_of(workspace, "resumed") == log_of(workspace, "whole")
    weights = [Path(workspace.path / name / "model.safetensors") for name in ("whole", "resumed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
