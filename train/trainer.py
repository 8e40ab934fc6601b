"""The one training loop. A stage brings a model, rows, validation and settings, and nothing else.

    restore the newest checkpoint -> [evaluate] -> step -> log -> [save] -> ... -> write the model
    directory

A save comes before the evaluation of the same step, so nothing an evaluation does can lose work.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import torch
from tqdm import tqdm

from config import UserError
from model.pretrained import model_files, save_pretrained, weights_of
from model.transformer import Etude
from train.batches import RowOrder, total_steps
from train.checkpoint import Identity, find_checkpoint, restore, save_checkpoint
from train.compilation import CompiledLoss, LossFunction, use_deterministic_kernels
from train.evaluation import bits_per_byte
from train.metrics import RunLog
from train.objective import summed_loss
from train.optimizer import build_optimizers, set_learning_rates
from train.packing import IGNORED
from train.plan import announcement, duration
from train.provenance import describe_machine, git_commit
from train.run_directory import complete_summary, make_output_dir, refuse_other_model
from train.schedule import lr_scale
from train.signals import StopRequest
from train.stage import Stage, with_dtype


def train(stage: Stage, device: torch.device) -> int:
    """Runs a stage to its end, or to the next signal.

    Returns:
        The exit code: 0 when the run is complete, 128 + the signal's number when it was stopped
        (and saved).

    Raises:
        UserError: the directory holds another run, the disk is full, or the loss is not finite.
    """
    stage = with_dtype(stage, device)
    identity = stage.identity
    if summary := complete_summary(stage.output_dir, identity):
        print(
            f"{stage.name} is complete: {summary['step']} steps, "
            f"{summary['bits_per_byte']['all']:.3f} bits per byte; "
            f"the model is in {stage.output_dir}"
        )
        return 0
    refuse_other_model(stage.output_dir, identity)
    use_deterministic_kernels(device)
    with StopRequest() as stop:
        return Run(stage, device, identity, stop).go()


class Run:
    """One start of a stage's training: what the loop holds while it runs."""

    def __init__(
        self, stage: Stage, device: torch.device, identity: Identity, stop: StopRequest
    ) -> None:
        self.stage, self.device, self.identity, self.stop = stage, device, identity, stop
        self.config = stage.config
        self.checkpoints = stage.output_dir / "checkpoints"
        make_output_dir(self.checkpoints)
        self.model = stage.model.to(device)
        self.dtype: torch.dtype = getattr(torch, self.config.dtype)
        self.optimizers = build_optimizers(self.model, self.config, self.dtype)
        self.order = RowOrder(len(stage.rows), self.config.batch_size, self.config.seed)
        self.total = total_steps(len(stage.rows), self.config)
        checkpoint = find_checkpoint(self.checkpoints, identity)
        self.step = restore(checkpoint, self.model, self.optimizers) if checkpoint else 0
        self.log = RunLog(stage.output_dir, self.step)
        self.loss_fn: LossFunction = summed_loss
        self.bits_per_byte: dict[str, float] = {}
        self.began = time.perf_counter()

    def go(self) -> int:
        """Trains until the end or a signal; see `train`."""
        print(announcement(self.stage, self.device, self.step, self.total))
        if self.config.compile:
            self.loss_fn = CompiledLoss(summed_loss)
        first = self.step
        with tqdm(
            total=self.total, initial=self.step, desc=self.stage.name, unit="step", disable=None
        ) as progress:
            stopped = self.run_steps(progress)
            if not stopped:
                self.evaluate(progress)
        self.log.close()
        if stopped:
            return self.leave()
        self.write_model(self.seconds, self.step - first)
        return 0

    def run_steps(self, progress: tqdm[Any]) -> bool:
        """Trains, evaluates and saves until the last step is saved, or until a signal; whether it
        was a signal."""
        while self.step < self.total:
            if self.step and self.step % self.config.eval_steps == 0:
                self.evaluate(progress)
            self.train_step(progress)
            stopped = self.stop.exit_code is not None
            if stopped or self.step % self.config.save_steps == 0 or self.step == self.total:
                self.save()
            if stopped:
                return True
        return False

    def train_step(self, progress: tqdm[Any]) -> None:
        """One optimizer step over the rows of this step, and its line in the logs."""
        began = time.perf_counter()
        scale = lr_scale(self.step, self.total, self.config)
        set_learning_rates(self.optimizers, scale)
        rows = self.order.rows_of(self.step)
        loss, trained = self.accumulate_gradient(rows)
        norm = clip_gradient(self.model, self.config.max_grad_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            self.refuse_non_finite(loss, norm, rows)
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        speed = len(rows) * self.config.max_length / (time.perf_counter() - began)
        exact = {
            "step": self.step,
            "tokens": self.tokens_seen,
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": self.config.learning_rate * scale,
            "trained_tokens": trained,
        }
        self.log.write(exact, {"tokens_per_second": round(speed), "seconds": self.seconds})
        progress.update()
        progress.set_postfix(self.postfix(loss, speed), refresh=False)

    def accumulate_gradient(self, rows: list[int]) -> tuple[float, int]:
        """Adds up the gradient of a step's rows, micro-batch by micro-batch.

        Returns:
            The mean loss over the step's trained tokens, in nats, and their number.
        """
        count = len(rows) // self.config.gradient_accumulation_steps
        batches = [
            self.stage.rows.batch(rows[first : first + count])
            for first in range(0, len(rows), count)
        ]
        trained = sum(int((batch.labels != IGNORED).sum()) for batch in batches)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            batch = batch.to(self.device)
            loss = self.loss_fn(
                self.model, batch.input_ids, batch.labels, batch.document_ids, self.dtype
            ) / max(1, trained)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return float(total), trained

    def refuse_non_finite(self, loss: float, norm: float, rows: list[int]) -> None:
        """Stops the run before a value that is not finite reaches a weight."""
        raise UserError(
            f"step {self.step + 1}: the loss is {loss} and the gradient norm {norm}, so the run "
            f"stops here; the rows were {rows[:8]}...; the last good checkpoint is in "
            f"{self.checkpoints}. Lower --learning_rate (and --muon_learning_rate) and begin anew "
            "in another model directory"
        )

    def evaluate(self, progress: tqdm[Any]) -> None:
        """Measures bits per byte and logs it."""
        self.bits_per_byte = bits_per_byte(self.model, self.stage.validation)
        named = {
            "bits_per_byte" if name == "all" else f"bits_per_byte_{name}": value
            for name, value in self.bits_per_byte.items()
        }
        exact = {"step": self.step, "tokens": self.tokens_seen, **named}
        self.log.write(exact, {"seconds": self.seconds})
        groups = "  ".join(f"{n} {v:.3f}" for n, v in self.bits_per_byte.items() if n != "all")
        progress.write(
            f"step {self.step:>6}  validation {self.bits_per_byte['all']:.3f} bits per byte  "
            f"({groups})",
            file=sys.stdout,
        )

    @property
    def seconds(self) -> float:
        """Seconds since this start of the run, compiling included."""
        return round(time.perf_counter() - self.began, 1)

    @property
    def tokens_seen(self) -> int:
        """Positions trained so far."""
        return self.step * self.config.batch_size * self.config.max_length

    def postfix(self, loss: float, speed: float) -> dict[str, str]:
        """What the progress bar shows."""
        shown = {"loss": f"{loss:.3f}", "tok/s": f"{speed:,.0f}"}
        if self.bits_per_byte:
            shown["bpb"] = f"{self.bits_per_byte['all']:.3f}"
        return shown

    def save(self) -> None:
        """Writes a checkpoint of the present step."""
        self.log.sync()
        save_checkpoint(
            self.checkpoints,
            self.step,
            model_files(
                self.model.config,
                weights_of(self.model),
                self.stage.tokenizer,
                self.summary(complete=False),
                self.stage.is_chat,
            ),
            self.optimizers,
            self.identity,
            self.config.save_total_limit,
        )

    def leave(self) -> int:
        """Says where the run stands after a signal, and returns the exit code."""
        print(f"stopped and saved at step {self.step} of {self.total}; the same command continues")
        return self.stop.exit_code or 0

    def write_model(self, seconds: float, steps: int) -> None:
        """Writes the finished model directory and says what was done."""
        stage = self.stage
        save_pretrained(
            stage.output_dir,
            self.model,
            stage.tokenizer,
            self.summary(complete=True),
            stage.is_chat,
        )
        tokens = steps * self.config.batch_size * self.config.max_length
        speed = f" in {duration(seconds)} ({tokens / seconds:,.0f} tokens/s)" if steps else ""
        print(
            f"{self.stage.name} done: {self.total} steps, {self.tokens_seen / 1e6:.2f}M "
            f"tokens{speed}, {self.bits_per_byte['all']:.3f} bits per byte; the model is in "
            f"{self.stage.output_dir}"
        )

    def summary(self, complete: bool) -> dict[str, Any]:
        """The content of `training_summary.json`: what made the model."""
        return {
            "complete": complete,
            "stage": self.stage.name,
            "step": self.step,
            "total_steps": self.total,
            "tokens_seen": self.tokens_seen,
            "bits_per_byte": self.bits_per_byte,
            "command": sys.argv,
            "git_commit": git_commit(),
            "machine": describe_machine(self.device),
            **self.identity.as_json(),
        }


def clip_gradient(model: Etude, max_norm: float) -> float:
    """Scales the gradient down to max_norm (0: leaves it) and returns the norm it had."""
    limit = max_norm if max_norm > 0 else math.inf
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit))
