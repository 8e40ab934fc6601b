"""--preset auto: more time gives a larger model, and a run keeps the one it began with."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest
import torch

from cli import parse_config
from config import LADDER, PRESETS, SHAPE, UserError, rung
from model.transformer import Etude
from tests.train.conftest import SHAPE as TINY
from tests.train.conftest import Workspace
from train.data.batches import TokenRows
from train.distributed import World
from train.run import auto_shape
from train.run.auto_shape import measured_shape, sizes

OPERATIONS = 1e11
"""A second's, of the machine that is made up here."""


class Rows:
    """So many rows, and nothing else."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@pytest.fixture
def made_up_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(model: Etude, rows: TokenRows, config: object, device: torch.device) -> float:
        return 6 * model.num_parameters() / OPERATIONS

    monkeypatch.setattr(auto_shape, "seconds_per_token", cost)


def chosen(minutes: float, rows: int = 10_000_000) -> int:
    """The place in the ladder that so many minutes lead to."""
    config = dataclasses.replace(PRESETS["auto"]().pretrain, max_minutes=minutes, dtype="float32")
    found = measured_shape(PRESETS["auto"]().model, config, Rows(rows), World())  # type: ignore[arg-type]
    return [sizes(rung(*place)) for place in LADDER].index(found)


@pytest.mark.usefixtures("made_up_machine")
def test_more_time_gives_a_larger_model(capsys: pytest.CaptureFixture[str]) -> None:
    places = [chosen(minutes) for minutes in (0.5, 10, 600)]
    assert places == sorted(places)
    assert places[0] < places[2]
    assert capsys.readouterr().out.count("preset auto:") == 3


@pytest.mark.usefixtures("made_up_machine")
def test_few_data_give_a_larger_model_too_for_more_passes_hardly_help() -> None:
    assert chosen(60, rows=200) > chosen(60)


def test_every_rung_is_a_model_that_can_be_built_and_larger_than_the_one_below() -> None:
    shapes = [rung(*place) for place in LADDER]
    assert not any(shape.problems() for shape in shapes)
    counts = [Etude(shape).num_parameters() for shape in shapes]
    assert counts == sorted(counts)
    assert counts[0] < 2e6
    assert 8e7 < counts[-1] < 1.2e8


def test_nano_is_the_second_rung() -> None:
    assert rung(*LADDER[1]) == PRESETS["nano"]().model


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--hidden_size=256"], "preset auto chooses hidden_size itself"),
        (["--max_minutes=None"], "say how long with --max_minutes"),
    ],
)
def test_what_does_not_go_with_auto_is_refused(flags: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse_config(["model", "pretrain", "paths"], "", ["--preset=auto", *flags])


@pytest.mark.full
def test_a_run_says_what_was_chosen_and_keeps_it(workspace: Workspace) -> None:
    first = run_auto(workspace)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("preset auto:") == 1
    directory = workspace.path / "pretrain"
    saved = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert {name: saved[name] for name in SHAPE} in [sizes(rung(*place)) for place in LADDER]
    again = run_auto(workspace)
    assert "pretrain is complete" in again.stdout, again.stderr
    assert "preset auto:" not in again.stdout  # nothing is measured a second time


def run_auto(workspace: Workspace) -> subprocess.CompletedProcess[str]:
    """Pretrains with --preset auto for three seconds."""
    flags = ("--max_minutes=0.05", "--max_steps=1000000", "--batch_size=2", "--save_steps=1000")
    command = [word for word in workspace.command("pretrain", *flags) if word not in TINY]
    command[command.index("--preset=nano")] = "--preset=auto"
    return subprocess.run(
        command, cwd=workspace.path, capture_output=True, encoding="utf-8", check=False
    )
