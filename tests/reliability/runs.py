"""Runs that are disturbed, and the finished ones that they are compared with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from model.directory.config_json import load_model_config
from model.directory.pretrained import WEIGHTS, model_files
from model.directory.storage import sha256_of, update_directory
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from train.checkpoint import OPTIMIZER, Identity, Progress, find_checkpoint, save_checkpoint
from train.run.directory import take_output_dir

LENGTH = ("--max_steps=40", "--save_steps=4", "--eval_steps=8", "--save_total_limit=3")
LAST, NEXT, KEEP = 40, 44, 3
"""The last step of such a run, one that a test saves after it, and the number of checkpoints."""


@dataclass(frozen=True)
class Run:
    """A run's directory, and how it saves its next checkpoint and its model."""

    directory: Path

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints lie."""
        return self.directory / "checkpoints"

    @property
    def identity(self) -> Identity:
        """What it was begun with."""
        state = json.loads((self.directory / "training_summary.json").read_text(encoding="utf-8"))
        return Identity(state["settings"], state["fingerprints"])

    def weights(self) -> dict[str, torch.Tensor]:
        """Those of the finished model, changed a little."""
        weights = load_file(self.directory / WEIGHTS)
        return {name: tensor + 1 for name, tensor in weights.items()}

    def save(self) -> None:
        """Saves the next checkpoint, as the trainer does."""
        last = self.checkpoints / f"step-{LAST:08d}"
        files = model_files(
            load_model_config(last), self.weights(), EtudeTokenizer.load(last), {}, is_chat=False
        )
        tensors = load_file(last / OPTIMIZER)
        progress = Progress(NEXT, 1.0)
        save_checkpoint(self.checkpoints, progress, files, tensors, self.identity, KEEP)

    def save_model(self) -> None:
        """Saves the finished model, as the trainer does."""
        tokenizer = EtudeTokenizer.load(self.directory)
        config = load_model_config(self.directory)
        files = model_files(
            config, self.weights(), tokenizer, dataclasses.asdict(self.identity), False
        )
        update_directory(self.directory, files)

    def find(self) -> int:
        """The step that the next start goes on from."""
        take_output_dir(self.checkpoints).close()
        found = find_checkpoint(self.checkpoints, self.identity)
        assert found is not None
        return int(found.name[5:])


@dataclass(frozen=True)
class Outcome:
    """What must be the same: the loss log, byte for byte, and the final weights."""

    log: bytes
    weights: str

    @classmethod
    def of(cls, directory: Path) -> Outcome:
        """The outcome of a finished run."""
        weights = sha256_of(directory / "model.safetensors")
        return cls((directory / "loss_log.jsonl").read_bytes(), weights)


@dataclass(frozen=True)
class Finished:
    """A workspace in which both stages have run to their ends, undisturbed."""

    workspace: Workspace
    outcomes: dict[str, Outcome]

    def copy(self, path: Path, *directories: str) -> Workspace:
        """A folder (made where it is missing) with the same data and some model directories."""
        path.mkdir(exist_ok=True)
        for name in ("texts.jsonl", "chats.jsonl"):
            shutil.copy(self.workspace.path / name, path / name)
        for name in ("tokenizer", "cache", *directories):
            shutil.copytree(self.workspace.path / name, path / name)
        return Workspace(path)


def leftovers(directory: Path) -> list[str]:
    """What an interrupted save left in a model directory."""
    found = [*directory.rglob("*.tmp"), *directory.rglob(".*")]
    return sorted(path.relative_to(directory).as_posix() for path in found)
