"""GRPO, CISPO and GSPO: values as trl computes them, gradients as autograd finds them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from config import GRPOConfig
from train.data.batches import IGNORED, Batch
from train.objectives.policy import FIELDS, Policy

ANSWERS, LONGEST, VOCAB = 6, 7, 11
LENGTHS = torch.tensor([7, 1, 4, 5, 2, 6])
AVERAGES = ("answer", "token", "length")
LOSSES = ("grpo", "cispo", "gspo")


class Case:
    """Answers, one a row, with logits that are trained and what is known of each token."""

    def __init__(self, config: GRPOConfig) -> None:
        draw = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        self.config = config
        self.logits = normal(ANSWERS, LONGEST, VOCAB).requires_grad_()
        self.ids = torch.randint(0, VOCAB, (ANSWERS, LONGEST), generator=draw)
        self.mask = torch.arange(LONGEST) < LENGTHS[:, None]
        own = self.log_probs.detach()
        spread = 1e-3 if config.loss == "gspo" else 0.3  # some are clipped, some not
        self.old = own + spread * normal(ANSWERS, LONGEST)
        self.reference = own + 0.3 * normal(ANSWERS, LONGEST)
        self.advantages = normal(ANSWERS)

    @property
    def log_probs(self) -> Tensor:
        """(answers, longest) float64."""
        return self.logits.log_softmax(-1).gather(2, self.ids[..., None])[..., 0]

    def batch(self) -> Batch:
        """The answers as the objective gets them."""
        lengths = LENGTHS[:, None].double().expand(ANSWERS, LONGEST)
        ones = torch.ones_like(lengths)
        scale = {"answer": 1 / lengths, "token": ones}.get(
            self.config.mean_of, ones / self.config.max_new_tokens
        )
        norm = ones if self.config.mean_of == "token" else 1 / lengths
        facts = [self.advantages[:, None].expand_as(ones), self.old, self.reference, self.old]
        per_token = torch.stack([*facts, scale, norm], dim=-1)
        assert per_token.shape[-1] == len(FIELDS)
        labels = torch.where(self.mask, self.ids, IGNORED)
        return Batch(self.ids, labels, torch.zeros_like(self.ids), per_token=per_token)

    def textbook(self) -> Tensor:
        """The loss as trl's GRPOTrainer writes it."""
        config, mask, log_probs = self.config, self.mask.double(), self.log_probs
        log_ratio = log_probs - self.old
        if config.loss == "gspo":
            log_ratio = ((log_ratio * mask).sum(-1) / mask.sum(-1))[:, None]
        ratio, advantages = log_ratio.exp(), self.advantages[:, None]
        low, high = config.clip
        if config.loss == "cispo":
            losses = -ratio.clamp(max=high).detach() * advantages * log_probs
        else:
            losses = -torch.min(ratio * advantages, ratio.clamp(low, high) * advantages)
        if config.beta:
            gap = self.reference - log_probs
            losses = losses + config.beta * (gap.exp() - gap - 1)
        losses = losses * mask
        if config.mean_of == "answer":
            return (losses.sum(-1) / mask.sum(-1)).mean()
        if config.mean_of == "token":
            return losses.sum() / mask.sum()
        return losses.sum() / (ANSWERS * config.max_new_tokens)


def cases() -> list[GRPOConfig]:
    return [
        GRPOConfig(loss=loss, average=average, beta=beta, max_new_tokens=9)  # type: ignore[arg-type]
        for loss in LOSSES
        for average in AVERAGES
        for beta in (0.0, 0.04)
    ]


def prepared(case: Case) -> tuple[Batch, Tensor, Tensor]:
    """The batch with its weights, the metrics, and the normaliser."""
    objective, batch = Policy(case.config), case.batch()
    found, metrics = objective.prepare(batch, case.log_probs.detach())
    assert metrics is not None
    return found, metrics, objective.normaliser(batch)


@pytest.mark.parametrize("config", cases(), ids=lambda c: f"{c.loss}-{c.average}-{c.beta}")
def test_values_and_gradients_are_those_of_the_textbook_form(config: GRPOConfig) -> None:
    case = Case(config)
    batch, metrics, normaliser = prepared(case)
    expected = case.textbook()
    loss = metrics[0] / normaliser
    assert abs(float((loss - expected).detach())) < 1e-9
    (wanted,) = torch.autograd.grad(expected, case.logits)
    assert batch.weights is not None
    weighted = -(case.log_probs * torch.where(case.mask, batch.weights, 0.0)).sum() / normaliser
    (found,) = torch.autograd.grad(weighted, case.logits)
    assert float(wanted.abs().max()) > 1e-3
    assert float((found - wanted).abs().max()) < 1e-15


