"""Answers of the model in training as a source of batches: what all objectives on rollouts share.

Rollout k is a function of (seed, k, weights at its beginning): prompts by (seed, k), answers by the
engine with seeds of their own, rows. So nothing of a run in which a rollout has ended needs to be
kept to repeat the next one, and a checkpoint inside a rollout holds its rows.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from config import RolloutConfig
from inference.engine.native import LIBRARY
from model.tokenizer import EtudeTokenizer
from train.data.batches import Batch, BatchSource, RowOrder
from train.distributed import World
from train.objective import SummedLoss
from train.rollouts.answers import Answers, Sampler
from train.rollouts.prompts import Prompt, Prompts
from train.rollouts.rewards import Rewards
from train.rollouts.rows import TOKENS_AT_ONCE, MicroBatches

STATE = "rollout.0."
"""Before the names of the tensors in a checkpoint."""
SAMPLES = 3
HELD_OUT = 1 << 32
"""In place of a rollout's number, for the seed of the held-out prompts."""


@dataclass
class Rollout:
    """The answers of a rollout, ready to be trained."""

    number: int
    batches: MicroBatches
    facts: Tensor
    """(names,) float64, what is logged of it."""


class RolloutSource(BatchSource):
    """Makes rollouts as the steps need them."""

    names: Sequence[str]
    """What is logged of a rollout."""

    def __init__(
        self,
        config: RolloutConfig,
        method: str,
        prompts: Prompts,
        rewards: Rewards | None,
        tokenizer: EtudeTokenizer,
    ) -> None:
        """method: the name of what learns from the answers; rewards: None, where nothing is
        rewarded."""
        self.settings, self.method, self.prompts = config, method, prompts
        self.rewarded_by, self.tokenizer = rewards, tokenizer
        self.order = RowOrder(len(prompts.train), config.rollout_prompts, config.seed, prompts.mix)
        self.held: Rollout | None = None
        self.seconds = 0.0
        """Time that the last step spent on its rollout."""
        self.measured: Answers | None = None
        """The answers to the held-out prompts; None: the weights have changed since."""

    @abstractmethod
    def make(self, number: int, step: int) -> Rollout | None:
        """A rollout, made with the present weights; None: a signal came."""

    @property
    def total_steps(self) -> int:
        """Steps of a run: enough that every prompt is answered num_train_epochs times, or
        max_steps."""
        if self.settings.max_steps is not None:
            return self.settings.max_steps
        rollouts = (
            self.prompts.epoch_size * self.settings.num_train_epochs / self.settings.rollout_prompts
        )
        return max(1, math.ceil(rollouts)) * self.settings.steps_per_rollout

    @property
    def tokens_per_step(self) -> int:
        """Tokens that the answers of a step may have."""
        config = self.settings
        return config.batch_size * config.group_size * config.max_new_tokens

    def plan(self, steps: int) -> str:
        """What a run of so many steps does, for its start."""
        config = self.settings
        answers = config.rollout_prompts * config.group_size
        return (
            f"{steps} steps of {self.method}, {config.steps_per_rollout} for each rollout of "
            f"{config.rollout_prompts} prompts x {config.group_size} = {answers} answers"
        )

    def begin(
        self,
        loss: SummedLoss,
        world: World,
        stopped: Callable[[], bool],
        echo: Callable[[str], None],
    ) -> None:
        """Takes what a start of the run brings: before anything else is asked for.

        Args:
            loss: the model in training, with its loss.
            world: the processes.
            stopped: whether a signal came.
            echo: prints a line.
        """
        self.loss, self.world, self.echo = loss, world, echo
        if world.device.type == "cpu":  # else rollouts would change in the middle of a run
            LIBRARY.prepare()
            LIBRARY.wait()
        self.sampler = Sampler(
            self.settings, loss.model, self.tokenizer, self.rewarded_by, world, stopped
        )
        rows = TOKENS_AT_ONCE[world.device.type] // self.settings.max_length
        self.rows = max(1, rows // self.settings.gradient_accumulation_steps)

    def __call__(self, step: int) -> list[Batch]:
        """See BatchSource."""
        number, inside = divmod(step, self.settings.steps_per_rollout)
        began = time.perf_counter()
        if self.held is None or self.held.number != number:
            self.held = self.make(number, step)
        self.seconds = time.perf_counter() - began
        if self.held is None:
            return []
        self.measured = None
        parts = len(self.held.batches.counts)
        world = self.world
        return self.held.batches.of(inside % parts, inside == 0, world.rank, world.size)

    def rows_of(self, step: int) -> list[int]:
        """See BatchSource."""
        return self.order.rows_of(step // self.settings.steps_per_rollout)

    def facts(self) -> dict[str, float]:
        """See BatchSource."""
        found = dict(zip(self.names, self.held.facts.tolist(), strict=True)) if self.held else {}
        return {**found, "rollout_seconds": self.seconds}

    def state(self, step: int) -> dict[str, Tensor]:
        """See BatchSource."""
        if self.held is None or not step % self.settings.steps_per_rollout:
            return {}
        tensors = {**self.held.batches.tensors(), "facts": self.held.facts}
        return {STATE + name: tensor for name, tensor in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """See BatchSource."""
        self.measured = None
        found = {n.removeprefix(STATE): t for n, t in tensors.items() if n.startswith(STATE)}
        if found:
            facts, number = found.pop("facts"), step // self.settings.steps_per_rollout
            self.held = Rollout(number, MicroBatches.from_tensors(found), facts)

    def seed_of(self, number: int, round_number: int) -> int:
        """The seed of a round's first answer."""
        sequence = np.random.SeedSequence([self.settings.seed, number, round_number])
        return int(sequence.generate_state(1, np.uint64)[0]) >> 1

    @property
    def measured_prompts(self) -> Sequence[Prompt]:
        """The held-out prompts that are answered, evenly spread."""
        every = max(1, -(-len(self.prompts.held_out) // self.settings.validation_prompts))
        return self.prompts.held_out[::every]

    def held_out_answers(self) -> tuple[Sequence[Prompt], Answers | None]:
        """Held-out prompts, and group_size answers to each; None: a signal came."""
        prompts = self.measured_prompts
        if prompts and self.measured is None:
            self.measured = self.sampler(prompts, self.seed_of(HELD_OUT, 0))
        return prompts, self.measured
