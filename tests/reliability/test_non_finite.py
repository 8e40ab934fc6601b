"""R5: a NaN or an infinity, wherever it comes up, reaches no other weight and never the disk."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from config import PretrainConfig
from model.directory.pretrained import load_pretrained
from model.transformer import Etude
from tests.reliability.launcher import run_warm
from tests.reliability.runs import LENGTH, Finished, Outcome
from tests.reliability.trials import Trials
from train.data.batches import IGNORED, Batch
from train.distributed import World, clip_gradient
from train.objective import CrossEntropy, Prepared, SummedLoss
from train.step import StepGuard, TrainingStep

pytestmark = [pytest.mark.full, pytest.mark.promise("R5")]

MOST_SKIPPED = 5
"""The default of --max_skipped_steps."""
Site = Callable[[TrainingStep, float, int], None]
"""Puts a value into a place of the training step, chosen by a number."""


def put(tensor: Tensor, value: float, where: int) -> None:
    """Overwrites one element."""
    tensor.detach().view(-1)[where % tensor.numel()] = value


def in_a_weight(step: TrainingStep, value: float, where: int) -> None:
    weights = list(step.model.parameters())
    put(weights[where % len(weights)], value, where)


def in_the_optimizer(step: TrainingStep, value: float, where: int) -> None:
    states = [s for optimizer in step.optimizers.values() for s in optimizer.state.values()]
    fields = [t for s in states for t in s.values() if t.numel() > 1]
    put(fields[where % len(fields)], value, where)


def in_the_gradient(step: TrainingStep, value: float, where: int) -> None:
    """Between the backward pass and the clipping."""
    patch = pytest.MonkeyPatch()

    def clip_broken(model: Etude, max_norm: float) -> Tensor:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        put(gradients[where % len(gradients)], value, where)
        patch.undo()
        return clip_gradient(model, max_norm)

    patch.setattr("train.step.clip_gradient", clip_broken)


def in_the_loss(step: TrainingStep, value: float, where: int) -> None:
    module = step.module

    def broken(*args: Any) -> Tensor:
        step.module = module
        return module(*args) * value

    step.module = broken  # type: ignore[assignment]  # called, nothing else


def nowhere(step: TrainingStep, value: float, where: int) -> None:
    """Of a step without a trained token, the batch is changed, not the step."""


SITES: dict[str, tuple[Site, Sequence[float], bool]] = {
    "weight": (in_a_weight, (math.nan, math.inf, -math.inf), True),
    "optimizer": (in_the_optimizer, (math.nan,), True),
    "gradient": (in_the_gradient, (math.nan, math.inf, -math.inf), False),
    "loss": (in_the_loss, (math.nan, math.inf), False),
    "masked step": (nowhere, (0.0,), False),
}
"""Of each place the values, and whether they stay (the run must stop) or pass (it goes on)."""


def inject(site: str, value: float, at_step: int, where: int) -> None:
    """Breaks one step of this process's run."""
    original = TrainingStep.__call__
    calls = 0

    def broken(self: TrainingStep, batches: Sequence[Batch]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at_step:
            SITES[site][0](self, value, where)
            if site == "masked step":
                nothing = torch.full_like(batches[0].labels, IGNORED)
                batches = [dataclasses.replace(batch, labels=nothing) for batch in batches]
        return original(self, batches)

    TrainingStep.__call__ = broken  # type: ignore[method-assign]


def broken_files(directory: Path) -> list[str]:
    """The safetensors files that hold a value that is not finite."""
    found = []
    for path in directory.rglob("*.safetensors"):
        tensors = [t for t in load_file(path).values() if t.is_floating_point()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            found.append(path.relative_to(directory).as_posix())
    return found


def log_of(directory: Path) -> list[dict[str, Any]]:
    """The loss log; a number in it that is not finite is a mistake."""

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} in the loss log")

    text = (directory / "loss_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


CASES = [(site, value) for site, (_, values, _) in SITES.items() for value in values]


@pytest.mark.parametrize(("site", "value"), CASES, ids=lambda part: str(part).replace(" ", "_"))
def test_a_value_that_is_not_finite_never_spreads(
    trials: Trials, finished: Finished, memory_path: Path, site: str, value: float
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=1, release=5))):
        path = memory_path / str(n)
        finished.copy(path)
        directory = path / "pretrain"
        at_step, where = draw.randint(5, 34), draw.randrange(1 << 30)
        code, output = run_warm(command, path, partial(inject, site, value, at_step, where))
        log = log_of(directory)
        skipped = [line["step"] for line in log if line.get("skipped")]
        clean = broken_files(directory) == []
        if SITES[site][2]:
            told = code == 2 and "Traceback" not in output and "error: step " in output
            told = told and len(skipped) <= MOST_SKIPPED
            final, _ = run_warm(command, path)  # the same command, on a machine that is well
            same = final == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
            passed = told and same
        elif site == "masked step":
            loss = next(line["loss"] for line in log if line["step"] == at_step)
            passed = code == 0 and not skipped and loss == 0
        else:
            passed = code == 0 and skipped == [at_step]
        facts = {"site": site, "value": str(value), "at_step": at_step, "code": code}
        said = [line for line in output.splitlines() if line.startswith("error: ")]
        trials.record(seed, passed and clean, **facts, skipped=skipped, said=said[:1])
    trials.verdict()


