"""The learning rate over a run."""

from __future__ import annotations

import pytest

from config import PretrainConfig
from train.optimizer import lr_scale


@pytest.mark.parametrize("kind", ["cosine", "linear", "warmup_stable_decay"])
def test_it_rises_to_the_peak_and_falls_to_the_minimum(kind: str) -> None:
    config = PretrainConfig(lr_scheduler_type=kind, warmup_ratio=0.1, min_lr_ratio=0.2)  # type: ignore[arg-type]
    scales = [lr_scale(step, 100, config) for step in range(100)]
    assert scales[0] == pytest.approx(1 / 11)
    assert scales[10] == 1.0 == max(scales)
    assert scales[-1] == pytest.approx(0.2)
    assert scales[:11] == sorted(scales[:11])
    assert scales[10:] == sorted(scales[10:], reverse=True)


def test_warmup_stable_decay_stays_at_the_peak_until_it_falls() -> None:
    config = PretrainConfig(lr_scheduler_type="warmup_stable_decay", decay_ratio=0.3)
    assert [lr_scale(step, 100, config) for step in (10, 40, 70)] == [1.0, 1.0, 1.0]
    assert lr_scale(71, 100, config) < 1.0


def test_cosine_is_halfway_down_in_the_middle() -> None:
    config = PretrainConfig(warmup_ratio=0.0, min_lr_ratio=0.0)
    assert lr_scale(50, 101, config) == pytest.approx(0.5)
