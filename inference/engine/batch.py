"""Many prompts continued at once, by an engine of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from config import SamplingConfig
from inference.engine.answers import Generation, Request
from inference.engine.engine import Engine, check_prompt
from model.transformer import Etude


def generate_batch(
    model: Etude,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    stop_ids: Collection[int],
    batch_size: int = 64,
    native: bool = True,
) -> list[Generation]:
    """Continues many prompts, batch_size at a time; results in the prompts' order.

    With a seed, prompt i is continued with the seed seed + i.

    Raises:
        UserError: a prompt fills the context.
    """
    if not prompts:
        return []
    longest = max(map(len, prompts)) + sampling.max_tokens
    length = min(longest, model.config.max_position_embeddings)
    engine = Engine(model, slots=min(batch_size, len(prompts)), max_length=length, native=native)
    answers = []
    for number, prompt in enumerate(prompts):
        check_prompt(prompt, model.config.max_position_embeddings)
        seed = None if sampling.seed is None else (sampling.seed + number) % 2**63
        answers.append(engine.submit(Request(prompt, replace(sampling, seed=seed), stop_ids)))
    while engine.busy:
        engine.step()
    return [Generation(a.ids, a.finish_reason) for a in answers if a.finish_reason]
