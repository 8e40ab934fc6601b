"""The one training loop. A stage brings a model, rows, validation and settings, and nothing else.

    restore the newest checkpoint -> [evaluate] -> step -> log -> [save] -> ... -> write the model
    directory

A save comes before the evaluation of the same step, so nothing an evaluation does can lose work.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from config import UserError
from model.directory.storage import Writer, read_object, replace_file, text_writer, update_directory
from train.checkpoint import (
    GUARD,
    STATE,
    Identity,
    Progress,
    find_checkpoint,
    optimizer_tensors,
    random_state,
    refuse_broken_weights,
    restore,
    save_checkpoint,
    step_of,
)
from train.compilation import Compilation, training_loss, use_deterministic_kernels
from train.data.batches import BatchSource, Prefetch, RowOrder, step_batches
from train.distributed import World, full_weights, parallelize, whole
from train.evaluation import (
    bits_per_byte,
    evaluation_seconds,
    generate_samples,
    held_out_metrics,
    sample_prompts,
)
from train.machine import keep_freed_memory, set_matmul_precision
from train.measures.divergence import Divergence
from train.objectives.preference import Preference
from train.optimizer import build_optimizers, set_learning_rates
from train.run.cores import CROWDED, SharedCores
from train.run.directory import complete_summary, origin, refuse_other_model, take_output_dir
from train.run.limits import refuse_uneven_batch, refuse_without_room
from train.run.logs import MUON_RATE, RunLogger, in_bits, in_words
from train.run.picture import draw_picture
from train.run.plan import announcement
from train.run.rate_test import rate_test
from train.run.report import Report, WatchFile, read_watch_files, unmeasured
from train.run.schedule import Schedule
from train.run.signals import StopRequest
from train.stage import Stage, with_dtype
from train.step import RecordQueue, StepGuard, TrainingStep, seed_of

T = TypeVar("T")
SETTINGS = "run.yaml"
"""The settings of the last start, as a file for --config."""


def train(stage: Stage, world: World) -> int:
    """Runs a stage to its end, or to the next signal.

    Returns:
        The exit code: 0 when the run is complete, 128 + the signal's number when it was stopped
        (and saved).

    Raises:
        UserError: the directory holds another run, the disk is full, or the run diverged.
    """
    refuse_uneven_batch(stage.config, world)
    watched = read_watch_files(stage.config)
    stage = with_dtype(stage, world)
    if stage.config.find_lr:
        for line in rate_test(stage, world):
            print(line)
        return 0
    identity = stage.identity
    if summary := complete_summary(stage.output_dir, identity):
        if world.is_main:
            print(
                f"{stage.name} is complete: {summary['step']} steps, "
                f"{in_words(summary.get('held_out', {})) or in_bits(summary['bits_per_byte'])}; "
                f"the model is in {stage.output_dir}"
            )
            if line := unmeasured(stage.output_dir, watched):
                print(line)
        return 0
    refuse_other_model(stage.output_dir, identity, stage.config.extend)
    use_deterministic_kernels(world.device)
    keep_freed_memory()
    set_matmul_precision(world.device, getattr(torch, stage.config.dtype))
    if not world.shards:  # else it is shared out, piece by piece, from the CPU
        stage.model.to(world.device)
    if stage.config.dry_run:
        plan = announcement(stage, world, 0, stage.total_steps)
        if world.is_main:
            print(plan)
        return 0
    if world.is_main:
        refuse_without_room(stage, stage.total_steps)
    with StopRequest(speaks=world.is_main) as stop:
        return Run(stage, world, identity, stop, watched).go()


class Run:
    """One start of a stage's training: what the loop holds while it runs."""

    def __init__(
        self,
        stage: Stage,
        world: World,
        identity: Identity,
        stop: StopRequest,
        watched: Sequence[WatchFile] = (),
    ) -> None:
        self.stage, self.world, self.identity, self.stop = stage, world, identity, stop
        self.config, self.model = stage.config, stage.model
        self.checkpoints = stage.output_dir / "checkpoints"
        self.lock = take_output_dir(self.checkpoints) if world.is_main else None
        self.total, self.watched = stage.total_steps, watched
        self.begin()

    def begin(self) -> None:
        """Restores the newest checkpoint, says what will happen, and readies the step."""
        config, world, dtype = self.config, self.world, getattr(torch, self.config.dtype)
        found = None
        if world.is_main:
            found = find_checkpoint(self.checkpoints, self.identity, config.extend)
            replace_file(self.stage.output_dir / SETTINGS, text_writer(self.stage.settings))
        name = world.same(found.name if found else None)
        checkpoint = self.checkpoints / name if name else None
        seconds = read_object(checkpoint / STATE)["seconds"] if checkpoint else 0.0
        plan = announcement(self.stage, world, step_of(checkpoint), self.total, seconds)
        compilation = Compilation(config.compile)
        self.loss = training_loss(
            self.model,
            dtype,
            compilation,
            config.gradient_checkpointing,
            config.compile_whole,
            self.stage.objective.chunk,
        )
        module = parallelize(self.loss, self.model, world)
        self.optimizers = build_optimizers(self.model, config, dtype)
        first_loss, vocab_size = self.stage.objective.first_loss, self.model.config.vocab_size
        self.guard = StepGuard(config, vocab_size, dtype, world.device, first_loss)
        self.progress, self.batches = Progress(), self.batch_source()
        self.report = Report(
            self.stage, world, self.loss, self.batches, self.watched, self.stop.requested
        )
        if line := self.report.begin(self.checkpoints):
            plan += f"\n  {line}"
        self.divergence = None
        if isinstance(self.stage.objective, Preference) and self.stage.held_out:
            self.divergence = Divergence(self.loss, self.stage.held_out, world)
        if checkpoint:
            self.progress = restore(
                checkpoint, self.model, self.optimizers, self.guard, self.batches
            )
        self.schedule = Schedule(config, self.total, self.progress)
        if checkpoint and self.identity.differences(read_object(checkpoint / STATE)):
            self.schedule.begin_again()  # check_identity lets only an extension differ
            plan += "\n  extending a run that was complete: the learning rate rises and falls again"
        self.apply = TrainingStep(
            module,
            self.model,
            self.optimizers,
            self.guard,
            world,
            config.max_grad_norm,
            self.stage.objective,
            compilation,
        )
        self.records = RecordQueue(world.device, self.apply.metrics)
        self.prompts = sample_prompts(
            self.stage.validation, self.stage.tokenizer, self.stage.is_chat
        )
        step, seconds = self.progress.step, self.progress.seconds
        self.logger = RunLogger(self.stage, world, step, self.total, seconds)
        self.logger.echo(plan)
        self.cores = SharedCores(world.device, world.size)

    def batch_source(self) -> BatchSource:
        """What makes the batches of this start."""
        stage, config, world = self.stage, self.config, self.world
        if stage.rollouts:
            stage.rollouts.begin(
                self.loss, world, self.stop.requested, lambda s: self.logger.echo(s)
            )
            return stage.rollouts
        order = RowOrder(len(stage.rows), config.batch_size, config.seed, stage.rows.mix)
        return Prefetch(partial(step_batches, stage.rows, order, config, world), order)

    def go(self) -> int:
        """Trains until the end or a signal; see `train`."""
        try:
            finished = self.run_steps() and self.evaluate() and self.compare()
        finally:
            self.cores.close()
            self.batches.close()
            self.logger.close()
        if not finished:
            return self.leave()
        self.write_model()
        self.logger.log_end(self.progress.step)
        if self.config.picture and self.world.is_main:
            draw_picture(self.stage.output_dir)
        return 0

    def run_steps(self) -> bool:
        """Trains, evaluates and saves until the last step is saved; False when a signal came."""
        config, saved = self.config, self.progress.step
        if config.max_minutes is not None:
            self.time_evaluation()
        while not self.is_over():
            interrupted = self.evaluation_is_due() and not self.evaluate()
            if not interrupted:
                self.train_step()
            step, stopped = self.progress.step, self.stopped()
            if step > saved and (stopped or step % config.save_steps == 0 or self.is_over()):
                self.save()
                saved = step
            if stopped:
                return False
        return True

    def evaluation_is_due(self) -> bool:
        """Whether the model as it is now is to be evaluated."""
        config, step, first = self.config, self.progress.step, self.progress.first_step
        if step == first:  # an extension also measures where it begins, as the run's end did
            at_start = self.stage.rollouts is not None or bool(self.watched)
            return step > 0 or (at_start and config.max_minutes is None)
        if step % config.eval_steps:
            return False
        return self.agreed(self.schedule.may_evaluate(self.logger.seconds))

    def time_evaluation(self) -> None:
        """Notes how much time the last evaluation of a run by the clock will need: as much as a
        first one, or, where that is of bits per byte alone, so many times that of a few rows."""
        stage = self.stage
        more = self.watched or stage.held_out or stage.rollouts or self.divergence
        if more and not self.progress.step:
            self.evaluate()
            self.schedule.evaluating = 0.0
        elif stage.validation:
            seconds = evaluation_seconds(self.loss, stage.validation, self.world)
            self.schedule.durations["evaluate"] = seconds

    def stopped(self) -> bool:
        """Whether any process was asked to stop."""
        return self.world.any(self.stop.requested())

    def is_over(self) -> bool:
        """Whether the last step is done: by number, or by the clock."""
        return self.agreed(self.schedule.is_over(self.logger.seconds))

    def agreed(self, value: T) -> T:
        """What the schedule says; when it follows the clock, that of the main process counts."""
        return value if self.config.max_minutes is None else self.world.same(value)

    def train_step(self) -> None:
        """One optimizer step over the rows of this step."""
        began = time.perf_counter()
        scale = self.agreed(self.schedule.scale(self.logger.seconds))
        set_learning_rates(self.optimizers, scale)
        batches = [batch.to(self.world.device) for batch in self.batches(self.progress.step)]
        if not batches:
            return
        if self.stage.adapter and self.stage.adapter.lora.lora_dropout:
            self.apply.dropout_seed = seed_of(self.config.seed, self.progress.step, self.world.rank)
        record = self.apply(batches)
        self.progress.step += 1
        self.stop.unsaved = True
        facts = {"step": self.progress.step, "learning_rate": self.config.learning_rate * scale}
        facts |= self.batches.facts()
        if self.config.optimizer == "muon":
            facts[MUON_RATE] = self.config.muon_learning_rate * scale
        self.records.put(facts, record)
        self.read_records()
        self.took("step", began)
        if self.cores.after_step():
            self.logger.echo(CROWDED)

    def read_records(self, everything: bool = False) -> None:
        """Logs finished steps whose numbers have arrived on the host.

        Raises:
            UserError: too many steps in a row were bad.
        """
        for record in self.records.take(everything):
            self.logger.log_step(record)
            if record["skipped_in_a_row"] >= self.config.max_skipped_steps:
                self.refuse_divergence(record)

    def refuse_divergence(self, record: dict[str, Any]) -> None:
        """Stops a run whose steps are all bad; nothing of them is in the weights."""
        step, count = record["step"], round(record["skipped_in_a_row"])
        rows = [row for n in range(max(0, step - count), step) for row in self.batches.rows_of(n)]
        some = f"{rows[:16]}{'...' if len(rows) > 16 else ''}"
        raise UserError(
            f"step {step}: {count} steps in a row could not be used (loss {record['loss']:.4g}, "
            f"gradient norm {record['grad_norm']:.4g}) and were skipped: the run diverged and "
            f"stops here. Their rows were {some}; the last good "
            f"checkpoint is in {self.checkpoints}. Lower --learning_rate (and "
            "--muon_learning_rate) and start over in another model directory"
        )

    def evaluate(self) -> bool:
        """Measures bits per byte, what the objective has or the source of the batches, generates
        samples, and logs all; False when a signal came."""
        self.read_records(everything=True)
        stage, stopped = self.stage, self.stop.requested
        began = time.perf_counter()
        own = self.batches.measure()
        if own is None:
            return False
        more: dict[str, float] | None
        more, samples = own
        watched = self.report.watch(self.progress.step)
        if watched is None:
            return False
        if not (stage.validation or more or watched):
            return True
        bits: dict[str, float] | None = {}
        if stage.validation:
            bits = bits_per_byte(self.loss, stage.validation, self.world, stopped)
        if stage.held_out:
            more = held_out_metrics(self.loss, stage.objective, stage.held_out, self.world, stopped)
        if bits is None or more is None:
            return False
        if self.divergence:
            more = {**more, "kl": self.divergence()}
        samples = samples or self.samples()
        if self.config.sample_tokens and self.stopped():
            return False
        scores = {score.title: score.value for score in watched}
        self.logger.log_evaluation(self.progress.step, bits, samples, more, scores)
        self.took("evaluate", began)
        return True

    def compare(self) -> bool:
        """Says what the run changed, and writes it down; False when a signal came."""
        lines = self.report.finish(self.progress.step, self.stage.output_dir)
        for line in lines or ():
            self.logger.echo(line)
        return lines is not None

    def samples(self) -> list[dict[str, str]]:
        """What the model says now."""
        if not self.config.sample_tokens:
            return []
        stage = self.stage
        with whole(self.loss):
            return generate_samples(
                self.model,
                stage.tokenizer,
                self.prompts,
                self.config.sample_tokens,
                stage.is_chat,
                self.stop.requested,
            )

    def took(self, what: str, began: float) -> None:
        """Notes how long something took."""
        self.schedule.durations[what] = seconds = time.perf_counter() - began
        if what == "evaluate":
            self.schedule.evaluating += seconds
        if what != "step":
            self.logger.resume_clock()

    def save(self) -> None:
        """Writes a checkpoint of the present step.

        Raises:
            UserError: a weight is not finite; nothing is written then.
        """
        self.read_records(everything=True)
        began = time.perf_counter()
        files = self.files(self.checkpoints / "step", complete=False)
        tensors = (
            optimizer_tensors(self.optimizers, self.world)
            | random_state()
            | {GUARD: self.guard.state}
            | self.batches.state(self.progress.step)
        )
        self.progress.seconds = self.logger.seconds
        if log := self.logger.log:
            log.sync()
            with self.stop.saving():
                save_checkpoint(
                    self.checkpoints,
                    self.progress,
                    files,
                    {name: tensor.cpu() for name, tensor in tensors.items()},
                    self.identity,
                    self.config.save_total_limit,
                    log.best_step(),
                )
        self.world.barrier()
        self.took("save", began)

    def files(self, directory: Path, complete: bool) -> dict[str, Writer]:
        """The files of the model, or its adapter, as it is now, to lie in a directory."""
        weights = full_weights(self.model, self.world)
        refuse_broken_weights(weights, self.progress.step)
        if not self.world.is_main:
            return {}
        return self.stage.files(weights, self.summary(complete), directory)

    def leave(self) -> int:
        """Says where the run stands after a signal, and returns the exit code."""
        self.logger.echo(
            f"stopped and saved at step {self.progress.step} of {self.total}; the same command "
            "continues"
        )
        return self.stop.exit_code or 143  # another process got the signal

    def write_model(self) -> None:
        """Writes the finished model directory."""
        files = self.files(self.stage.output_dir, complete=True)
        if self.world.is_main:
            with self.stop.saving():
                update_directory(self.stage.output_dir, files | self.report.files)
        self.world.barrier()

    def summary(self, complete: bool) -> dict[str, Any]:
        """The content of `training_summary.json`: what made the model."""
        step, logger = self.progress.step, self.logger
        return {
            "complete": complete,
            "stage": self.stage.name,
            "step": step,
            "total_steps": self.total,
            "tokens_seen": logger.tokens_at(step),
            "bits_per_byte": logger.bits_per_byte,
            **({"held_out": logger.metrics} if logger.metrics else {}),
            "seconds": round(logger.seconds, 1),
            **origin(self.world),
            **dataclasses.asdict(self.identity),
        }
