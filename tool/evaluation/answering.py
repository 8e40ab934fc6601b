"""The contenders of the decoding benchmark, and measuring one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from config import SamplingConfig
from inference.engine.answers import Request
from inference.engine.engine import Engine
from inference.engine.native import LIBRARY
from inference.engine.quantization import quantize_model
from model.directory.pretrained import weights_of
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.llama_training import build_llama
from tool.benchmarks.shapes import SHAPES
from tool.conversion.gguf_export import write_gguf
from tool.conversion.llama_cpp import LlamaCpp
from tool.settings import DecodingSpeedConfig

LLAMA_TYPES = ("f32", "f16", "q8_0")

Answerer = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
"""Continues prompts by so many tokens each, greedily."""


@dataclass(frozen=True)
class AnsweringJob:
    """One run of a contender."""

    name: str
    folder: str
    """Where llama.cpp's files are."""
    config: DecodingSpeedConfig


@dataclass(frozen=True)
class AnsweringSpeed:
    """What one run gave, in tokens per second."""

    one: float
    """New tokens of one answer."""
    many: float
    """New tokens of several answers at once, all together."""
    reading: float
    """Prompt tokens until the first token of the answer is there."""


def measure(job: AnsweringJob, answer: Answerer) -> AnsweringSpeed:
    """Times a contender, after a short answer that nobody counts.

    Raises:
        AssertionError: it did not make as many tokens as it was asked for.
    """
    config = job.config
    prompts = [make_prompt(config.prompt_tokens, n) for n in range(config.streams)]
    answer(prompts[:1], 8)
    answer(prompts, 2)
    one = timed(answer, prompts[:1], config.new_tokens)
    many = timed(answer, prompts, config.new_tokens)
    long = [make_prompt(config.long_prompt_tokens, n) for n in range(100, 105)]
    reading = min(timed(answer, [prompt], 1) for prompt in long)
    return AnsweringSpeed(
        config.new_tokens / one,
        config.streams * config.new_tokens / many,
        config.long_prompt_tokens / reading,
    )


def timed(answer: Answerer, prompts: Sequence[Sequence[int]], count: int) -> float:
    """Seconds of a whole call."""
    began = time.perf_counter()
    answers = answer(prompts, count)
    seconds = time.perf_counter() - began
    assert [len(tokens) for tokens in answers] == [count] * len(prompts)
    return seconds


def make_prompt(length: int, seed: int) -> list[int]:
    """Random ids."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(3, SHAPES["S"].model.vocab_size, (length,), generator=draw).tolist()


def make_model(seed: int) -> Etude:
    """The network, with random weights."""
    model = Etude(SHAPES["S"].model)
    model.initialize(torch.Generator().manual_seed(seed))
    return model.eval()


def measure_etude(job: AnsweringJob) -> AnsweringSpeed:
    """Etude's engine, on its native forward pass where a compiler is."""
    torch.set_num_threads(job.config.threads)
    LIBRARY.prepare()
    LIBRARY.wait()
    model = make_model(job.config.seed)
    quantized = quantize_model(model) if job.name.endswith("int8") else None
    # A random network soon repeats itself, which drafts would be too good at.
    engine = Engine(model, slots=job.config.streams, quantized=quantized, drafts=False)

    def answer(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        for slot in engine.slots:
            slot.held = []  # nothing of an earlier prompt may be of use
        greedy = SamplingConfig(temperature=0.0, max_tokens=count)
        answers = [engine.submit(Request(prompt, greedy, ())) for prompt in prompts]
        while engine.busy:
            engine.step()
        return [made.ids for made in answers]

    return measure(job, answer)


def measure_transformers(job: AnsweringJob) -> AnsweringSpeed:
    """transformers' generate, eager or compiled with a static cache."""
    torch.set_num_threads(job.config.threads)
    compiled = job.name.endswith("compiled")
    model: Any = build_llama(SHAPES["S"].model, "sdpa", torch.device("cpu"))
    model.eval()
    settings: dict[str, Any] = {"do_sample": False, "use_cache": True, "pad_token_id": 0}
    if compiled:
        model.forward = torch.compile(model.forward, dynamic=True)
        settings["cache_implementation"] = "static"

    def answer(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        ids = torch.tensor([list(prompt) for prompt in prompts])
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            **settings,
        )
        return [row.tolist() for row in made[:, ids.shape[1] :]]

    return measure(job, answer)


def measure_llama_cpp(job: AnsweringJob) -> AnsweringSpeed:
    """llama.cpp, asked over HTTP on this machine."""
    path = Path(job.folder) / f"{job.name.split()[-1]}.gguf"
    context = SHAPES["S"].model.max_position_embeddings
    llama = LlamaCpp(path, job.config.threads, context, job.config.streams)
    pool = ThreadPoolExecutor(job.config.streams)

    def answer(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        made = pool.map(lambda prompt: llama.greedy(prompt, count, ignore_end=True), prompts)
        return list(made)

    return measure(job, answer)


def write_llama_files(folder: Path, seed: int) -> None:
    """Writes the same network for llama.cpp, with a tokenizer that nobody needs."""
    model = make_model(seed)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL_TOKENS, *letters, "ab"]
    words += [f"w{number}" for number in range(model.config.vocab_size - len(words))]
    backend = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[("a", "b")]))
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer = EtudeTokenizer(backend)
    for kind in LLAMA_TYPES:
        path = folder / f"{kind}.gguf"
        write_gguf(path, model.config, weights_of(model), tokenizer, False, kind, "benchmark")


ANSWERING: dict[str, Callable[[AnsweringJob], AnsweringSpeed]] = {
    "transformers": measure_transformers,
    "transformers compiled": measure_transformers,
    **{f"llama.cpp {kind}": measure_llama_cpp for kind in LLAMA_TYPES},
    "etude float32": measure_etude,
    "etude int8": measure_etude,
}
"""By name; the first is what the others are compared with."""
