"""A model directory as the home of a run: is it new, can it be continued, is it finished?"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from config import UserError
from model.directory.adapter_files import ADAPTER_WEIGHTS
from model.directory.pretrained import WEIGHTS
from model.directory.storage import (
    SUMMARY,
    DamagedDirectory,
    clear_leftovers,
    lock_file,
    read_object,
    sync_directory,
    verify,
)
from train.checkpoint import STATE, Identity, list_checkpoints
from train.distributed import World
from train.machine import describe_machine, git_commit

LOCK = "run.lock"


def complete_summary(directory: Path, identity: Identity) -> dict[str, Any] | None:
    """The summary of a model directory that holds the finished, undamaged result of this very run,
    else None."""
    path = directory / SUMMARY
    if not path.exists():
        return None
    try:
        verify(directory)
        summary = read_object(path)
    except DamagedDirectory:
        return None
    finished = summary.get("complete") and not identity.differences(summary)
    return dict(summary) if finished else None


def saved_settings(model_dir: Path) -> dict[str, Any]:
    """The settings of the run that a model directory holds, finished or not; empty when there is
    none."""
    candidates = [(path, STATE) for path in list_checkpoints(model_dir / "checkpoints")]
    for directory, name in [*candidates, (model_dir, SUMMARY)]:
        with suppress(DamagedDirectory):  # missing or damaged; find_checkpoint names what is
            verify(directory, name)
            return dict(read_object(directory / name)["settings"])
    return {}


def refuse_other_model(directory: Path, identity: Identity, extend: bool) -> None:
    """Raises UserError when a new run would overwrite a model that it did not make, or when there
    is none to extend."""
    if list_checkpoints(directory / "checkpoints"):
        return  # find_checkpoint compares a run that can be continued
    if extend:
        raise UserError(
            f"--extend: there are no checkpoints in {directory}, so no run to extend; to start "
            "from the weights of a model, give --init_from its directory"
        )
    if not any((directory / name).exists() for name in (WEIGHTS, ADAPTER_WEIGHTS)):
        return
    try:
        verify(directory, SUMMARY)
        summary = read_object(directory / SUMMARY)
        differences = identity.differences(summary)
    except (DamagedDirectory, KeyError):
        differences = ["it was not made by this run"]
    if differences:
        raise UserError(
            f"{directory} holds another model: {'; '.join(differences)}. Name another model "
            f"directory (from its weights: --init_from {directory}) or move this one away"
        )


def take_output_dir(checkpoints: Path) -> IO[bytes]:
    """Makes a model directory, or clears it of what an interrupted save left there, and keeps other
    runs out while the file that is returned is open; the system closes that of a killed process.

    Raises:
        UserError: the directory cannot be made, or another run is writing there now.
    """
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        lock = (checkpoints / LOCK).open("ab")
        for directory in (checkpoints.parent, checkpoints.resolve().parent.parent):
            sync_directory(directory)  # else a power cut may take a checkpoint's own folder away
    except OSError as error:
        raise UserError(
            f"{checkpoints.parent}: cannot be made ({error.strerror}); name another model directory"
        ) from error
    if not lock_file(lock):
        raise UserError(
            f"{checkpoints.parent}: another run is writing there now; wait for its end, or stop it "
            "(it saves), and run the same command again"
        )
    clear_leftovers(checkpoints.parent)
    return lock


def origin(world: World) -> dict[str, Any]:
    """What a summary says of where a run was made: command, code and machine."""
    return {
        "command": sys.argv,
        "git_commit": git_commit(),
        "machine": describe_machine(world.device),
        "processes": world.size,
    }
