"""An adapter as what a run trains: only it changes, only it is saved, and a run resumes to the
bit."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from config import LoraConfig, ModelConfig, SFTConfig, UserError
from model.adapters import adapter_weights, add_adapter
from model.directory.adapter_files import ADAPTER_WEIGHTS
from model.directory.pretrained import load_pretrained
from model.transformer import Etude
from tests.train.conftest import Workspace
from train.compilation import Compilation, training_loss
from train.distributed import World
from train.objective import SummedLoss
from train.run import limits
from train.run.logs import LOSS_LOG
from train.run.plan import estimated_bytes
from train.stage import adapter_notes

LORA = ("--lora_rank=4", "--lora_dropout=0.2", "--learning_rate=0.01", "--use_dora")
HEAD = ("--lora_targets", "all", "lm_head")


def result_of(directory: Path) -> tuple[bytes, list[float]]:
    """An adapter's file, and the losses on the way to it."""
    lines = (directory / LOSS_LOG).read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss" in line]
    return (directory / ADAPTER_WEIGHTS).read_bytes(), losses


def back_to(directory: Path, step: int) -> None:
    """Takes a finished run back to a checkpoint, as a kill after it leaves it."""
    for path in directory.glob("checkpoints/step-*"):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    for name in ("training_summary.json", ADAPTER_WEIGHTS):
        (directory / name).unlink()


@pytest.mark.parametrize("stage", ["sft", pytest.param("pretrain", marks=pytest.mark.full)])
def test_a_run_of_an_adapter_continues_to_the_bit(workspace: Workspace, stage: str) -> None:
    """Dropout too: its masks are a function of seed and step."""
    assert workspace.run("pretrain", output="base").returncode == 0
    start = "--pretrained_model_dir=base" if stage == "sft" else "--init_from=base"
    before = (workspace.path / "base" / "model.safetensors").read_bytes()
    flags = (*LORA, *HEAD, start, "--gradient_accumulation_steps=2", "--save_total_limit=9")
    whole = workspace.run(stage, *flags, output="adapter")
    assert whole.returncode == 0, whole.stderr
    assert "adapter: DoRA of rank 4 on all, lm_head: " in whole.stdout
    directory = workspace.path / "adapter"
    assert not (directory / "model.safetensors").exists()
    expected = result_of(directory)
    back_to(directory, 10)
    again = workspace.run(stage, *flags, output="adapter")
    assert "continuing at step 10 of 24" in again.stdout, again.stderr
    assert result_of(directory) == expected
    assert "is complete: 24 steps" in workspace.run(stage, *flags, output="adapter").stdout
    assert (workspace.path / "base" / "model.safetensors").read_bytes() == before
    state = load_file(directory / "checkpoints" / "step-00000024" / "optimizer.safetensors")
    trained = sum(t.numel() for t in load_file(directory / ADAPTER_WEIGHTS).values())
    assert sum(t.numel() for name, t in state.items() if "exp_avg" in name) == 2 * trained
    other = workspace.run(stage, *flags, "--lora_rank=8", output="adapter")
    assert "lora_rank was 4 and is 8" in other.stderr
    plain = workspace.run(stage, start, "--gradient_accumulation_steps=2", output="adapter")
    assert "lora_rank was 4 and is 0" in plain.stderr
    assert load_pretrained(directory / "checkpoints" / "step-00000020")  # as any checkpoint


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="gloo")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_the_same_adapter(workspace: Workspace, parallel: str) -> None:
    assert workspace.run("pretrain").returncode == 0
    flags = ("--lora_rank=4", "--learning_rate=0.01", "--use_dora", *HEAD)
    assert workspace.run("sft", *flags, output="one").returncode == 0
    command = workspace.command("sft", *flags, f"--parallel={parallel}", output="two")[1:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, *command], cwd=workspace.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (_, one), (_, two) = (result_of(workspace.path / name) for name in ("one", "two"))
    assert two == pytest.approx(one, abs=2e-4)
    weights = [load_file(workspace.path / name / ADAPTER_WEIGHTS) for name in ("one", "two")]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=2e-3, rtol=0)


def test_mistakes_are_named_before_anything_is_written(workspace: Workspace) -> None:
    no_base = workspace.run("pretrain", "--lora_rank=4")
    assert "an adapter needs a trained model under it: name one with --init_from" in no_base.stderr
    no_rank = workspace.run("sft", "--use_dora", "--lora_alpha=3")
    assert "use_dora is only for an adapter: add --lora_rank 8, say" in no_rank.stderr
    assert "lora_alpha is only for an adapter" in no_rank.stderr
    assert workspace.run("pretrain").returncode == 0
    target = workspace.run("sft", "--lora_rank=4", "--lora_targets", "q_proj", "query")
    assert "--lora_targets query: the model has no such linear layer; use all or" in target.stderr
    assert {no_base.returncode, no_rank.returncode, target.returncode} == {2}
    assert not (workspace.path / "sft").exists()
    assert workspace.run("sft", "--lora_rank=4", output="adapter").returncode == 0
    chain = workspace.run("sft", "--pretrained_model_dir=adapter", output="more")
    assert "adapter is an adapter, and training starts from a whole model" in chain.stderr


