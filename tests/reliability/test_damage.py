"""R3: damage in a checkpoint is seen before it is used, named, and the one before it goes on."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from config import UserError
from model.directory.storage import MANIFEST, DamagedDirectory, verify
from tests.reliability.launcher import run_warm
from tests.reliability.runs import LENGTH, Finished, Outcome, Run
from tests.reliability.trials import Trials
from train.checkpoint import find_checkpoint, list_checkpoints

pytestmark = pytest.mark.promise("R3")

Damage = Callable[[Path, Path, random.Random], str]
"""Damages a file of a checkpoint, given the same file of the one before it; says how."""


def flip_a_bit(file: Path, _: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place} flipped"


def zero_a_page(file: Path, _: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    first = draw.randrange(len(content)) // 4096 * 4096
    page = content[first : first + 4096]
    if not any(page):  # zeros by themselves are no damage
        return flip_a_bit(file, file, draw)
    content[first : first + 4096] = bytes(len(page))
    file.write_bytes(content)
    return f"zeros from byte {first} on"


def truncate(file: Path, _: Path, draw: random.Random) -> str:
    length = file.stat().st_size
    kept = draw.choice([0, length - 1, draw.randrange(length)])
    os.truncate(file, kept)
    return f"cut to {kept} of {length} bytes"


def remove(file: Path, _: Path, __: random.Random) -> str:
    file.unlink()
    return "removed"


def swap(file: Path, other: Path, draw: random.Random) -> str:
    """With another step's file of the same name; what is the same in both is no damage."""
    if file.read_bytes() == other.read_bytes():
        return flip_a_bit(file, other, draw)
    kept = file.read_bytes()
    shutil.copy(other, file)
    other.write_bytes(kept)
    return f"swapped with that of {other.parent.name}"


DAMAGES = (flip_a_bit, zero_a_page, truncate, remove, swap)


def names_of(directory: Path) -> list[str]:
    """The files of a checkpoint."""
    return sorted(path.name for path in directory.iterdir())


def test_every_damage_is_named_and_the_checkpoint_before_it_is_used(
    trials: Trials,
    finished: Finished,
    memory_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(memory_path / "run")
    shutil.copytree(finished.workspace.path / "pretrain", run.directory)
    newest, middle, oldest = list_checkpoints(run.checkpoints)
    kept = memory_path / "kept"
    shutil.copytree(run.checkpoints, kept)
    names = names_of(newest)
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=100, release=1000))):
        damage, name = DAMAGES[number % 5], names[number // 5 % len(names)]
        how = damage(newest / name, middle / name, draw)
        found = find_checkpoint(run.checkpoints, run.identity)
        said = capsys.readouterr().out
        before = oldest if "swapped" in how else middle
        named = MANIFEST if name == MANIFEST else f"{newest.name}{os.sep}{name}"
        passed = found == before and named in said.splitlines()[0] and newest.name in said
        trials.record(seed, passed, file=name, how=how, said=said.splitlines()[:1])
        shutil.rmtree(run.checkpoints)
        shutil.copytree(kept, run.checkpoints)
    trials.verdict()


def test_a_checkpoint_under_the_name_of_another_step_is_not_used(
    trials: Trials, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished.workspace.path / "pretrain", run.directory)
    newest, middle, oldest = list_checkpoints(run.checkpoints)
    aside = run.checkpoints / "aside"
    newest.rename(aside)
    middle.rename(newest)
    aside.rename(middle)
    found = find_checkpoint(run.checkpoints, run.identity)
    said = capsys.readouterr().out
    passed = found == oldest and said.count("state.json is that of step") == 2
    trials.record("-", passed, how="two checkpoints swapped whole", said=said.splitlines())
    trials.verdict()


def test_when_every_checkpoint_is_damaged_the_run_is_refused(
    trials: Trials, finished: Finished, memory_path: Path
) -> None:
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=5, release=50))):
        run = Run(memory_path / str(number))
        shutil.copytree(finished.workspace.path / "pretrain", run.directory)
        for path in list_checkpoints(run.checkpoints):
            flip_a_bit(path / draw.choice(names_of(path)), path, draw)
        try:
            find_checkpoint(run.checkpoints, run.identity)
            said = ""
        except UserError as error:
            said = str(error)
        passed = "every checkpoint is damaged" in said
        trials.record(seed, passed, how="a bit of each checkpoint flipped", said=said[:100])
    trials.verdict()


def test_a_damaged_model_directory_is_seen(
    trials: Trials, finished: Finished, memory_path: Path
) -> None:
    """That of a finished model, which chat, serving and conversion read."""
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=10, release=100))):
        directory = memory_path / str(number)
        # Nor what is for people alone, who may edit it: settings, the picture.
        ignored = shutil.ignore_patterns("checkpoints", "*.jsonl", "run.yaml", "*.png")
        shutil.copytree(finished.workspace.path / "sft", directory, ignore=ignored)
        name = draw.choice(names_of(directory))
        how = (flip_a_bit, zero_a_page, truncate)[number % 3](directory / name, directory, draw)
        try:
            verify(directory)
            said = ""
        except DamagedDirectory as damage:
            said = str(damage)
        trials.record(seed, name in said or MANIFEST in said, file=name, how=how, said=said[-90:])
        shutil.rmtree(directory)
    trials.verdict()


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    """With the real script: whatever is damaged, it ends as if nothing had been, and keeps the
    number of whole checkpoints that it was asked for."""
    command = finished.workspace.command("pretrain", *LENGTH)
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=5, release=50))):
        path = tmp_path / str(number)
        workspace = finished.copy(path, "pretrain")
        directory = workspace.path / "pretrain"
        (directory / "training_summary.json").unlink()
        newest, middle, *_ = list_checkpoints(directory / "checkpoints")
        name = draw.choice(names_of(newest))
        how = DAMAGES[number % 4](newest / name, middle / name, draw)
        code, output = run_warm(command, path)
        same = code == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
        went_back = f"continuing at step {int(middle.name[5:])}" in output
        said = [line for line in output.splitlines() if newest.name in line]
        trials.record(seed, same and went_back and bool(said), file=name, how=how, said=said[:1])
    trials.verdict()


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(finished.workspace.path / "pretrain", run.directory)
    run.save()
    newest = list_checkpoints(run.checkpoints)[0]
    newest = newest.rename(newest.with_name("step-00000099"))  # damaged: it is that of another step
    assert run.find() == 40
    run.save()
    names = [path.name for path in list_checkpoints(run.checkpoints)]
    passed = names == ["step-00000044", "step-00000040", "step-00000036"]
    trials.record("-", passed, how="a later checkpoint is damaged when a new one is saved")
    trials.verdict()
