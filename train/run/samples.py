"""Samples: what the model would say now, generated at every evaluation.

They begin like the first validation record of each script: a text by its first tokens, a
conversation by all that stands before the first answer. Greedy, so that two runs can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config import SamplingConfig
from inference.engine.batch import generate_batch
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.data.rows import IGNORED
from train.evaluation import ValidationGroup

TEXT_PROMPT = 8
"""Tokens that a text is begun with."""


def sample_prompts(
    validation: Mapping[str, ValidationGroup], tokenizer: EtudeTokenizer, is_chat: bool
) -> list[list[int]]:
    """The prompts of a run, one a script, as token ids; none ends inside a character."""
    prompts = []
    for group in validation.values():
        batch = group.rows.batch([0])
        ids, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
        trained = (n for n, label in enumerate(labels) if label != IGNORED)
        length = next(trained, 0) + (1 if is_chat else TEXT_PROMPT)
        while length < len(ids) and tokenizer.decode(ids[:length]).endswith("\ufffd"):
            length += 1
        prompts.append(ids[:length])
    return prompts


def generate_samples(
    model: Etude,
    tokenizer: EtudeTokenizer,
    prompts: Sequence[list[int]],
    max_tokens: int,
    is_chat: bool,
) -> list[dict[str, str]]:
    """Continues every prompt greedily; a prompt and its continuation each, as text."""
    room = model.config.max_position_embeddings - max_tokens
    fitting = [prompt[-room:] if room > 0 else prompt[-1:] for prompt in prompts]
    stop_ids = tokenizer.end_ids(is_chat)
    sampling = SamplingConfig(temperature=0.0, max_tokens=max_tokens)
    # On torch, whatever is compiled on this machine: the samples are in the exact log.
    made = generate_batch(model, fitting, sampling, stop_ids, native=False)
    return [
        {"prompt": tokenizer.decode(prompt), "text": tokenizer.decode(generation.ids)}
        for prompt, generation in zip(fitting, made, strict=True)
    ]
