"""The prompts of reinforcement learning, read whole: a line of `training_data/rl/*.jsonl` each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from config import RolloutConfig, UserError
from data_process.records.files import find_files
from data_process.records.jsonl import Record, read_records
from data_process.records.kinds import PROBLEMS, conversation_of, with_tools
from data_process.records.opening import shown
from model.chat import render_prompt
from model.tokenizer import EtudeTokenizer
from train.data.mixing import Mix
from train.rollouts.rewards import Rewards


@dataclass(frozen=True)
class Prompt:
    """What is to be answered."""

    where: str
    """file:line."""
    record: dict[str, Any]
    ids: list[int]

    @property
    def question(self) -> str:
        """The last user's turn."""
        return str(conversation_of(self.record)[-1]["content"])


@dataclass(frozen=True)
class Prompts:
    """All prompts of a run."""

    train: Sequence[Prompt]
    held_out: Sequence[Prompt]
    left_out: int
    """Prompts that leave no room for an answer."""
    fingerprint: str
    """sha256 of the records and of what is held out."""
    mix: Mix | None = None
    """Where the prompts of each file end, and how these are mixed; None: they are not."""

    @property
    def epoch_size(self) -> int:
        """Prompts of an epoch."""
        return self.mix.epoch_rows if self.mix else len(self.train)

    def sentence(self) -> str:
        """What there is, in one line."""
        left = f", {self.left_out:,} left out: no room for an answer" if self.left_out else ""
        mixed = f"; {self.mix.sentence(self.mix.epoch_rows, 'prompts')}" if self.mix else ""
        return f"{len(self.train):,} prompts, {len(self.held_out):,} held out{left}{mixed}"


def read_prompts(
    files: Sequence[Path], config: RolloutConfig, tokenizer: EtudeTokenizer, rewards: Rewards | None
) -> Prompts:
    """The prompts of files. Every validation_every-th is held out, or those of validation_files.

    Raises:
        UserError: a file is missing, a record is malformed or has nothing that a reward could judge
            by (file:line), or there are too few prompts.
    """
    digest = hashlib.sha256()
    every = 0 if config.validation_files else config.validation_every
    places, mix = Mix.of(files)
    sources = [
        [found for path in find_files([place]) for found in read_records(path, PROBLEMS["rl"])]
        for place in places
    ]
    records = [found for some in sources for found in some]
    named = find_files(config.validation_files)
    measured = [found for path in named for found in read_records(path, PROBLEMS["rl"])]
    for number, record in enumerate((*records, *measured)):
        held = number >= len(records) or bool(every and number % every == every - 1)
        digest.update(hashlib.sha256(record.raw.strip() + bytes([held])).digest())
    held_out = measured or (records[every - 1 :: every] if every else [])
    if every:
        records = [r for number, r in enumerate(records) if number % every != every - 1]
    room = config.max_length - config.max_new_tokens
    kept = [
        [
            prompt
            for record in some
            if len((prompt := prompt_of(record, tokenizer, rewards)).ids) <= room
        ]
        for some in (records, held_out)
    ]
    left_out = len(records) + len(held_out) - sum(map(len, kept))
    if not kept[0] or (held_out and not kept[1]):
        why = "has room for an answer" if left_out else "is left for training"
        also = f", and every {every}th is held out (--validation_every 0: none)" if every else ""
        raise UserError(
            f"{shown(files[0])}: no prompt {why}; with --max_length {config.max_length} and "
            f"--max_new_tokens {config.max_new_tokens} a prompt may have {room} tokens{also}: "
            "change these, or add prompts"
        )
    if mix:
        mix = within_prompts(mix, sources, kept[0])
        digest.update(repr(mix.weights).encode())
    return Prompts(kept[0], kept[1], left_out, digest.hexdigest(), mix)


def within_prompts(mix: Mix, sources: Sequence[list[Record]], train: Sequence[Prompt]) -> Mix:
    """The mix of the files over the prompts that are trained."""
    own = [{id(record.value) for record in some} for some in sources]
    return mix.within(
        list(accumulate(sum(id(prompt.record) in some for prompt in train) for some in own))
    )


def prompt_of(record: Record, tokenizer: EtudeTokenizer, rewards: Rewards | None) -> Prompt:
    """A record as a prompt; raises UserError when a reward could not judge its answers."""
    where = f"{shown(record.path)}:{record.line}"
    if rewards and (problem := rewards.missing(record.value)):
        raise UserError(f"{where}: {problem}")
    messages, tools, _ = with_tools(record.value)
    return Prompt(where, record.value, render_prompt(tokenizer, messages, tools))
