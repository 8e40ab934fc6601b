"""Where metrics go beside metrics.jsonl: TensorBoard and Weights & Biases, each only when asked
for.

A writer gets every line of metrics.jsonl with its number; at a start first those that the file
holds already, so that after a kill, or for a run that began without it, its curves are whole and
nothing in them is double. Neither package is imported before it is needed, and no failure of theirs
stops a training.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from config import UserError
from model.directory.storage import explained, replace_file, text_writer

MODULES = {"tensorboard": "torch.utils.tensorboard"}
"""Where a package's writer is, if not in the package itself."""
MACHINE = ("tokens_per_second", "share_of_peak", "memory_gb", "seconds", "cpu_seconds")
"""Fields that measure the machine, not the model."""


class MetricsWriter(Protocol):
    """Takes the lines of metrics.jsonl; may raise anything."""

    def put(self, number: int, fields: Mapping[str, Any]) -> None:
        """Takes line `number` (from 0) of metrics.jsonl; they come in order, from 0 on."""

    def close(self) -> None:
        """Sends what is held back; the run has ended, or stops here."""


def make_writers(
    names: Sequence[str], directory: Path, run_name: str, settings: Mapping[str, Any]
) -> dict[str, MetricsWriter]:
    """The writers of a run by name; one that cannot begin (no network, no login) is left out.

    Args:
        names: of tensorboard and wandb.
        directory: the model directory; both keep their files in it.
        run_name: what the run is called on the screen.
        settings: what decides the run, shown beside its curves.

    Raises:
        UserError: a package is missing.
    """
    writers: dict[str, MetricsWriter] = {}
    for name in dict.fromkeys(names):
        module = required(name)
        make = TensorBoard if name == "tensorboard" else WeightsAndBiases
        with switched_off_on_failure(name, writers):
            writers[name] = make(module, directory, run_name, settings)
    return writers


def required(name: str) -> Any:
    """The module of an optional package.

    Raises:
        UserError: it is not installed; the sentence says what to do.
    """
    try:
        return importlib.import_module(MODULES.get(name, name))
    except ImportError as error:
        raise UserError(
            f"--log_to {name}: the package cannot be imported ({error}); run `pip install {name}`, "
            "or leave it out"
        ) from error


@contextmanager
def switched_off_on_failure(name: str, writers: dict[str, MetricsWriter]) -> Iterator[None]:
    """Around what a writer does: whatever it raises, it warns once, and the training goes on
    without the writer."""
    try:
        yield
    except Exception as error:
        writers.pop(name, None)
        reason = " ".join(str(error).split()) or type(error).__name__
        print(
            f"warning: {name} failed ({reason}) and is switched off until the next start, which "
            "sends it all lines of metrics.jsonl",
            file=sys.stderr,
        )


class TensorBoard:
    """Event files in a model directory, written again by each start of the run."""

    def __init__(
        self, board: Any, directory: Path, run_name: str, settings: Mapping[str, Any]
    ) -> None:
        """`board` is the module torch.utils.tensorboard.

        The events of earlier starts are removed and a new file is begun, which also makes a
        TensorBoard that is running forget them.
        """
        place = directory / "tensorboard"
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        self.began = time.time()
        self.events = board.SummaryWriter(str(place), purge_step=0, flush_secs=15)
        described = json.dumps(settings, indent=2, default=str).replace("\n", "\n    ")
        self.events.add_text("run", f"{run_name}\n\n    {described}", 0, walltime=self.began)

    def put(self, number: int, fields: Mapping[str, Any]) -> None:
        """See MetricsWriter. The clock of TensorBoard shows seconds of training."""
        step, at = fields["step"], self.began + fields.get("seconds", 0.0)
        for tag, value in scalars(fields):
            self.events.add_scalar(tag, value, step, walltime=at)
        for count, sample in enumerate(fields.get("samples", []), start=1):
            text = f"**{sample['prompt']}**\n\n{sample['text']}"
            self.events.add_text(f"sample_{count}", text, step, walltime=at)

    def close(self) -> None:
        """See MetricsWriter."""
        self.events.close()


class WeightsAndBiases:
    """A run of wandb, the same for all starts of a model directory."""

    def __init__(
        self, wandb: Any, directory: Path, run_name: str, settings: Mapping[str, Any]
    ) -> None:
        """`wandb` is the module. wandb's own step is the line's number in metrics.jsonl, of which
        the server knows how many it has; the curves stand against the step of the training."""
        self.wandb = wandb
        self.run = wandb.init(
            project="etude",
            dir=str(directory),
            id=run_id(directory),
            name=run_name,
            config=dict(settings),
            resume="allow",
            settings=wandb.Settings(console="off"),  # the progress bar stays a progress bar
        )
        self.run.define_metric("*", step_metric="step")

    def put(self, number: int, fields: Mapping[str, Any]) -> None:
        """See MetricsWriter."""
        if number < self.run.starting_step:
            return
        values: dict[str, Any] = {"step": fields["step"], "tokens": fields.get("tokens")}
        values.update(scalars(fields))
        if samples := fields.get("samples"):
            rows = [[sample["prompt"], sample["text"]] for sample in samples]
            values["samples"] = self.wandb.Table(columns=["prompt", "text"], data=rows)
        self.run.log(values, step=number)

    def close(self) -> None:
        """See MetricsWriter."""
        self.run.finish()


def run_id(directory: Path) -> str:
    """The id of a model directory's run, made once and kept in its wandb folder."""
    path = directory / "wandb" / "run_id"
    if not path.is_file():
        with explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text_writer(uuid.uuid4().hex[:12] + "\n"))
    return path.read_text(encoding="utf-8").strip()


def scalars(fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line under names that both programs sort into groups; what is null (of a
    step that was not finite) or no number is left out."""
    for name, value in fields.items():
        if name in ("step", "tokens") or not isinstance(value, int | float) or value is True:
            continue
        group = "machine" if name in MACHINE else "train"
        group = "validation" if name.startswith(("bits_per_byte", "validation_")) else group
        yield f"{group}/{name.removeprefix('validation_')}", value