def test_dropout_needs_the_share_to_be_below_one() -> None:
    assert LoraConfig(lora_rank=1, lora_dropout=1.0).problems()
    assert not LoraConfig(lora_rank=1, lora_dropout=0.0).problems()


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_chunked_loss_has_the_gradient_of_the_plain_one(
    model: Etude, dora: bool, dropout: float
) -> None:
    """With an adapter on the output layer, whose weight is the embedding's."""
    lora = LoraConfig(8, lora_targets=("all", "lm_head"), use_dora=dora, lora_dropout=dropout)
    add_adapter(model, lora, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in adapter_weights(model).values():
            weight.add_(torch.randn(weight.shape) * 0.1)
    ids, labels = torch.randint(0, 400, (2, 3, 16)).unbind()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    torch.manual_seed(3)
    logits = model(ids).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")
    expected.backward()  # type: ignore[no-untyped-call]
    plain = {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    loss = SummedLoss(model)(ids, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, expected)
    assert len(plain) == len(trained)
    for name, parameter in trained.items():
        torch.testing.assert_close(parameter.grad, plain[name], atol=2e-4, rtol=1e-4)
    assert all(p.grad is None for n, p in model.named_parameters() if n not in trained)


@pytest.mark.full
@pytest.mark.parametrize("whole", [False, True])
def test_compiled_is_as_uncompiled(model: Etude, whole: bool) -> None:
    add_adapter(model, LoraConfig(4, use_dora=True), torch.Generator().manual_seed(1))
    ids = torch.randint(0, 400, (4, 64))
    found = []
    for compilation in (Compilation(False), Compilation(True)):
        loss = training_loss(model, torch.float32, compilation, whole=whole)(ids, ids)
        loss.backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        model.zero_grad(set_to_none=True)
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-3, rtol=1e-3)


SHAPE = ModelConfig(16_384, 1_024, 4_096, 24, 16, 16, 512)


def test_memory_is_that_of_a_frozen_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients and moments, 12 bytes a weight, are the adapter's alone."""
    full = estimated_bytes(SHAPE, SFTConfig(), 400_000_000)
    assert full - estimated_bytes(SHAPE, SFTConfig(), 400_000_000, 1, 1_000) == 12 * 399_999_000
    monkeypatch.setattr(limits, "free_memory", lambda device: (6 * 10**9, "are free"))
    config = dataclasses.replace(SFTConfig(), dtype="float32", batch_size=1)
    with pytest.raises(UserError, match="a step needs about"):
        limits.refuse_too_large(SHAPE, config, World())
    limits.refuse_too_large(SHAPE, config, World(), LoraConfig(8))


def test_rates_and_optimizers_of_whole_models_are_remarked_on() -> None:
    assert adapter_notes(SFTConfig(learning_rate=1e-3)) == []
    (rate,) = adapter_notes(SFTConfig(learning_rate=3e-5))
    assert "--learning_rate 3e-05 is low for an adapter" in rate
    (muon,) = adapter_notes(SFTConfig(learning_rate=1e-3, optimizer="muon"))
    assert "trained by AdamW" in muon


@pytest.mark.full
@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
def test_a_run_over_frozen_weights_learns_the_same_and_continues_to_the_bit(
    workspace: Workspace, kind: str
) -> None:
    assert workspace.run("pretrain", output="base").returncode == 0
    start = ("--pretrained_model_dir=base", "--save_total_limit=9")
    flags = ("--lora_rank=4", "--learning_rate=0.01", *start)

    plain = workspace.run("sft", *flags, output="plain")
    frozen = workspace.run("sft", *flags, f"--weights={kind}", output="frozen")
    assert f"stay as they are, in {kind}" in frozen.stdout, frozen.stderr
    directory = workspace.path / "frozen"
    expected = result_of(directory)
    assert expected[1] == pytest.approx(result_of(workspace.path / "plain")[1], rel=0.05)
    back_to(directory, 10)
    again = workspace.run("sft", *flags, f"--weights={kind}", output="frozen")
    assert "continuing at step 10 of 24" in again.stdout, again.stderr
    assert result_of(directory) == expected
    other = workspace.run("sft", *flags, output="frozen")
    assert f"weights was {kind} and is float32" in other.stderr
    model, _ = load_pretrained(directory)  # over the weights in float32, which it was made for
    assert model.num_parameters() > 0
    assert "weights" in workspace.run("sft", f"--weights={kind}", output="x").stderr
    assert plain.returncode == 0
