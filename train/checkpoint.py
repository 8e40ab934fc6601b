"""Checkpoints: a model directory plus all that is needed to go on as if nothing had happened.

`<model dir>/checkpoints/step-00000200/` holds the files of a model directory (so a checkpoint can
be chatted with) and `optimizer.safetensors` (optimizer and random state) and `state.json` (step,
settings, fingerprints). It is written aside, flushed, sealed with checksums and renamed; the newest
one whose checksums hold is found at start.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from config import UserError
from model.directory.pretrained import load_weights
from model.directory.storage import (
    SUMMARY,
    DamagedDirectory,
    Writer,
    clear_leftovers,
    json_writer,
    read_object,
    read_object_if_there,
    remove_directory,
    verify,
    write_directory,
)
from model.directory.tensors import save_tensors
from model.transformer import Etude
from train.data.batches import BatchSource
from train.distributed import World, full_tensor, placed_like
from train.step import StepGuard

FORMAT = 2
"""Raised whenever the files' content changes meaning."""
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
GUARD = "guard.0.state"
SCHEDULE_SETTINGS = frozenset(
    {
        "max_steps",
        "num_train_epochs",
        "max_minutes",
        "learning_rate",
        "muon_learning_rate",
        "lr_scheduler_type",
        "warmup_ratio",
        "decay_ratio",
        "min_lr_ratio",
    }
)
"""Settings of how far a run goes and how fast: --extend may change them."""
FREE_SETTINGS = {
    "extend",
    "init_from",  # what it holds is a fingerprint
    "teacher_dir",  # as of init_from
    "gradient_accumulation_steps",
    "save_steps",
    "save_total_limit",
    "sample_tokens",
    "log_to",
    "picture",
    "compile",
    "compile_whole",
    "gradient_checkpointing",
    "device",
    "parallel",
    "dry_run",
    "find_lr",
    "eval_steps",
    "validation_bytes",
    "validation_files",  # what they hold is in the fingerprint of the data
    "validation_prompts",
    "watch_files",
    "watch_records",
    "reward_file",  # what it holds is a fingerprint
}
"""Settings that may change between two starts of a run: they decide speed and safety, not what is
learnt."""


@dataclass(frozen=True)
class Identity:
    """What a run is: a checkpoint only continues a run of the same identity."""

    settings: Mapping[str, Any]
    """Every setting that decides the result."""
    fingerprints: Mapping[str, str]
    """Of the data, the tokenizer and, in fine-tuning, the model it starts from."""

    def differences(
        self, saved: Mapping[str, Any], apart_from: frozenset[str] = frozenset()
    ) -> list[str]:
        """What differs from a saved identity apart from some settings, a phrase each."""
        found = []
        before, now = saved["settings"], json.loads(json.dumps(dict(self.settings)))
        for name in sorted({*before, *now} - FREE_SETTINGS - apart_from):
            if before.get(name, now.get(name)) != now.get(name):  # else it is newer than the run
                found.append(f"{name} was {before.get(name)} and is {now.get(name)}")
        for name in sorted({*self.fingerprints, *saved["fingerprints"]}):
            if saved["fingerprints"].get(name) != self.fingerprints.get(name):
                found.append(f"the {name} is another")
        return found


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0
    """Optimizer steps done."""
    seconds: float = 0.0
    """Time spent on them, over all starts of the run."""
    first_step: int = 0
    """Where the schedule began: 0, or where a run that was extended had been complete."""
    first_seconds: float = 0.0
    """The time that had been spent by then."""


def save_checkpoint(
    directory: Path,
    progress: Progress,
    model_files: Mapping[str, Writer],
    tensors: Mapping[str, Tensor],
    identity: Identity,
    save_total_limit: int,
    best: int | None = None,
) -> None:
    """Writes the checkpoint of a step, and removes older ones.

    Args:
        directory: the run's checkpoints.
        progress: the step, and the time.
        model_files: what `model.directory.pretrained.model_files` returns.
        tensors: everything else: `optimizer_tensors`, `random_state`, the guard's state.
        identity: what a run must agree with to continue from here.
        save_total_limit: number of newest checkpoints to keep.
        best: a step whose checkpoint is kept beside them.
    """
    state = {"format": FORMAT, **dataclasses.asdict(progress), **dataclasses.asdict(identity)}
    write_directory(
        directory / f"step-{progress.step:08d}",
        {
            **model_files,
            OPTIMIZER: lambda path: save_tensors(tensors, path),
            STATE: json_writer(state),
        },
    )
    remove_checkpoints(directory, progress.step, save_total_limit, best)


