"""On-policy distillation: the student answers, and the teacher says of each token what it would
have said (GKD, arXiv 2306.13649). So the student learns in situations that it brings itself into,
which are not those of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from config import DistillConfig
from model.tokenizer import EtudeTokenizer
from train.data.batches import IGNORED
from train.objectives.distillation import Distillation
from train.objectives.teacher import Teacher
from train.rollouts.answers import Answers
from train.rollouts.prompts import Prompt, Prompts
from train.rollouts.rows import MicroBatches, Piece, packed
from train.rollouts.source import SAMPLES, Rollout, RolloutSource


class OnPolicy(RolloutSource):
    """Rollouts whose answers a teacher looks at."""

    names = ("entropy", "answer_length", "ended")

    def __init__(
        self, config: DistillConfig, prompts: Prompts, tokenizer: EtudeTokenizer, teacher: Teacher
    ) -> None:
        super().__init__(config, config.loss, prompts, None, tokenizer)
        self.teacher, self.objective = teacher, Distillation(config)
        self.fields = 2 * config.top_k + 1
        """Numbers a token: ids, which float32 holds exactly up to 2^24, and log-probabilities."""

    def make(self, number: int, step: int) -> Rollout | None:
        """See RolloutSource."""
        prompts = [self.prompts.train[n] for n in self.order.rows_of(number)]
        answers = self.sampler(prompts, self.seed_of(number, 0))
        if answers is None:
            return None
        batches = self.taught(prompts, answers, self.settings.batch_size)
        facts = [
            -answers.log_probs[answers.is_there].double().mean(),
            answers.lengths.double().mean(),
            answers.ended.mean(),
        ]
        return Rollout(number, batches, torch.stack(facts))

    def taught(self, prompts: Sequence[Prompt], answers: Answers, count: int) -> MicroBatches:
        """The answers to so many prompts a step in rows, with what the teacher says of them."""
        size = self.settings.group_size
        pieces = [
            Piece(prompts[n // size].ids, tokens[:length], torch.zeros(length, self.fields))
            for n, (tokens, length) in enumerate(
                zip(answers.tokens, answers.lengths.tolist(), strict=True)
            )
        ]
        steps = [pieces[n : n + count * size] for n in range(0, len(pieces), count * size)]
        batches = packed(steps, self.settings.max_length, self.rows, self.fields)
        self.ask(batches)
        return batches

    def ask(self, batches: MicroBatches) -> None:
        """Enters what the teacher says; processes share the micro-batches."""
        world = self.world
        found = torch.zeros(batches.per_token.shape, device=world.device)
        for number in range(world.rank, len(found), world.size):
            batch = batches.at(number).to(world.device)
            ids, log_probs = self.teacher.targets(batch)
            found[number][batch.labels != IGNORED] = torch.cat([ids.float(), log_probs], dim=1)
        batches.per_token = world.sum(found).cpu()

    def measure(self) -> tuple[dict[str, float], list[dict[str, str]]] | None:
        """See BatchSource: the divergence from the teacher on answers to held-out prompts."""
        prompts, answers = self.held_out_answers()
        if not prompts:
            return {}, []
        if answers is None:
            return None
        batches = self.taught(prompts, answers, len(prompts))
        measured = {
            "divergence": self.divergence(batches),
            "ended": float(answers.ended.mean()),
        }
        size = self.settings.group_size
        samples = [
            {"prompt": prompts[n].question, "text": answers.text(n * size, self.tokenizer)}
            for n in range(min(SAMPLES, len(prompts)))
        ]
        return measured, samples if self.settings.sample_tokens else []

    def divergence(self, batches: MicroBatches) -> float:
        """The mean loss of a token."""
        world = self.world
        total = torch.zeros((), dtype=torch.float64, device=world.device)
        for number in range(world.rank, len(batches.labels), world.size):
            batch = self.objective.prepare(batches.at(number).to(world.device), None).batch
            with torch.enable_grad():  # as in a step: only then are soft targets looked at
                total += self.loss(*batch.inputs).detach()
        count: Tensor = (batches.labels != IGNORED).sum()
        return float(world.sum(total)) / max(1, int(count))
