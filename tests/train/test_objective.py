"""The loss is a sum over trained tokens, so accumulation cannot change the gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.transformer import Etude
from train.data.batches import IGNORED
from train.objective import CHUNK_ELEMENTS, SummedLoss, chunk_loss, chunked_cross_entropy


def summed_loss(
    model: Etude,
    ids: Tensor,
    labels: Tensor,
    document_ids: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    loss = SummedLoss(model, dtype)(ids, labels, document_ids)
    assert isinstance(loss, Tensor)
    return loss


def gradients(model: Etude) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_accumulation_does_not_change_the_gradient(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (8, 17))
    labels = ids[:, 1:].clone()
    labels[torch.rand(labels.shape) < 0.5] = IGNORED  # micro-batches with different counts
    labels[3] = IGNORED  # and one without any
    trained = int((labels != IGNORED).sum())
    (summed_loss(model, ids[:, :-1], labels) / trained).backward()  # type: ignore[no-untyped-call]
    at_once = gradients(model)
    model.zero_grad()
    for row in range(8):
        part = summed_loss(model, ids[row : row + 1, :-1], labels[row : row + 1])
        (part / trained).backward()  # type: ignore[no-untyped-call]
    largest = max(float(g.abs().max()) for g in at_once)
    for whole, summed in zip(at_once, gradients(model), strict=True):
        torch.testing.assert_close(whole, summed, rtol=1e-4, atol=1e-5 * largest)


def test_a_fully_masked_batch_adds_exactly_zero(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    loss = summed_loss(model, ids, torch.full_like(ids, IGNORED))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model))


def test_the_loss_is_the_mean_cross_entropy_of_the_trained_tokens(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    labels = ids.clone()
    labels[0, :5] = IGNORED
    expected = F.cross_entropy(model(ids)[labels != IGNORED], labels[labels != IGNORED])
    torch.testing.assert_close(summed_loss(model, ids, labels) / 13, expected)


def test_attention_stays_inside_a_document(model: Etude) -> None:
    draw = torch.Generator().manual_seed(1)
    first, second = torch.randint(0, model.config.vocab_size, (2, 1, 9), generator=draw)
    row, ids = torch.cat([first, second], dim=1), torch.tensor([[0] * 9 + [1] * 9])
    apart = summed_loss(model, first, first) + summed_loss(model, second, second)
    inside = summed_loss(model, row, row, document_ids=ids)
    torch.testing.assert_close(inside, apart, rtol=1e-5, atol=1e-4)
    assert abs(summed_loss(model, row, row) - apart) > 0.1


def test_bfloat16_products_give_nearly_the_same_loss(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    exact, short = summed_loss(model, ids, ids), summed_loss(model, ids, ids, dtype=torch.bfloat16)
    assert short.dtype == torch.float32
    assert 0 < abs(short - exact) < 0.05 * exact


@pytest.mark.parametrize("chunk_of", [1, 3, 7, 100])
def test_chunked_cross_entropy_and_its_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, chunk_of: int
) -> None:
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(20, 8, generator=draw).requires_grad_()
    weight = torch.randn(50, 8, generator=draw).requires_grad_()
    labels = torch.randint(0, 50, (20,), generator=draw)
    labels[4:9] = IGNORED
    plain = F.cross_entropy(hidden @ weight.mT, labels, ignore_index=IGNORED, reduction="sum")
    expected = torch.autograd.grad(plain * 0.3, (hidden, weight))
    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 50 * chunk_of)
    loss = chunked_cross_entropy(hidden, weight, labels)
    torch.testing.assert_close(loss, plain)
    got = torch.autograd.grad(loss * 0.3, (hidden, weight))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(chunked_cross_entropy(hidden, weight, labels), plain)


def test_the_loss_never_holds_all_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    def watched(hidden: Tensor, *others: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, len(hidden))
        return chunk_loss(hidden, *others)

    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 50 * 4)
    hidden, weight = torch.randn(20, 8).requires_grad_(), torch.randn(50, 8).requires_grad_()
    chunked_cross_entropy(hidden, weight, torch.zeros(20, dtype=torch.long), watched)
    assert largest == 4


def test_evaluation_multiplies_in_float32_whatever_the_run_does(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    short, exact = SummedLoss(model, torch.bfloat16), SummedLoss(model)
    with torch.no_grad():
        assert torch.equal(short(ids, ids, exact=True), exact(ids, ids))
        assert not torch.equal(short(ids, ids), exact(ids, ids))
