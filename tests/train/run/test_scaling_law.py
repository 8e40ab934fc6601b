"""The scaling law: a planted one is found again, and repeated data are worth less."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from train.run.auto_shape import LAW, ScalingLaw, Trial, fit, fresh_tokens, left_out, residual

PLANTED = ScalingLaw(irreducible=0.8, size=0.5, size_exponent=0.4, data=0.9, data_exponent=0.55)


def trials(law: ScalingLaw, noise: float = 0.0) -> list[Trial]:
    """Four sizes by three lengths that a law gives."""
    draw = np.random.default_rng(1)
    return [
        Trial(size, tokens, law.loss(size, tokens) * (1 + noise * draw.standard_normal()))
        for size in (1_000_000, 2_500_000, 6_000_000, 9_000_000)
        for tokens in (600_000, 1_500_000, 4_000_000)
    ]


def test_a_planted_law_is_found_again() -> None:
    found = fit(trials(PLANTED))
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(PLANTED), rel=1e-6)
    assert residual(found, trials(PLANTED)) < 1e-9


def test_with_noise_the_law_still_tells_losses_that_it_was_not_shown() -> None:
    found = fit(trials(PLANTED, noise=0.003))
    assert found.loss(4e6, 2.5e6) == pytest.approx(PLANTED.loss(4e6, 2.5e6), rel=0.01)
    assert 0.0005 < residual(found, trials(PLANTED, noise=0.003)) < 0.006


def test_losses_that_rise_with_size_and_tokens_are_refused() -> None:
    rising = [dataclasses.replace(trial, loss=1 / trial.loss) for trial in trials(PLANTED)]
    with pytest.raises(ValueError, match="do not fall"):
        fit(rising)


def test_each_trial_is_left_out_once() -> None:
    planted = trials(PLANTED)
    laws = left_out(planted)
    assert len(laws) == len(planted)
    assert laws[0].loss(1e6, 6e5) == pytest.approx(planted[0].loss, rel=1e-4)


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="4 trials"):
        fit(trials(PLANTED)[:4])


def test_fresh_tokens_are_worth_themselves_and_repeated_ones_less() -> None:
    assert fresh_tokens(5.0, 10.0) == 5.0
    assert fresh_tokens(10.0, 10.0) == 10.0
    assert fresh_tokens(40.0, 10.0) == pytest.approx(10 + 10 * 15.39 * (1 - np.exp(-3 / 15.39)))
    assert fresh_tokens(1e9, 10.0) == pytest.approx(10 * 16.39)  # there is an end to it


def test_the_law_in_use_falls_with_size_and_with_tokens() -> None:
    assert LAW.loss(2e6, 1e6) < LAW.loss(1e6, 1e6)
    assert LAW.loss(1e6, 2e6) < LAW.loss(1e6, 1e6)
    assert LAW.loss(1e12, 1e15) > 0
