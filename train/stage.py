"""What a training stage brings to the loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import LoraConfig, RolloutConfig, TrainConfig, UserError
from model.adapters import add_adapter, trained_parameters
from model.directory.adapter_files import adapter_files
from model.directory.pretrained import WEIGHTS, base_sha256, model_files
from model.directory.storage import Writer
from model.frozen import freeze_weight
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.checkpoint import FREE_SETTINGS, Identity
from train.data.batches import TokenRows, total_steps
from train.data.packing import PackingReport
from train.data.token_files import TokenisedData
from train.distributed import World
from train.evaluation import ValidationGroup, validation_groups
from train.machine import pick_dtype
from train.objective import Objective
from train.rollouts.rows import no_rows
from train.rollouts.source import RolloutSource
from train.run.directory import saved_settings

LOW_RATE = 1e-4
"""Learning rates below are those of whole models."""


@dataclass(frozen=True)
class Adapter:
    """An adapter under training."""

    lora: LoraConfig
    base: Path
    """The directory of the model under it."""
    base_sha256: str
    """Fingerprint of that model's weights."""

    def sentence(self, model: Etude) -> str:
        """What is trained, for the start of a run."""
        lora, count = self.lora, trained_parameters(model)
        kind = "DoRA" if lora.use_dora else "LoRA"
        kept = "" if lora.weights == "float32" else f", in {lora.weights}"
        return (
            f"adapter: {kind} of rank {lora.lora_rank} on {', '.join(lora.lora_targets)}: "
            f"{count:,} weights are trained, {model.num_parameters() - count:,} stay as they are"
            f"{kept}"
        )


@dataclass(frozen=True)
class Stage:
    """All that differs between the stages."""

    name: str
    """pretrain, sft or dpo."""
    config: TrainConfig
    model: Etude
    """On the CPU, with the weights that the stage starts from."""
    tokenizer: EtudeTokenizer
    rows: TokenRows
    packing: PackingReport
    validation: Mapping[str, ValidationGroup]
    output_dir: Path
    """The model directory to write."""
    is_chat: bool
    """Whether the result answers messages or continues texts."""
    fingerprints: Mapping[str, str]
    """Of data, tokenizer, and what else the run builds on."""
    objective: Objective
    """What the steps minimise."""
    settings: str = ""
    """The settings of the run as a file for --config."""
    notes: Sequence[str] = ()
    """What to know about the data, a sentence each."""
    held_out: Sequence[TokenRows] = ()
    """What the objective's own metrics are measured on."""
    adapter: Adapter | None = None
    """What is trained in place of the whole model."""
    rollouts: RolloutSource | None = None
    """What makes the batches; None: they are the rows, in their order."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        if self.rollouts:
            return self.rollouts.total_steps
        return total_steps(self.rows.epoch_rows, self.config)

    @property
    def tokens_per_step(self) -> int:
        """Positions that a step's rows, or the answers of a step, have room for."""
        config = self.config
        if self.rollouts:
            return self.rollouts.tokens_per_step
        return config.batch_size * config.max_length

    @property
    def identity(self) -> Identity:
        """What a checkpoint must agree with to be continued."""
        training = dataclasses.asdict(self.config)
        shape = dataclasses.asdict(self.model.config)
        kept = {name: value for name, value in training.items() if name not in FREE_SETTINGS}
        lora = dataclasses.asdict(self.adapter.lora) if self.adapter else {"lora_rank": 0}
        return Identity({"stage": self.name, **kept, **shape, **lora}, self.fingerprints)

    def files(
        self, weights: Mapping[str, Tensor], summary: Mapping[str, Any], directory: Path
    ) -> dict[str, Writer]:
        """The files of a directory of the model, or of its adapter, with these weights.

        Args:
            weights: what `train.distributed.full_weights` returns.
            summary: what made them.
            directory: where the files will lie.
        """
        adapter, shape = self.adapter, self.model.config
        if not adapter:
            return model_files(shape, weights, self.tokenizer, summary, self.is_chat)
        summary = {**summary, "base_sha256": adapter.base_sha256}
        files = model_files(shape, weights, self.tokenizer, summary, self.is_chat)
        del files["config.json"], files[WEIGHTS]
        return files | adapter_files(adapter.lora, weights, adapter.base, directory)


