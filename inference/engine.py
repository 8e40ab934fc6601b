"""The generation engine: prompts in, tokens out.

    generate(model, prompt, sampling, stop_ids) -> TokenStream
        an iterator over token ids, one by one; its finish_reason is set at the end
    generate_batch(model, prompts, sampling, stop_ids, batch_size=64) -> list[Generation]
        many prompts (list[list[int]]) of different lengths at once; results in the prompts' order

Both run the same `Decoding`: the prompts, padded on the right, go through the network in one pass
that fills the key/value cache; then each step runs one token a row. A row that ends leaves the
batch at once. A text ends with a stop token (reason "stop"; the token is not part of the result),
or after max_tokens or at the edge of the context (reason "length").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from config import SamplingConfig, UserError
from inference.sampler import make_generators, sample
from model.kv_cache import KVCache
from model.transformer import Etude

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """What a prompt was continued with."""

    ids: list[int]
    """The new tokens, without the prompt and without the stop token."""
    finish_reason: FinishReason
    """"stop": the model ended it. "length": max_tokens or the edge of the context did."""


def generate(
    model: Etude, prompt: Sequence[int], sampling: SamplingConfig, stop_ids: Collection[int]
) -> TokenStream:
    """Continues one prompt; the tokens come one by one.

    Raises:
        UserError: the prompt fills the context.
    """
    return TokenStream(Decoding(model, [prompt], sampling, stop_ids))


class TokenStream(Iterator[int]):
    """The tokens of one continuation, each computed when it is asked for."""

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the text ended; None while it goes on."""
        return self.decoding.finish_reasons[0]

    def __next__(self) -> int:
        """The next token; a stop token ends the stream instead."""
        ids = self.decoding.ids[0]
        before = len(ids)
        if self.decoding.running:
            self.decoding.step()
        if len(ids) == before:
            raise StopIteration
        return ids[-1]


def generate_batch(
    model: Etude,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    stop_ids: Collection[int],
    batch_size: int = 64,
) -> list[Generation]:
    """Continues many prompts, batch_size at a time; results in the prompts' order.

    With a seed, prompt i is continued as `generate` would with the seed seed + i.

    Raises:
        UserError: a prompt fills the context.
    """
    generators = make_generators(sampling.seed, len(prompts))
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    results: dict[int, Generation] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        decoding = Decoding(
            model,
            [prompts[i] for i in chosen],
            sampling,
            stop_ids,
            [generators[i] for i in chosen],
        )
        results.update(zip(chosen, decoding.finish(), strict=True))
    return [results[i] for i in range(len(prompts))]


class Decoding:
    """A batch of prompts on their way to their ends.

    `ids` and `finish_reasons` have an entry for each prompt; `running` are the numbers of the
    prompts that still go on, in the order of the rows of cache and logits.
    """

    def __init__(
        self,
        model: Etude,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        stop_ids: Collection[int],
        generators: Sequence[torch.Generator] | None = None,
    ) -> None:
        context = model.config.max_position_embeddings
        for prompt in prompts:
            check_prompt(prompt, context)
        self.model, self.sampling, self.stop_ids = model, sampling, frozenset(stop_ids)
        self.generators = list(generators or make_generators(sampling.seed, len(prompts)))
        self.ids: list[list[int]] = [[] for _ in prompts]
        self.finish_reasons: list[FinishReason | None] = [None] * len(prompts)
        self.limits = [min(sampling.max_tokens, context - len(prompt)) for prompt in prompts]
        self.running = list(range(len(prompts)))
        self.seen: Tensor | None = None
        self.prefill(prompts)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> None:
        """Runs the prompts through the network in one pass; only their last positions reach the
        output layer."""
        weight = self.model.lm_head.weight
        lengths = [len(prompt) for prompt in prompts]
        room = max(len(p) + limit for p, limit in zip(prompts, self.limits, strict=True))
        self.cache = KVCache(self.model.config, len(prompts), room, weight.device, weight.dtype)
        padded = [[*prompt, *[0] * (max(lengths) - len(prompt))] for prompt in prompts]
        hidden = self.model.model(torch.tensor(padded, device=weight.device), self.cache)
        self.cache.advance(lengths)
        last = torch.tensor(lengths, device=weight.device) - 1
        rows = torch.arange(len(prompts), device=weight.device)
        self.logits: Tensor | None = self.model.lm_head(hidden[rows, last])  # (batch, vocab)
        if self.sampling.repetition_penalty != 1:
            self.seen = torch.zeros_like(self.logits, dtype=torch.bool)
            for row, prompt in enumerate(prompts):
                self.seen[row, torch.tensor(prompt, device=weight.device)] = True

    @torch.inference_mode()
    def step(self) -> None:
        """Chooses one more token for each running row, and lets the rows go that end with it."""
        if self.logits is None:
            # Late, so that a token is seen before the next one is computed.
            newest = [[self.ids[number][-1]] for number in self.running]
            self.logits = self.forward(newest)
        tokens = sample(self.logits, self.sampling, self.generators, self.seen)
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        self.logits = None
        for number, token in zip(self.running, tokens.tolist(), strict=True):
            self.take(number, token)
        self.drop_finished()

    def forward(self, newest: list[list[int]]) -> Tensor:
        """Logits (batch, vocab) after one more token a row."""
        input_ids = torch.tensor(newest, device=self.cache.keys.device)
        hidden = self.model.model(input_ids, self.cache)
        self.cache.advance(1)
        return self.model.lm_head(hidden[:, -1])

    def take(self, number: int, token: int) -> None:
        """Adds a token to a prompt's continuation, or ends it."""
        if token in self.stop_ids:
            self.finish_reasons[number] = "stop"
            return
        self.ids[number].append(token)
        if len(self.ids[number]) == self.limits[number]:
            self.finish_reasons[number] = "length"

    def drop_finished(self) -> None:
        """Takes the rows that have ended out of the batch."""
        rows = [row for row, n in enumerate(self.running) if self.finish_reasons[n] is None]
        if len(rows) == len(self.running):
            return
        self.running = [self.running[row] for row in rows]
        self.generators = [self.generators[row] for row in rows]
        if rows:
            self.cache.select(rows)
            self.seen = None if self.seen is None else self.seen[rows]

    def finish(self) -> list[Generation]:
        """Steps until every row has ended."""
        while self.running:
            self.step()
        return [
            Generation(ids, reason)
            for ids, reason in zip(self.ids, self.finish_reasons, strict=True)
            if reason is not None
        ]


def check_prompt(prompt: Sequence[int], context: int) -> None:
    """Raises UserError when a prompt leaves no room in the context; an empty one is a fault of
    ours."""
    assert len(prompt) > 0, "a prompt needs a token to start from"
    if len(prompt) >= context:
        raise UserError(
            f"the prompt has {len(prompt)} tokens, but the model's context is {context}: shorten it"
        )