@pytest.mark.parametrize(
    "flags",
    [
        ("--optimizer=adamw", "--learning_rate=1e9"),
        ("--optimizer=muon", "--learning_rate=1e9", "--muon_learning_rate=1e9"),
    ],
    ids=["adamw", "muon"],
)
def test_a_diverging_run_stops_and_names_its_rows(
    trials: Trials, finished: Finished, memory_path: Path, flags: tuple[str, ...]
) -> None:
    for n, (seed, draw) in enumerate(trials.draws(trials.size(ci=1, release=5))):
        path = memory_path / str(n)
        finished.copy(path)
        more = ("--max_grad_norm=0", "--save_steps=1", f"--seed={draw.randrange(1000)}")
        code, output = run_warm(
            finished.workspace.command("pretrain", *LENGTH, *flags, *more), path
        )
        directory = path / "pretrain"
        steps = [line for line in log_of(directory) if "learning_rate" in line]
        named = all(part in output for part in ("error: step ", "rows were [", "learning_rate"))
        passed = code == 2 and named and "Traceback" not in output
        passed = passed and len(steps) <= 2 + MOST_SKIPPED and broken_files(directory) == []
        said = [line for line in output.splitlines() if line.startswith("error: ")]
        trials.record(seed, passed, site="learning rate", flags=flags, code=code, said=said[:1])
    trials.verdict()


def test_a_masked_micro_batch_adds_exactly_nothing(trials: Trials, finished: Finished) -> None:
    model, tokenizer = load_pretrained(finished.workspace.path / "pretrain")
    guard = StepGuard(PretrainConfig(), len(tokenizer), torch.float32, torch.device("cpu"))
    step = TrainingStep(SummedLoss(model), model, {}, guard, World(), 1.0, CrossEntropy())
    for seed, draw in trials.draws(trials.size(ci=3, release=50)):
        generator = torch.Generator().manual_seed(draw.randrange(1 << 30))
        ids = torch.randint(3, len(tokenizer), (2, 33), generator=generator)
        batch = Batch(ids[:, :-1], ids[:, 1:].clone())
        masked = dataclasses.replace(batch, labels=torch.full_like(batch.labels, IGNORED))
        found = []
        for batches in ([batch], [batch, masked], [masked, batch, masked]):
            model.zero_grad(set_to_none=True)
            loss, trained, _ = step.accumulate_gradient([Prepared(b) for b in batches])
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            found.append([loss, trained, *gradients])
        same = all(
            torch.equal(x, y) for other in found[1:] for x, y in zip(found[0], other, strict=True)
        )
        trials.record(seed, same and len(found[0]) > 10, site="masked micro-batch")
    trials.verdict()