def make_stage(
    name: str,
    config: TrainConfig,
    model: Etude,
    tokenizer: EtudeTokenizer,
    data: TokenisedData,
    packed: tuple[TokenRows, PackingReport],
    output_dir: Path,
    is_chat: bool,
    objective: Objective,
    built_on: Mapping[str, str] | None = None,
    settings: str = "",
    validation: Mapping[str, ValidationGroup] | None = None,
    held_out: Sequence[TokenRows] = (),
    lora: LoraConfig | None = None,
    base: Path | None = None,
) -> Stage:
    """A stage over tokenised data: adds the validation rows where they are not given, the
    fingerprints of data and tokenizer to those of what else the run builds on, and an adapter to
    the model where one is asked for.

    Args:
        lora: the adapter's settings.
        base: the directory that the model was read from.

    Raises:
        UserError: no answer of the validation data begins within a row, or a target of the adapter
            is not there.
    """
    rows, report = packed
    own = {"data": data.fingerprint, "tokenizer": tokenizer.fingerprint}
    if validation is None:
        validation = validation_groups(
            data.validation,
            config.max_length,
            tokenizer,
            config.cross_document_attention,
            config.validation_bytes,
        )
    stage = Stage(
        name=name,
        config=config,
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        packing=report,
        validation=validation,
        output_dir=output_dir,
        is_chat=is_chat,
        fingerprints={**own, **(built_on or {})},
        objective=objective,
        settings=settings,
        held_out=held_out,
        notes=data_notes(config, data, rows),
    )
    return with_adapter(stage, lora, base) if lora and base else stage


def rollout_stage(
    name: str,
    config: RolloutConfig,
    model: Etude,
    tokenizer: EtudeTokenizer,
    rollouts: RolloutSource,
    output_dir: Path,
    objective: Objective,
    built_on: Mapping[str, str],
    settings: str,
    lora: LoraConfig,
    base: Path,
) -> Stage:
    """A stage whose batches are answers of the model in training; arguments as of `make_stage`."""
    rows, packing = no_rows(config.max_length)
    own = {"data": rollouts.prompts.fingerprint, "tokenizer": tokenizer.fingerprint}
    stage = Stage(
        name=name,
        config=config,
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        packing=packing,
        validation={},
        output_dir=output_dir,
        is_chat=True,
        fingerprints={**own, **built_on},
        objective=objective,
        settings=settings,
        rollouts=rollouts,
    )
    return with_adapter(stage, lora, base)


def with_adapter(stage: Stage, lora: LoraConfig, base: Path) -> Stage:
    """The stage with an adapter, where one is asked for; see `make_stage`."""
    if not lora.lora_rank:
        return stage
    config, model = stage.config, stage.model
    if lora.weights != "float32" and config.parallel == "fsdp":
        raise UserError(f"--weights {lora.weights} does not go with --parallel fsdp: leave one out")
    digest = base_sha256(model, lambda name: freeze_weight(model, name, lora.weights))
    adapter = Adapter(lora, base, digest)
    add_adapter(model, lora, torch.Generator().manual_seed(config.seed))
    return dataclasses.replace(
        stage,
        notes=[*stage.notes, *adapter_notes(config)],
        config=dataclasses.replace(config, optimizer="adamw"),
        fingerprints={**stage.fingerprints, "base of the adapter": adapter.base_sha256},
        adapter=adapter,
    )


def data_notes(config: TrainConfig, data: TokenisedData, rows: TokenRows) -> list[str]:
    """What a user may not expect of the data, a sentence each."""
    notes = [data.twins_sentence()] if data.twins else []
    if rows.mix:
        trained = total_steps(rows.epoch_rows, config) * config.batch_size
        notes.append(rows.mix.sentence(trained))
    if config.batch_size > len(rows):
        notes.append(
            f"a step takes {config.batch_size} rows and there are {len(rows)}: each step sees rows "
            "several times; lower --batch_size"
        )
    return notes


def adapter_notes(config: TrainConfig) -> list[str]:
    """What a user may not expect of the training of an adapter, a sentence each."""
    notes = []
    if config.optimizer == "muon":
        notes.append("the adapter is trained by AdamW: Muon is for whole matrices")
    if config.learning_rate < LOW_RATE:
        notes.append(
            f"--learning_rate {config.learning_rate:g} is low for an adapter, which usually wants "
            "about ten times the rate of the whole model"
        )
    return notes


def with_dtype(stage: Stage, world: World) -> Stage:
    """The stage with --dtype auto resolved: as the run began, or, for a new one, by measurement."""
    dtype = stage.config.dtype
    if dtype == "auto":
        saved = saved_settings(stage.output_dir)
        dtype = world.same(saved["dtype"] if saved else pick_dtype(dtype, world.device))
    return dataclasses.replace(stage, config=dataclasses.replace(stage.config, dtype=dtype))
