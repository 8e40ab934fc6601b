"""Answers of the model in training to prompts: made by the engine, rewarded, shared by all
processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from config import RolloutConfig, SamplingConfig
from inference.engine.answers import GenerationResult
from inference.engine.engine import generate_batch
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.distributed import World
from train.rollouts.prompts import Prompt
from train.rollouts.rewards import Rewards

SLOTS = 128
"""Answers that are generated at once."""
NO_SIGNAL = 1e-9
"""Rewards that differ by less are the same."""


class Answers(NamedTuple):
    """Answers to some prompts, group_size to each, those of a prompt one after another."""

    tokens: Tensor
    """(answers, max_new_tokens) int64, with the token that ended it, where one did."""
    lengths: Tensor
    """(answers,) int64, tokens of each."""
    log_probs: Tensor
    """(answers, max_new_tokens) float32, of each token as it was sampled."""
    ended: Tensor
    """(answers,) float64, 1 where it ended by itself."""
    rewards: Tensor
    """(answers, rewards) float64, without their weights."""

    @property
    def is_there(self) -> Tensor:
        """(answers, max_new_tokens) of bool: where there is a token."""
        return torch.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def text(self, number: int, tokenizer: EtudeTokenizer) -> str:
        """An answer as text."""
        length = int(self.lengths[number]) - int(self.ended[number])
        return tokenizer.decode(self.tokens[number, :length].tolist())


class Sampler:
    """Answers prompts. The same prompts, seed and weights give the same answers."""

    def __init__(
        self,
        config: RolloutConfig,
        model: Etude,
        tokenizer: EtudeTokenizer,
        rewards: Rewards | None,
        world: World,
        stopped: Callable[[], bool],
    ) -> None:
        self.config, self.model, self.tokenizer = config, model, tokenizer
        self.rewards, self.world, self.stopped = rewards, world, stopped

    def __call__(self, prompts: Sequence[Prompt], seed: int) -> Answers | None:
        """group_size answers to each prompt, drawn from the model's own distribution (temperature
        1, no token left out). Every process makes its share of them and gets all. None: a signal
        came.

        Raises:
            UserError: one's own reward failed.
        """
        jobs = [prompt for prompt in prompts for _ in range(self.config.group_size)]
        world, count, width = self.world, len(jobs), self.config.max_new_tokens
        first, end = (rank * count // world.size for rank in (world.rank, world.rank + 1))
        made = self.generate(jobs[first:end], (seed + first) % 2**63)
        if world.any(len(made) < end - first):
            return None
        own = Answers(
            torch.zeros(count, width, dtype=torch.int64),
            torch.zeros(count, dtype=torch.int64),
            torch.zeros(count, width),
            torch.zeros(count, dtype=torch.float64),
            torch.zeros(count, len(self.rewards.names) if self.rewards else 0, dtype=torch.float64),
        )
        for number, (prompt, result) in enumerate(zip(jobs[first:end], made, strict=True), first):
            self.enter(own, number, prompt, result)
        return Answers(*(world.sum(part.to(world.device)).cpu() for part in own))

    def generate(self, jobs: Sequence[Prompt], seed: int) -> list[GenerationResult]:
        """An answer to each prompt; none when a signal came."""
        sampling = SamplingConfig(
            temperature=1, top_k=0, top_p=1, max_tokens=self.config.max_new_tokens, seed=seed
        )
        ids, stop_ids = [prompt.ids for prompt in jobs], self.tokenizer.end_ids(is_chat=True)
        return generate_batch(
            self.model, ids, sampling, stop_ids, SLOTS, stopped=self.stopped, top_logprobs=0
        )

    def enter(self, own: Answers, number: int, prompt: Prompt, result: GenerationResult) -> None:
        """Writes an answer down, with its rewards."""
        ended = result.stop_token is not None
        tokens = [*result.tokens, *([result.stop_token] if result.stop_token else [])]
        own.tokens[number, : len(tokens)] = torch.tensor([token.id for token in tokens])
        own.log_probs[number, : len(tokens)] = torch.tensor([token.logprob for token in tokens])
        own.lengths[number], own.ended[number] = len(tokens), ended
        if not self.rewards:
            return
        text = self.tokenizer.decode(result.ids)
        found = self.rewards.of(prompt.question, text, ended, prompt.record, prompt.where)
        own.rewards[number] = torch.tensor(found, dtype=torch.float64)


def advantages(totals: Tensor, scaled: bool) -> Tensor:
    """How much better each answer is than its group.

    Args:
        totals: (groups, group_size) float64, weighted sums of rewards.
        scaled: divide by the group's standard deviation (plus 1e-4, as trl does).
    """
    found = totals - totals.mean(dim=1, keepdim=True)
    if scaled:
        found = found / (totals.std(dim=1, keepdim=True) + 1e-4)
    return torch.where(has_signal(totals)[:, None], found, 0.0)


def has_signal(totals: Tensor) -> Tensor:
    """(groups,) whether the answers of a group (groups, group_size) got different rewards."""
    return (totals.amax(dim=1) - totals.amin(dim=1)) > NO_SIGNAL


def pass_rates(passed: Tensor) -> dict[str, float]:
    """pass@1, the share of all answers that pass, and pass@k, that of prompts of whose k answers
    one does.

    Args:
        passed: (prompts, k) of bool.
    """
    passed = passed.double()
    return {
        "pass_at_1": float(passed.mean()),
        "pass_at_k": float(passed.amax(dim=1).mean()),
    }