def test_some_ratios_are_clipped_and_counted() -> None:
    for loss in LOSSES:
        case = Case(GRPOConfig(loss=loss, clip_low=1e-5, clip_high=1e-5))  # type: ignore[arg-type]
        _, metrics, normaliser = prepared(case)
        assert 0 < float(metrics[1] / normaliser) <= 1


@pytest.mark.parametrize("average", AVERAGES)
def test_clipped_tokens_have_no_gradient_but_in_cispo(average: str) -> None:
    for loss in ("grpo", "cispo"):
        config = GRPOConfig(loss=loss, average=average, clip_high=0.05)  # type: ignore[arg-type]
        case = Case(config)
        case.advantages = torch.ones(ANSWERS, dtype=torch.float64)
        batch, _, _ = prepared(case)
        assert batch.weights is not None
        above = ((case.log_probs - case.old).exp() > 1.05) & case.mask
        assert above.any()
        zero = batch.weights[above] == 0
        assert bool(zero.all()) == (loss == "grpo")
        assert bool((batch.weights[case.mask & ~above] > 0).all())


@pytest.mark.full
@pytest.mark.parametrize("kind", ["", "dapo"])
@pytest.mark.parametrize("config", cases(), ids=lambda c: f"{c.loss}-{c.average}-{c.beta}")
def test_values_and_gradients_are_those_of_trl(config: GRPOConfig, kind: str) -> None:
    pytest.importorskip("trl", reason="pip install trl==1.16.0")
    from trl.trainer.grpo_trainer import GRPOTrainer  # type: ignore[import-not-found]

    case = Case(config)
    batch, metrics, normaliser = prepared(case)
    names = {"answer": "grpo", "token": "bnpo", "length": "dr_grpo"}
    if config.mean_of != "token" and (config.loss == "cispo" or kind == "dapo"):
        pytest.skip("trl has CISPO and DAPO as means over tokens only")
    kind = "cispo" if config.loss == "cispo" else kind or names[config.mean_of]
    low, high = config.clip
    values = SimpleNamespace(
        model=SimpleNamespace(training=False),
        loss_type=kind,
        importance_sampling_level="sequence" if config.loss == "gspo" else "token",
        beta=config.beta,
        epsilon_low=1 - low,
        epsilon_high=high if kind == "cispo" else high - 1,
        max_completion_length=config.max_new_tokens,
        current_gradient_accumulation_steps=1,
        args=trl_arguments(),
        accelerator=SimpleNamespace(num_processes=1, gather=lambda t: t, reduce=lambda t, **_: t),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": _Log(), "eval": _Log()},
        _get_per_token_logps_and_entropies=lambda *a, **k: (case.log_probs, case.old, None),
    )
    inputs = {
        "prompt_ids": case.ids[:, :1],
        "prompt_mask": torch.ones(ANSWERS, 1),
        "completion_ids": case.ids,
        "completion_mask": case.mask.double(),
        "advantages": case.advantages,
        "old_per_token_logps": case.old,
        "ref_per_token_logps": case.reference,
        "num_items_in_batch": case.mask.sum(),
    }
    theirs = GRPOTrainer._compute_loss(values, SimpleNamespace(training=True), inputs)
    assert abs(float((theirs - metrics[0] / normaliser).detach())) < 1e-9
    (wanted,) = torch.autograd.grad(theirs, case.logits)
    assert batch.weights is not None
    weighted = -(case.log_probs * torch.where(case.mask, batch.weights, 0.0)).sum() / normaliser
    (found,) = torch.autograd.grad(weighted, case.logits)
    assert float((found - wanted).abs().max()) < 1e-15


def trl_arguments() -> SimpleNamespace:
    """What of its settings the loss looks at."""
    return SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1)


class _Log(dict[str, Any]):
    """Takes any metric."""

    def __missing__(self, name: str) -> list[Any]:
        return []


def test_an_answer_of_nothing_adds_nothing() -> None:
    case = Case(GRPOConfig())
    batch = dataclasses.replace(case.batch(), labels=torch.full_like(case.ids, IGNORED))
    found, metrics = Policy(case.config).prepare(batch, torch.zeros(ANSWERS, LONGEST).double())
    assert found.weights is not None
    assert metrics is not None
    assert (float(found.weights.abs().sum()), metrics.tolist()) == (0.0, [0.0, 0.0])
    assert float(Policy(case.config).normaliser(batch)) == 0.0
