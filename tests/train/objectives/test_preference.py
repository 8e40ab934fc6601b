"""The losses of preferences: their values, and the gradient of the weighted form."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import DPOConfig
from train.data.batches import IGNORED, Batch
from train.objective import prepare_all
from train.objectives.preference import Preference

VOCAB = 11
LAYOUT = ((7, 9, 12, 8), (15, 5), (6, 6, 6, 9, 4, 11))
"""The lengths of the documents of three rows; the first two tokens of each are its prompt."""
LOSSES = (
    {"loss": "dpo"},
    {"loss": "dpo", "beta": 0.7, "label_smoothing": 0.2},
    {"loss": "ipo"},
    {"loss": "orpo"},
    {"loss": "orpo", "beta": 0.5},
    {"loss": "simpo"},
    {"loss": "simpo", "beta": 5.0, "gamma": 0.3},
    {"loss": "kto"},
    {"loss": "kto", "desirable_weight": 1.3, "undesirable_weight": 0.7},
)
each_loss = pytest.mark.parametrize("settings", LOSSES, ids=str)


def rows_of_pairs(length: int = 60) -> tuple[Batch, Tensor]:
    """Rows as training makes them, in float64, and random logits (rows, length, vocabulary)."""
    draw = torch.Generator().manual_seed(4)
    rows = len(LAYOUT)
    labels = torch.full((rows, length), IGNORED)
    documents = torch.zeros(rows, length, dtype=torch.long)
    for row, lengths in enumerate(LAYOUT):
        position = 0
        for number, count in enumerate(lengths):
            answer = slice(position + 2, position + count)
            labels[row, answer] = torch.randint(0, VOCAB, (count - 2,), generator=draw)
            documents[row, position : position + count] = number
            position += count
        documents[row, position:] = torch.arange(len(lengths), len(lengths) + length - position)
    logits = torch.randn(rows, length, VOCAB, generator=draw, dtype=torch.float64)
    sequences = torch.zeros(rows, 6, 2, dtype=torch.float64)
    for row, lengths in enumerate(LAYOUT):
        for number, count in enumerate(lengths):
            noise = torch.randn((), generator=draw, dtype=torch.float64)
            sequences[row, number, 0] = -3.0 * count + 3 * noise
            sequences[row, number, 1] = (row + number // 2) % 2
    return Batch(labels, labels, documents, sequences=sequences), logits


def part_of(batch: Batch, rows: slice) -> Batch:
    """Some rows."""
    assert batch.document_ids is not None
    assert batch.sequences is not None
    labels, documents = batch.labels[rows], batch.document_ids[rows]
    return Batch(labels, labels, documents, sequences=batch.sequences[rows])


def log_probs_of(batch: Batch, logits: Tensor) -> Tensor:
    """(rows, length) of the labels, 0 where there is none."""
    trained = batch.labels != IGNORED
    found = logits.log_softmax(dim=-1).gather(2, batch.labels.clamp(min=0)[..., None])[..., 0]
    return torch.where(trained, found, 0.0)


def textbook(batch: Batch, log_probs: Tensor, config: DPOConfig) -> Tensor:
    """The mean loss as the papers write it, pair by pair in a Python loop."""
    assert batch.document_ids is not None
    assert batch.sequences is not None
    beta = config.beta or (2.0 if config.loss == "simpo" else 0.1)
    pairs = []
    for row, lengths in enumerate(LAYOUT):
        for first in range(0, len(lengths), 2):
            inside = [(batch.document_ids[row] == first + side) for side in (0, 1)]
            policy = [log_probs[row][mask].sum() for mask in inside]
            sizes = [count - 2 for count in lengths[first : first + 2]]
            known = batch.sequences[row, first : first + 2]
            pairs.append((policy, known[:, 0], sizes, bool(known[0, 1])))
    drift = torch.stack([policy[1].detach() - known[1] for policy, known, _, _ in pairs])
    z0 = drift.mean().clamp(min=0)
    losses = []
    for (w, r), (ref_w, ref_r), (n_w, n_l), good in pairs:
        if config.loss == "dpo":
            h, e = beta * ((w - ref_w) - (r - ref_r)), config.label_smoothing
            losses.append(-(1 - e) * torch.log(h.sigmoid()) - e * torch.log((-h).sigmoid()))
        elif config.loss == "ipo":
            losses.append(((w - ref_w) / n_w - (r - ref_r) / n_l - 1 / (2 * beta)) ** 2)
        elif config.loss == "orpo":
            p, q = (w / n_w).exp(), (r / n_l).exp()
            ratio = torch.log((p / (1 - p)) / (q / (1 - q)))
            losses.append(-w / n_w - beta * torch.log(ratio.sigmoid()))
        elif config.loss == "simpo":
            losses.append(-torch.log((beta * (w / n_w - r / n_l) - config.gamma).sigmoid()))
        elif good:
            losses.append(config.desirable_weight * (1 - (beta * (w - ref_w - z0)).sigmoid()))
        else:
            losses.append(config.undesirable_weight * (1 - (beta * (z0 - (w - ref_w))).sigmoid()))
    return torch.stack(losses).mean()


def prepared(objective: Preference, parts: list[Batch], logits: list[Tensor]) -> list[Any]:
    log_probs = [log_probs_of(*pair).detach() for pair in zip(parts, logits, strict=True)]
    return prepare_all(objective, parts, log_probs, lambda found: torch.stack(found).sum(dim=0))


@each_loss
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_values_and_gradients_are_those_of_the_textbook(
    settings: dict[str, Any], micro_batches: int
) -> None:
    config = DPOConfig(**settings)
    objective = Preference(config)
    batch, logits = rows_of_pairs()
    logits.requires_grad_()
    loss = textbook(batch, log_probs_of(batch, logits), config)
    (expected,) = torch.autograd.grad(loss, logits)
    size = len(LAYOUT) // micro_batches
    cuts = [slice(first, first + size) for first in range(0, len(LAYOUT), size)]
    parts = [part_of(batch, cut) for cut in cuts]
    found = prepared(objective, parts, [logits[cut] for cut in cuts])
    count = sum(int(objective.normaliser(part)) for part in parts)
    assert count == 6
    metrics = sum(metrics for _, metrics in found) / count
    assert abs(float(metrics[0]) - float(loss.detach())) < 1e-12
    weighted = torch.stack(
        [
            -(part.weights * log_probs_of(part, logits[cut])).sum()
            for (part, _), cut in zip(found, cuts, strict=True)
        ]
    ).sum()
    (gradient,) = torch.autograd.grad(weighted / count, logits)
    assert (gradient - expected).abs().max() < 1e-15


def answers_apart(batch: Batch, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What trl wants: the log-probabilities of the tokens (answers, longest), all first answers
    before all second ones, where there is one, and the known log-probability of each answer."""
    assert batch.document_ids is not None
    assert batch.sequences is not None
    found = []
    for side in (0, 1):
        for row, lengths in enumerate(LAYOUT):
            for number in range(side, len(lengths), 2):
                inside = (batch.document_ids[row] == number) & (batch.labels[row] != IGNORED)
                found.append((log_probs[row][inside], batch.sequences[row, number, 0]))
    pad = torch.nn.utils.rnn.pad_sequence
    tokens = pad([part for part, _ in found], batch_first=True)
    there = pad([torch.ones(len(part)) for part, _ in found], batch_first=True)
    return tokens, there, torch.stack([known for _, known in found])