def remove_checkpoints(directory: Path, step: int, save_total_limit: int, best: int | None) -> None:
    """Removes all checkpoints but the newest up to a step and that of the step `best`."""
    found = list_checkpoints(directory)
    # Later steps are damaged: else the run would have gone on from there. They must not take the
    # place of whole ones.
    later = [path for path in found if step_of(path) > step]
    for path in later + found[len(later) :][save_total_limit:]:
        if path in later or best is None or step_of(path) != best:
            remove_directory(path)


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints of a run, newest first; leftovers of an interrupted save are not among
    them."""
    return sorted((p for p in directory.glob("step-*") if p.name[5:].isdigit()), reverse=True)


def find_checkpoint(directory: Path, identity: Identity, extend: bool = False) -> Path | None:
    """The newest undamaged checkpoint of a run, or None when there are no checkpoints.

    Damaged ones are named and passed over.

    Args:
        directory: the run's checkpoints.
        identity: what the run is.
        extend: the last checkpoint of a run that is complete may have another schedule.

    Raises:
        UserError: all are damaged, or the newest belongs to a run with other settings or data.
    """
    clear_leftovers(directory)
    found = list_checkpoints(directory)
    for path in found:
        try:
            verify(path)
            check_place(path)
        except DamagedDirectory as damage:
            print(f"{damage}; going back to the checkpoint before it")
            continue
        check_identity(path, identity, extend)
        return path
    if found:
        raise UserError(
            f"{directory}: every checkpoint is damaged; restore one, or move the directory away to "
            "start over"
        )
    return None


def step_of(checkpoint: Path | None) -> int:
    """The step of a checkpoint, 0 without one."""
    return int(checkpoint.name[5:]) if checkpoint else 0


def refuse_broken_weights(weights: Mapping[str, Tensor], step: int) -> None:
    """Raises UserError when a weight is not finite, so that none ever reaches the disk."""
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"step {step}: the weight {name} is not finite, so nothing was saved; the "
                "checkpoint before it is good. Check the machine's memory, and run the same "
                "command again"
            )


def check_place(path: Path) -> None:
    """Raises DamagedDirectory when a checkpoint is that of another step under a wrong name."""
    step = read_object(path / STATE).get("step")
    if step != step_of(path):
        raise DamagedDirectory(f"{path / STATE} is that of step {step}")


def check_identity(path: Path, identity: Identity, extend: bool = False) -> None:
    """Raises UserError when a checkpoint belongs to another run, naming every difference."""
    state = read_object(path / STATE)
    if state["format"] != FORMAT:
        raise UserError(
            f"{path}: written in format {state['format']}, but this Etude reads format {FORMAT}; "
            "use the Etude that wrote it"
        )
    differences = identity.differences(state)
    run, complete = path.parent.parent, is_last(path)
    extendable = complete and not identity.differences(state, apart_from=SCHEDULE_SETTINGS)
    if not differences or (extend and extendable):
        return
    way = "; to go on after its end, add --extend" if extendable else ""
    if extend and not complete:
        way = "; --extend is for a run that is complete, and this one is not yet"
    raise UserError(
        f"{run} holds a run that differs: {'; '.join(differences)}. To continue it, give the same "
        f"settings and files{way}; to start over, name another model directory (from its weights: "
        f"--init_from {run}) or move this one away"
    )


def is_last(path: Path) -> bool:
    """Whether a checkpoint is the last one of a run that is complete."""
    summary = read_object_if_there(path.parent.parent / SUMMARY)
    return bool(summary.get("complete")) and summary.get("step") == step_of(path)


def restore(
    path: Path,
    model: Etude,
    optimizers: Mapping[str, torch.optim.Optimizer],
    guard: StepGuard,
    batches: BatchSource | None = None,
) -> Progress:
    """Puts a verified checkpoint's state into model, optimizers, guard, random generators and what
    makes the batches.

    Raises:
        UserError: a file is not what it should be, though its checksum holds.
    """
    load_weights(model, path, placed_like)
    try:
        tensors = load_file(path / OPTIMIZER)
    except SafetensorError as error:
        raise UserError(
            f"{path / OPTIMIZER}: not a readable safetensors file ({error}); remove {path.name} to "
            "go on from the checkpoint before it"
        ) from error
    set_optimizer_tensors(optimizers, tensors)
    set_random_state(tensors)
    guard.state.copy_(tensors[GUARD])
    state = read_object(path / STATE)
    known = [item.name for item in dataclasses.fields(Progress) if item.name in state]
    progress = Progress(**{name: state[name] for name in known})
    if batches is not None:
        batches.restore(tensors, progress.step)
    return progress


def optimizer_tensors(
    optimizers: Mapping[str, torch.optim.Optimizer], world: World | None = None
) -> dict[str, Tensor]:
    """The state of all optimizers, keyed like adamw.3.exp_avg: optimizer, parameter number,
    field.

    Tensors are whole and on the CPU, so the number of processes that saved them does not matter.
    All processes must call it; with a world, only the main one keeps the tensors.
    """
    keep = world is None or world.is_main
    tensors = {}
    for name, optimizer in optimizers.items():
        for number, fields in optimizer.state_dict()["state"].items():
            for field, value in fields.items():
                whole = full_tensor(torch.as_tensor(value))
                if keep:
                    tensors[f"{name}.{number}.{field}"] = whole.cpu().contiguous()
    return tensors


def set_optimizer_tensors(
    optimizers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """The reverse of `optimizer_tensors`; where a parameter is in parts, a process takes its
    own."""
    for name, optimizer in optimizers.items():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            owner, number, field = key.split(".", 2)
            if owner == name:
                parameter = parameters[int(number)]
                like = parameter if tensor.shape == parameter.shape else tensor
                state.setdefault(int(number), {})[field] = placed_like(tensor, like)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> dict[str, Tensor]:
    """The state of torch's generators."""
    state = {"random.0.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["random.0.cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `random_state`."""
    torch.set_rng_state(tensors["random.0.cpu"])
    if torch.cuda.is_available() and "random.0.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.0.cuda"])
