"""Divergences from a teacher: against textbook forms, and trl's where it is installed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import DistillConfig
from train.data.batches import IGNORED, SoftTargets
from train.objective import chunked_cross_entropy
from train.objectives.distillation import chunk_of, distillation_gradient
from train.objectives.teacher import top

LOSSES = ("forward_kl", "reverse_kl", "jsd")
TOKENS, VOCABULARY = 12, 40


def drawn(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=draw, dtype=torch.float64)


def textbook(student: Tensor, teacher: Tensor, k: int, config: DistillConfig) -> Tensor:
    """(tokens,) the divergence between distributions whose tail is one class."""
    ids = teacher.topk(k).indices

    def classes(logits: Tensor) -> Tensor:
        p = (logits / config.temperature).softmax(dim=-1)
        inside = p.gather(1, ids)
        outside = torch.ones_like(p).scatter(1, ids, 0.0)
        return torch.cat([inside, (p * outside).sum(1, keepdim=True)], dim=1)

    p, q = classes(teacher), classes(student)
    if k == teacher.shape[1]:
        p, q = p[:, :-1], q[:, :-1]
    m = config.beta * p + (1 - config.beta) * q
    found = {
        "forward_kl": (p * (p / q).log()).sum(1),
        "reverse_kl": (q * (q / p).log()).sum(1),
        "jsd": config.beta * (p * (p / m).log()).sum(1)
        + (1 - config.beta) * (q * (q / m).log()).sum(1),
    }
    return config.temperature**2 * found[config.loss]


@pytest.mark.parametrize("k", [1, 7, VOCABULARY])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_are_those_of_the_textbook(loss: Any, k: int) -> None:
    for settings in ({}, {"temperature": 1.7, "alpha": 0.3, "beta": 0.2}, {"alpha": 1.0}):
        config = DistillConfig(loss=loss, top_k=k, **settings)  # type: ignore[arg-type]
        student = drawn(1, TOKENS, VOCABULARY).requires_grad_()
        teacher, labels = drawn(2, TOKENS, VOCABULARY), torch.arange(TOKENS)
        expected = (1 - config.alpha) * textbook(student, teacher, k, config)
        expected = expected + config.alpha * F.cross_entropy(student, labels, reduction="none")
        (by_autograd,) = torch.autograd.grad(expected.sum(), student)
        ids, log_probs = top(teacher / config.temperature, k)
        with torch.no_grad():
            losses, gradient = distillation_gradient(student, labels, ids, log_probs, config)
        torch.testing.assert_close(losses, expected.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient, by_autograd, rtol=0, atol=1e-12)


@pytest.mark.full
@pytest.mark.parametrize(("loss", "beta"), [("forward_kl", 0), ("reverse_kl", 1), ("jsd", 0.3)])
def test_with_all_tokens_it_is_trls_loss(loss: Any, beta: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd.gkd_trainer", reason="pip install trl")
    student, teacher = drawn(3, TOKENS, VOCABULARY), drawn(4, TOKENS, VOCABULARY)
    student.requires_grad_()
    labels = torch.arange(TOKENS)
    labels[2:5] = IGNORED
    config = DistillConfig(loss=loss, temperature=1.3, beta=beta if loss == "jsd" else 0.5)
    expected = gkd.GKDTrainer.generalized_jsd_loss(
        student[None],
        teacher[None],
        labels[None],
        beta=beta,
        temperature=config.temperature,
        reduction="sum",
    )
    ids, log_probs = top(teacher / config.temperature, VOCABULARY)
    (by_autograd,) = torch.autograd.grad(expected, student)
    with torch.no_grad():
        losses, gradient = distillation_gradient(student, labels, ids, log_probs, config)
    trained, factor = labels != IGNORED, config.temperature**2
    assert float(losses[trained].sum()) == pytest.approx(factor * expected.item(), abs=1e-9)
    torch.testing.assert_close(gradient[trained], factor * by_autograd[trained], rtol=0, atol=1e-9)


@pytest.mark.parametrize("k", [1, 5, VOCABULARY])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_chunk_gives_the_gradient_of_the_weights(loss: Any, k: int) -> None:
    hidden = drawn(5, TOKENS, 8).float().requires_grad_()
    head = drawn(6, VOCABULARY, 8).float().requires_grad_()
    teacher, factors = drawn(7, TOKENS, VOCABULARY).float(), drawn(8, TOKENS).float().abs()
    labels = torch.zeros(TOKENS, dtype=torch.long)
    labels[4:9] = IGNORED
    config = DistillConfig(loss=loss, temperature=2.0)
    losses = textbook(hidden @ head.mT, teacher, k, config)
    expected = (losses * factors)[labels != IGNORED].sum()
    ids, log_probs = top(teacher / 2, k)
    # What stands at positions that are not trained must not matter.
    ids[4:9], log_probs[4:9] = 0, 0.0
    soft = SoftTargets(ids, log_probs)
    found = chunked_cross_entropy(hidden, head, labels, chunk_of(config), factors, soft)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(found, (hidden, head))
    wanted = torch.autograd.grad(expected, (hidden, head))
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(loss: Any) -> None:
    logits = drawn(9, TOKENS, VOCABULARY)
    ids, log_probs = top(logits, 5)
    labels = torch.zeros(TOKENS, dtype=torch.long)
    config = DistillConfig(loss=loss)
    losses, gradient = distillation_gradient(logits, labels, ids, log_probs, config)
    torch.testing.assert_close(losses, torch.zeros_like(losses), rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-14)


def test_the_tail_is_what_the_likeliest_tokens_leave_over() -> None:
    logits = drawn(10, TOKENS, VOCABULARY)
    ids, log_probs = top(logits, 6)
    p = logits.softmax(dim=-1)
    torch.testing.assert_close(log_probs[:, -1].exp(), 1 - p.gather(1, ids).sum(1))
    assert top(logits, VOCABULARY)[1][:, -1].tolist() == [-math.inf] * TOKENS