def trl_loss(batch: Batch, log_probs: Tensor, config: DPOConfig) -> Tensor:
    """The mean loss as trl's own trainers compute it from the same log-probabilities."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer  # type: ignore[import-not-found]
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer  # type: ignore[import-not-found]

    tokens, there, known = answers_apart(batch, log_probs)
    if config.loss in ("orpo", "simpo"):
        chosen, rejected = (tokens.sum(1) / there.sum(1)).chunk(2)
        values = trl_values(config, loss_type=config.loss, alpha=0.0, simpo_gamma=config.gamma)
        if config.loss == "simpo":
            return CPOTrainer.cpo_loss(values, chosen, rejected)[0].mean()
        # Their cross-entropy is that of prompt and answer, the paper's that of the answer.
        return (-chosen - ORPOTrainer.odds_ratio_loss(values, chosen, rejected)[0]).mean()
    if config.loss == "kto":
        return trl_kto(batch, tokens, there, known, config)
    parts = [torch.arange(6)]
    if config.label_smoothing:  # which trl has in AOT alone: it is DPO where a batch has one pair
        parts = [torch.tensor([n]) for n in range(6)]
    both = [torch.cat([part, part + 6]) for part in parts]
    return torch.stack([trl_dpo(tokens[n], there[n], known[n], config) for n in both]).mean()


def trl_dpo(tokens: Tensor, there: Tensor, known: Tensor, config: DPOConfig) -> Tensor:
    """Of DPO and IPO."""
    from trl.trainer.dpo_trainer import DPOTrainer  # type: ignore[import-not-found]

    kind = "aot" if config.label_smoothing else {"dpo": "sigmoid"}.get(config.loss, config.loss)
    more = {"loss_types": [kind], "loss_weights": [1.0], "f_divergence_type": "reverse_kl"}
    values = trl_values(config, **more, ld_alpha=None, use_weighting=False)
    chosen, rejected = known.chunk(2)
    references = {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    inputs = {**trl_inputs(there), **references}
    return DPOTrainer._compute_loss(values, outputs_of(tokens), inputs, False)


def trl_kto(
    batch: Batch, tokens: Tensor, there: Tensor, known: Tensor, config: DPOConfig
) -> Tensor:
    """Of KTO; the second answers are those of its baseline."""
    from trl.trainer.kto_trainer import KTOTrainer  # type: ignore[import-not-found]

    assert batch.sequences is not None
    weights = {"desirable_weight": config.desirable_weight}
    weights["undesirable_weight"] = config.undesirable_weight
    values = trl_values(config, loss_type="kto", calculate_KL=True, **weights)
    values._compute_kl_logps = lambda model, batch: tokens[6:].sum(1).detach()
    wanted = [
        batch.sequences[r, n, 1] for r, row in enumerate(LAYOUT) for n in range(0, len(row), 2)
    ]
    labels = {
        "label": torch.stack(wanted).bool(),
        "ref_logps": known[:6],
        "ref_KL_logps": known[6:],
    }
    inputs = {**trl_inputs(there[:6]), **labels}
    return KTOTrainer._compute_loss(values, outputs_of(tokens[:6]), inputs, False)


def trl_values(config: DPOConfig, **more: Any) -> SimpleNamespace:
    """What of a trainer its loss looks at."""
    metrics: dict[str, dict[str, list[float]]] = {
        mode: defaultdict(list) for mode in ("train", "eval")
    }
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda t: t, gather_for_metrics=lambda t: t
    )
    return SimpleNamespace(
        beta=config.strength,
        label_smoothing=config.label_smoothing,
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
        **more,
    )


def trl_inputs(there: Tensor) -> dict[str, Tensor]:
    """A prompt of one token before each answer."""
    mask = F.pad(there, (1, 0))
    return {"input_ids": mask.long(), "attention_mask": mask, "completion_mask": mask}


def outputs_of(tokens: Tensor) -> Any:
    """A model that gives these log-probabilities."""
    zeros = torch.zeros_like(tokens)
    more = {"entropy": zeros, "mean_logits": zeros, "is_top1": zeros.bool()}
    return lambda **inputs: SimpleNamespace(log_probs=tokens, **more)


@pytest.mark.full
@each_loss
def test_values_and_gradients_are_those_of_trl(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="pip install trl==1.16.0")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # else ORPO is in float32
    config = DPOConfig(**settings)
    batch, logits = rows_of_pairs()
    log_probs = log_probs_of(batch, logits.requires_grad_())
    theirs = trl_loss(batch, log_probs, config)
    (expected,) = torch.autograd.grad(theirs, log_probs)
    ((part, metrics),) = prepared(Preference(config), [batch], [logits])
    assert part.weights is not None
    assert abs(float(theirs.detach()) - float(metrics[0]) / 6) < 1e-9
    assert (expected + part.weights / 6).abs().max() < 1e-15
    assert expected.abs().max() > 1e-3


def test_a_baseline_above_zero_is_one_of_the_cases() -> None:
    """Else the test of KTO would not see its z0."""
    batch, logits = rows_of_pairs()
    objective = Preference(DPOConfig(loss="kto"))
    sums = objective.step_sums(batch, log_probs_of(batch, logits))
    assert sums is not None
    assert objective.baseline(dataclasses.replace(batch, step_sums=sums)) > 0.1


@pytest.mark.parametrize("loss", ["dpo", "ipo", "kto"])
def test_a_model_that_is_its_reference_has_the_loss_that_is_announced(loss: Any) -> None:
    objective = Preference(DPOConfig(loss=loss))
    batch, logits = rows_of_pairs()
    assert batch.sequences is not None
    assert batch.document_ids is not None
    log_probs = log_probs_of(batch, logits)
    same = batch.sequences.clone()
    for row, lengths in enumerate(LAYOUT):
        for number in range(len(lengths)):
            same[row, number, 0] = log_probs[row][batch.document_ids[row] == number].sum()
    ((_, metrics),) = prepared(objective, [dataclasses.replace(batch, sequences=same)], [logits])
    named = dict(zip(objective.metrics, (metrics / 6).tolist(), strict=True))
    assert objective.first_loss is not None
    assert named["loss"] == pytest.approx(objective.first_loss, abs=1e-9)
    assert named["distance"] < 1e-12
    assert "nothing moves" in objective.remark(named)
    assert objective.remark({**named, "distance": 0.1}) == ""


def test_the_metrics_are_means_over_pairs() -> None:
    objective = Preference(DPOConfig(loss="dpo"))
    batch, logits = rows_of_pairs()
    ((_, metrics),) = prepared(objective, [batch], [logits])
    named = dict(zip(objective.metrics, (metrics / 6).tolist(), strict=True))
    sums = []
    assert batch.sequences is not None
    assert batch.document_ids is not None
    log_probs = log_probs_of(batch, logits)
    for row, lengths in enumerate(LAYOUT):
        sums += [
            (
                float(log_probs[row][batch.document_ids[row] == n].sum()),
                float(batch.sequences[row, n, 0]),
                count - 2,
            )
            for n, count in enumerate(lengths)
        ]
    ratios = [p - ref for p, ref, _ in sums]
    margins = [0.1 * (a - b) for a, b in zip(ratios[::2], ratios[1::2], strict=True)]
    assert named["accuracy"] == sum(m > 0 for m in margins) / 6
    assert named["margin"] == pytest.approx(sum(margins) / 6)
    assert named["chosen_log_prob"] == pytest.approx(sum(p for p, _, _ in sums[::2]) / 6)
    assert named["rejected_log_prob"] == pytest.approx(sum(p for p, _, _ in sums[1::2]) / 6)
    moved = [abs(r) / n for r, (_, _, n) in zip(ratios, sums, strict=True)]
    assert named["distance"] == pytest.approx(sum(moved) / 12)


def test_an_answer_that_is_certain_keeps_orpo_finite() -> None:
    batch, logits = rows_of_pairs()
    certain = F.one_hot(batch.labels.clamp(min=0), VOCAB).double() * 1e4
    for found in (certain, logits * 1e4):
        ((part, metrics),) = prepared(Preference(DPOConfig(loss="orpo")), [batch], [found])
        assert part.weights is not None
        assert part.weights.isfinite().all()
        assert math.isfinite(float(metrics[0]))
