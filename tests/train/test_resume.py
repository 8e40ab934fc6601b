"""A run that is started again: it knows when it is done, and how it was begun.

What a kill, a signal, a fault or damage must not do to it is tested in tests/reliability.
"""

from __future__ import annotations

import shutil

from tests.reliability.runs import Outcome
from tests.train.conftest import Workspace


def test_a_finished_run_says_so_and_a_lost_model_is_written_again(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    expected = Outcome.of(workspace.path / "pretrain")
    again = workspace.run("pretrain")
    assert (again.returncode, "is complete: 24 steps" in again.stdout) == (0, True)
    (workspace.path / "pretrain" / "model.safetensors").unlink()
    assert workspace.run("pretrain").returncode == 0
    assert Outcome.of(workspace.path / "pretrain") == expected


def test_a_run_keeps_the_number_format_it_began_with(workspace: Workspace) -> None:
    assert workspace.run("pretrain", "--dtype=bfloat16").returncode == 0
    directory = workspace.path / "pretrain"
    expected = Outcome.of(directory)
    shutil.rmtree(directory / "checkpoints" / "step-00000024")
    (directory / "training_summary.json").unlink()
    again = workspace.run("pretrain", "--dtype=auto")
    assert again.returncode == 0, again.stderr
    assert "bfloat16" in again.stdout
    assert Outcome.of(directory) == expected
    refused = workspace.run("pretrain", "--dtype=float32")
    assert "dtype was bfloat16 and is float32" in refused.stderr
