"""R13: streamed text is the text that comes at once. R14: a cached token is a computed one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from config import ModelConfig, SamplingConfig
from inference.engine.answers import TextStream
from inference.engine.engine import generate_batch
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.trials import Trials

HARD = (
    *(
        "a",
        "e\u0301",
        "é",
        "中",
        "日本",
        "🙂",
        "👨‍👩‍👧",
        "🏳️‍🌈",
        "👍🏽",
        "ꙮ",
        "\u200d",
        "\ufe0f",
        "\u0301",
    ),
    *("שלום", "مرحبا", "नमस्ते", "\ufffd", "<|im_end|>", "<|im_", "\n", "\t", " ", "\x00", "fin"),
)
TEXTS = 1_000
"""In a trial of streaming."""
TIE = 1e-4
"""Two tokens whose logits are closer than this may change places when sums are ordered anew."""


def streamed(tokenizer: EtudeTokenizer, ids: list[int], stop: tuple[str, ...]) -> list[str]:
    """The pieces of an answer."""
    stream = TextStream(tokenizer, stop)
    pieces = [stream.step(token) for token in ids if not stream.stopped]
    return [*pieces, stream.finish()]


def problem_of(tokenizer: EtudeTokenizer, draw: random.Random) -> str:
    """What is wrong with a random text that is streamed, with stop texts or without; empty where
    nothing is."""
    text = "".join(draw.choices(HARD, k=draw.randint(0, 20)))
    ids = tokenizer.encode(text)
    broken = draw.random() < 0.3  # bytes that are no character
    if broken:
        ids = draw.choices(range(len(tokenizer)), k=len(ids))
    whole = tokenizer.decode(ids)
    stop = tuple("".join(draw.choices(HARD, k=draw.randint(1, 2))) for _ in range(2))
    stop = stop if draw.random() < 0.3 else ()
    pieces = streamed(tokenizer, ids, stop)
    if not broken and "\ufffd" not in text and any("\ufffd" in piece for piece in pieces):
        return f"a replacement character was invented in {text!r}"
    ends = [whole.index(text) for text in stop if text in whole]
    expected = {whole[:end] for end in ends} or {whole}
    if "".join(pieces) not in expected:
        return f"{whole!r} came as {pieces} with the stop texts {stop}"
    return ""


@pytest.mark.promise("R13")
def test_streamed_text_is_the_text_that_comes_at_once(
    tokenizer: EtudeTokenizer, trials: Trials
) -> None:
    for seed, draw in trials.draws(trials.size(ci=10, release=1_000)):
        found = list(filter(None, (problem_of(tokenizer, draw) for _ in range(TEXTS))))
        trials.record(seed, not found, texts=TEXTS, found=found[:3])
    trials.verdict()


@torch.no_grad()
def first_difference(model: Etude, prompt: list[int], ids: list[int]) -> str:
    """Where greedy tokens are not what the whole text, computed without a cache, gives; empty
    where they are, or where two tokens are as likely as each other."""
    logits = model(torch.tensor([[*prompt, *ids]]))[0]
    for place, token in enumerate(ids, start=len(prompt) - 1):
        best = logits[place].max()
        if best - logits[place, token] > TIE * max(1.0, float(best.abs())):
            return f"token {place + 1} of {len(prompt)} + {len(ids)} differs"
    return ""


@pytest.mark.promise("R14")
def test_ragged_batches_are_what_the_whole_text_gives_up_to_the_edge_of_the_context(
    model_config: ModelConfig, trials: Trials
) -> None:
    shape = replace(model_config, vocab_size=300)
    context, batch = shape.max_position_embeddings, 10
    for seed, draw in trials.draws(trials.size(ci=10, release=200)):
        model = Etude(shape)
        model.initialize(torch.Generator().manual_seed(draw.randrange(2**31)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8 if parameter.dim() == 2 else 1)
        lengths = [draw.choice([1, 2, context - 1, draw.randint(3, 120)]) for _ in range(batch)]
        prompts = [draw.choices(range(shape.vocab_size), k=length) for length in lengths]
        greedy = SamplingConfig(temperature=0.0, max_tokens=context)
        answers = generate_batch(model.eval(), prompts, greedy, ())
        found = [
            first_difference(model, prompt, answer.ids)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        full = all(len(p) + len(a.ids) == context for p, a in zip(prompts, answers, strict=True))
        found = [*filter(None, found), *([] if full else ["an answer ended before the edge"])]
        trials.record(seed, not found, prompts=batch, found=found)
    trials.verdict()
