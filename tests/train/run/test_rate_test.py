"""The learning-rate range test."""

from __future__ import annotations

import pytest

from tests.train.conftest import Workspace
from train.run.rate_test import steepest


def test_the_steepest_fall_is_found_and_a_rise_has_none() -> None:
    assert steepest([5.0, 5.0, 5.0, 5.0, 4.9, 4.0, 3.0, 2.9, 2.9, 2.9, 2.9, 2.9]) == 4
    assert steepest([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]) is None
    assert steepest([1.0, 0.5]) is None


@pytest.mark.full
def test_a_rate_is_named_and_nothing_is_written(workspace: Workspace) -> None:
    done = workspace.run("pretrain", "--find_lr", "--learning_rate=3e-3")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("the loss falls fastest at --learning_rate ")
    rate = float(last.split("--learning_rate ")[1].split()[0])
    assert 3e-4 < rate < 0.3
    assert not (workspace.path / "pretrain").exists()
    assert workspace.run("pretrain").returncode == 0
    again = workspace.run("pretrain", "--find_lr")  # a finished run is no hindrance
    assert "falls fastest" in again.stdout
