"""A bad step changes nothing and is counted; a good one passes."""

from __future__ import annotations

import math

import pytest
import torch

from config import PretrainConfig
from train.step import GOOD, IN_A_ROW, LOSS, NORM, PATIENCE, TOTAL, WARMUP, StepGuard

CPU = torch.device("cpu")


def guard(dtype: torch.dtype = torch.float32, **settings: float) -> StepGuard:
    return StepGuard(PretrainConfig(**settings), 400, dtype, CPU)  # type: ignore[arg-type]


def is_bad(judge: StepGuard, loss: float, norm: float) -> bool:
    return bool(judge.judge(torch.tensor(loss), torch.tensor(norm)))


@pytest.mark.parametrize(
    ("loss", "norm"),
    [
        (math.nan, 1.0),
        (math.inf, 1.0),
        (3.0, math.nan),
        (3.0, math.inf),
        (2.1 * math.log(400), 1.0),
    ],
)
def test_a_step_that_is_not_finite_or_worse_than_guessing_is_bad(loss: float, norm: float) -> None:
    judge = guard()
    assert not is_bad(judge, 3.0, 1.0)
    before = judge.state[[NORM, GOOD, LOSS]].clone()
    assert is_bad(judge, loss, norm)
    assert torch.equal(judge.state[[NORM, GOOD, LOSS]], before)
    assert judge.state[[IN_A_ROW, TOTAL]].tolist() == [1.0, 1.0]
    assert not is_bad(judge, 3.0, 1.0)
    assert judge.state[[IN_A_ROW, TOTAL]].tolist() == [0.0, 1.0]


def test_a_spike_is_bad_once_the_norm_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, blind = guard(), guard(spike_factor=0.0)
    assert not is_bad(judge, 3.0, 100.0)  # too early to tell
    judge = guard()
    for _ in range(WARMUP):
        assert not is_bad(judge, 3.0, 1.0)
        assert not is_bad(blind, 3.0, 1.0)
    assert not is_bad(judge, 3.0, 9.0)
    assert is_bad(judge, 3.0, 20.0)
    assert not is_bad(blind, 3.0, 20.0)


def test_large_norms_that_last_at_a_low_loss_are_how_the_run_now_is() -> None:
    judge = guard()
    for _ in range(WARMUP):
        is_bad(judge, 0.1, 0.5)
    verdicts = [is_bad(judge, 0.8, 27.0) for _ in range(PATIENCE + 5)]
    assert verdicts == [True] * PATIENCE + [False] * 5
    assert not is_bad(judge, 0.1, 0.5)


def test_a_loss_that_stays_far_above_its_mean_is_never_accepted() -> None:
    judge = guard()
    for _ in range(WARMUP):
        is_bad(judge, 2.0, 1.0)
    limit = 2.0 + math.log(400) / 4
    assert not is_bad(judge, limit - 0.01, 1.0)
    for norm in (1.0, 50.0) * 4:
        assert is_bad(judge, limit + 0.1, norm)
    assert judge.state[IN_A_ROW] == 8


def test_a_fully_masked_step_is_good() -> None:
    assert not is_bad(guard(), 0.0, 0.0)


def test_an_overflow_of_float16_lowers_the_scale_and_is_not_the_runs_fault() -> None:
    judge = guard(torch.float16)
    scale = float(judge.loss_scale)
    assert scale > 1
    assert is_bad(judge, 3.0, math.inf)
    assert float(judge.loss_scale) == scale / 2
    assert judge.state[[IN_A_ROW, TOTAL]].tolist() == [0.0, 0.0]
    for _ in range(1_000):
        assert not is_bad(judge, 3.0, 1.0)
    assert float(judge.loss_scale) == scale
    while float(judge.loss_scale) > 1:
        is_bad(judge, math.nan, math.nan)
    assert is_bad(judge, math.nan, math.nan)  # now it is
    assert judge.state[IN_A_ROW] == 1
