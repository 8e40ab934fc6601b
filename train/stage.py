"""What a training stage brings to the loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import TrainConfig
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.checkpoint import FREE_SETTINGS, Identity
from train.data.batches import TokenRows
from train.data.packing import PackingReport
from train.data.token_files import TokenisedData
from train.distributed import World
from train.evaluation import ValidationGroup, validation_groups
from train.machine import pick_dtype
from train.objective import Objective
from train.run.directory import saved_settings


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

    @property
    def identity(self) -> Identity:
        """What a checkpoint must agree with to be continued."""
        training = dataclasses.asdict(self.config)
        shape = dataclasses.asdict(self.model.config)
        kept = {name: value for name, value in training.items() if name not in FREE_SETTINGS}
        return Identity({"stage": self.name, **kept, **shape}, self.fingerprints)


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
) -> Stage:
    """A stage over tokenised data: adds the validation rows where they are not given, and the
    fingerprints of data and tokenizer to those of what else the run builds on.

    Raises:
        UserError: no answer of the validation data begins within a row.
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
    return Stage(
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
        notes=data_notes(config, data, len(rows)),
        held_out=held_out,
    )


def data_notes(config: TrainConfig, data: TokenisedData, rows: int) -> list[str]:
    """What a user may not expect of the data, a sentence each."""
    notes = [data.twins_sentence()] if data.twins else []
    if config.batch_size > rows:
        notes.append(
            f"a step takes {config.batch_size} rows and there are {rows}: each step sees rows "
            "several times; lower --batch_size"
        )
    return notes


def with_dtype(stage: Stage, world: World) -> Stage:
    """The stage with --dtype auto resolved: as the run began, or, for a new one, by measurement."""
    dtype = stage.config.dtype
    if dtype == "auto":
        saved = saved_settings(stage.output_dir)
        dtype = world.same(saved["dtype"] if saved else pick_dtype(dtype, world.device))
    return dataclasses.replace(stage, config=dataclasses.replace(stage.config, dtype=dtype))
