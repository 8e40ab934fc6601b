"""Rollouts of reinforcement learning.

prompts by (seed, k) -> answers by the engine -> rewards -> advantages within each group ->
rows, with the log-probabilities of the trainer's own pass -> the steps of the rollout
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from config import GRPOConfig
from model.tokenizer import EtudeTokenizer, script_of
from model.transformer import Etude
from train.distributed import World
from train.measures.likelihood import Outcome
from train.measures.scores import HELD_OUT_DATA, Score
from train.objective import SummedLoss
from train.objectives.policy import OLD, REFERENCE, SAMPLER
from train.rollouts.answers import Answers, advantages, has_signal, pass_rates
from train.rollouts.prompts import Prompts
from train.rollouts.rewards import Rewards
from train.rollouts.rows import MicroBatches, Piece, packed
from train.rollouts.source import SAMPLES, Rollout, RolloutSource


class Rollouts(RolloutSource):
    """Rollouts whose answers are rewarded."""

    def __init__(
        self,
        config: GRPOConfig,
        prompts: Prompts,
        rewards: Rewards,
        tokenizer: EtudeTokenizer,
        reference: Etude | None,
    ) -> None:
        """reference: the model of the KL term, where there is one."""
        super().__init__(config, config.loss, prompts, rewards, tokenizer)
        self.config, self.rewards, self.reference = config, rewards, reference
        self.weights = torch.tensor(rewards.weights, dtype=torch.float64)
        self.names = (
            "reward",
            *(f"reward_{name}" for name in rewards.names),
            "no_signal",
            "entropy",
            "answer_length",
            "ended",
            "sampler_difference",
        )
        self.in_vain = 0
        """Rollouts without signal in a row."""

    def begin(
        self,
        loss: SummedLoss,
        world: World,
        stopped: Callable[[], bool],
        echo: Callable[[str], None],
    ) -> None:
        """See RolloutSource."""
        super().begin(loss, world, stopped, echo)
        self.reference_loss = None
        if self.reference is not None:
            self.reference_loss = SummedLoss(self.reference.to(world.device), loss.dtype)

    def make(self, number: int, step: int) -> Rollout | None:
        """A rollout, made with the present weights; None: a signal came."""
        rounds: list[tuple[Sequence[int], Answers]] = []
        useful = 0
        while len(rounds) < self.config.max_rounds and useful < self.config.rollout_prompts:
            chosen = self.chosen(number, len(rounds))
            prompts = [self.prompts.train[n] for n in chosen]
            answers = self.sampler(prompts, self.seed_of(number, len(rounds)))
            if answers is None:
                return None
            rounds.append((chosen, answers))
            useful += int(has_signal(self.totals(answers)).sum())
        if not useful:
            self.say_in_vain(step, rounds[-1][1])
        self.in_vain = 0 if useful else self.in_vain + 1
        chosen = [n for some, _ in rounds for n in some]
        answers = Answers(*map(torch.cat, zip(*(made for _, made in rounds), strict=True)))
        batches = packed(self.pieces(chosen, answers), self.config.max_length, self.rows)
        self.score(batches)
        return Rollout(number, batches, self.measure_rollout(answers, batches))

    def chosen(self, number: int, round_number: int) -> Sequence[int]:
        """The prompts of a round of a rollout: the first takes them in their order, later ones at
        random."""
        if not round_number:
            return self.order.rows_of(number)
        generator = np.random.Generator(np.random.PCG64([self.config.seed, number, round_number]))
        drawn = generator.integers(self.prompts.epoch_size, size=self.config.rollout_prompts)
        found: list[int] = (
            self.order.rows_of_epoch(0)[drawn].tolist() if self.prompts.mix else drawn.tolist()
        )
        return found

    def totals(self, answers: Answers) -> Tensor:
        """(groups, group_size) the weighted sum of each answer's rewards."""
        return (answers.rewards @ self.weights).view(-1, self.config.group_size)

    def say_in_vain(self, step: int, answers: Answers) -> None:
        """Says that a rollout has no signal: the first time, and at every tenth."""
        if self.in_vain % 10:
            return
        mean = float(self.totals(answers).mean())
        self.echo(
            f"step {step + 1}: in no group of this rollout do the rewards differ (their mean is "
            f"{mean:.2f}), so there is nothing to learn from it. If that lasts, take prompts that "
            "the model gets right now and then, a larger --group_size, or another reward"
        )

    def pieces(self, chosen: Sequence[int], answers: Answers) -> list[list[Piece]]:
        """What each step trains: of batch_size groups those with a signal (with a KL term, all).
        Those that are left out count in the step's mean, unless others were drawn for them."""
        config, size = self.config, self.config.group_size
        totals = self.totals(answers)
        signal = has_signal(totals)
        drawn = config.max_rounds > 1
        groups = [n for n in range(len(chosen)) if signal[n] or not drawn]
        groups = groups[: config.rollout_prompts]
        found = advantages(totals, config.scale_rewards).float().flatten()
        steps = []
        for first in range(0, config.rollout_prompts, config.batch_size):
            mine = groups[first : first + config.batch_size]
            kept = [n for n in mine if signal[n] or config.beta]
            numbers = [n * size + m for n in kept for m in range(size)]
            lengths = answers.lengths
            counted = [n * size + m for n in mine for m in range(size)]
            norm = self.norm(lengths[counted], lengths[numbers])
            steps.append(
                [
                    self.piece(self.prompts.train[chosen[n // size]].ids, answers, n, found, norm)
                    for n in numbers
                ]
            )
        return steps

    def norm(self, counted: Tensor, trained: Tensor) -> float:
        """What each trained answer, or token, counts for in a step's mean: more than 1 where some
        are left out because their advantage is 0.

        Args:
            counted: (answers,) lengths of the step's answers.
            trained: (some answers,) of those that are trained.
        """
        if not len(trained):
            return 1.0
        if self.config.mean_of == "token":
            return float(counted.sum() / trained.sum())
        return len(counted) / len(trained)

    def piece(
        self, prompt: Sequence[int], answers: Answers, number: int, found: Tensor, norm: float
    ) -> Piece:
        """An answer with what is known of its tokens so far."""
        length = int(answers.lengths[number])
        share = 1.0 if self.config.mean_of == "token" else 1.0 / length
        scale = 1.0 / self.config.max_new_tokens if self.config.mean_of == "length" else share
        known = torch.tensor([float(found[number]), 0.0, 0.0, 0.0, scale, share * norm])
        facts = known.repeat(length, 1)  # in the order of FIELDS
        facts[:, SAMPLER] = answers.log_probs[number, :length]
        return Piece(prompt, answers.tokens[number, :length], facts)

    @torch.no_grad()
    def score(self, batches: MicroBatches) -> None:
        """Enters the log-probabilities of the trainer's own pass, and those under the reference."""
        passes = [(OLD, self.loss)]
        if self.reference_loss is not None:
            passes.append((REFERENCE, self.reference_loss))
        count, world = len(batches.labels), self.world
        found = torch.zeros(*batches.labels.shape, len(passes), device=world.device)
        begin = 0
        for size in batches.counts.tolist():  # as `MicroBatches.of` shares them out
            for number in range(begin + world.rank, begin + size, world.size):
                batch = batches.at(number).to(world.device)
                for place, (_, loss) in enumerate(passes):
                    found[number, ..., place] = -loss(*batch.inputs, per_token=True)
            begin += size
        assert begin == count
        found = world.sum(found).cpu()
        for place, (name, _) in enumerate(passes):
            batches.per_token[..., name] = found[..., place]

    def measure_rollout(self, answers: Answers, batches: MicroBatches) -> Tensor:
        """What is logged of a rollout, in the order of `names`. The entropy of the model's
        distribution is the mean of -log p of what was sampled from it."""
        totals, there = self.totals(answers), answers.is_there
        trained = batches.labels >= 0
        old, sampled = batches.per_token[..., OLD], batches.per_token[..., SAMPLER]
        difference = (old - sampled).abs()[trained]
        numbers = [
            totals.mean(),
            *answers.rewards.mean(dim=0),
            1 - has_signal(totals).double().mean(),
            -answers.log_probs[there].double().mean(),
            answers.lengths.double().mean(),
            answers.ended.mean(),
            difference.amax() if len(difference) else torch.tensor(math.nan),
        ]
        return torch.stack([number.double() for number in numbers])

    def measure(self) -> tuple[dict[str, float], list[dict[str, str]]] | None:
        """See BatchSource. An answer passes when its first reward is 1 or more."""
        prompts, answers = self.held_out_answers()
        if not prompts:
            return {}, []
        if answers is None:
            return None
        size = self.config.group_size
        passed = (answers.rewards[:, 0] >= 1).view(-1, size)
        samples = []
        for number in range(min(SAMPLES, len(prompts))):
            reward = float(self.totals(answers)[number, 0])
            text = answers.text(number * size, self.tokenizer)
            samples.append(
                {"prompt": prompts[number].question, "text": text, "reward": f"{reward:.3g}"}
            )
        measured = {**pass_rates(passed), "reward": float(self.totals(answers).mean())}
        return measured, samples if self.config.sample_tokens else []

    def scores(self) -> list[Score]:
        """See BatchSource: the share of each prompt's answers that pass, and their mean reward,
        where that is another number."""
        if self.measured is None:
            return []
        totals = self.totals(self.measured)
        passed = (self.measured.rewards[:, 0] >= 1).double().view(totals.shape)
        values = {"pass@1": passed.mean(dim=1), "reward": totals.mean(dim=1)}
        if torch.equal(passed, totals):
            del values["reward"]
        size, scores = self.config.group_size, []
        for name, found in values.items():
            outcomes = []
            for number, prompt in enumerate(self.measured_prompts):
                asked = prompt.question if name == "pass@1" else ""
                said = self.measured.text(number * size, self.tokenizer)
                group = str(prompt.record.get("category") or script_of(prompt.question))
                outcomes.append(Outcome(group, float(found[number]), asked=asked, said=said))
            scores.append(Score(HELD_OUT_DATA, name, "higher", outcomes))
        return scores
