"""A run that is started again: it knows when it is done, and how it was begun.

What a kill, a signal, a fault or damage must not do to it is tested in tests/reliability.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.reliability.runs import Outcome
from tests.train.conftest import Workspace
from train.run.logs import LOSS_LOG, METRICS, LogFiles


def test_a_finished_run_says_so_and_a_lost_model_is_written_again(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    expected = Outcome.of(workspace.path / "pretrain")
    again = workspace.run("pretrain")
    assert (again.returncode, "is complete: 24 steps" in again.stdout) == (0, True)
    (workspace.path / "pretrain" / "model.safetensors").unlink()
    assert workspace.run("pretrain").returncode == 0
    assert Outcome.of(workspace.path / "pretrain") == expected


@pytest.mark.full
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


def test_a_log_is_kept_whatever_its_samples_say(tmp_path: Path) -> None:
    """Unicode has line ends of its own, and a young model writes them."""
    log = LogFiles(tmp_path, 0)
    log.write({"step": 1, "loss": 2.0})
    log.write({"step": 1, "samples": [{"text": "one\x85two\u2028three"}]})
    log.write({"step": 2, "loss": 1.0})
    log.close()
    before = (tmp_path / LOSS_LOG).read_bytes()
    LogFiles(tmp_path, 2).close()
    assert (tmp_path / LOSS_LOG).read_bytes() == before


def test_a_damaged_line_in_the_middle_of_a_log_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [b'{"step": 1, "loss": 3.0}', b'{"step": 2, "l\xffss": ', b'{"step": 3, "loss": 1.0}']
    (tmp_path / LOSS_LOG).write_bytes(b"\n".join(lines) + b"\n" + bytes(50))
    LogFiles(tmp_path, 3).close()
    assert (tmp_path / LOSS_LOG).read_bytes() == lines[0] + b"\n" + lines[2] + b"\n"
    assert f"{LOSS_LOG}:2: the line is damaged" in capsys.readouterr().out


def written(directory: Path, steps: list[int]) -> None:
    log = LogFiles(directory, 0)
    for step in steps:
        log.write({"step": step, "loss": 1.0})
    log.close()


@pytest.mark.parametrize("name", [LOSS_LOG, METRICS])
def test_lines_that_someone_took_out_of_a_log_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    written(tmp_path, list(range(1, 13)))
    LogFiles(tmp_path, 12).close()
    assert capsys.readouterr().out == ""
    lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
    (tmp_path / name).write_bytes(b"".join([*lines[:2], *lines[3:6], *lines[8:], lines[0]]))
    LogFiles(tmp_path, 12).close()
    said = capsys.readouterr().out
    assert said.startswith(
        f"{tmp_path / name}: steps without a line: 3, 7-8; steps with several: 1"
    )
    assert len(said.splitlines()) == 1
    (tmp_path / name).unlink()
    LogFiles(tmp_path, 12).close()
    assert f"{tmp_path / name}: steps without a line: 1-12." in capsys.readouterr().out
