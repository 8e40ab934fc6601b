"""How fast Etude answers, against transformers' generate and llama.cpp on the same machine.

All run the same network (of random weights) on the same prompts, greedily, and never stop
early. Contenders take turns, each time in a process of its own; the median of the rounds counts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import models, pre_tokenizers

from config import ModelConfig, QuantizeName, SamplingConfig, UserError
from inference.engine.answers import GenerationRequest
from inference.engine.engine import Engine
from inference.engine.native import LIBRARY
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.contenders import OF_FAMILIES, SHAPES, SMOLLM2, Shape, build_llama, probe
from tool.benchmarks.measuring import aligned, chosen, take_turns
from tool.conversion.gguf_export import write_gguf
from tool.conversion.llama_cpp import BuiltLlamaCpp, LlamaCpp, LlamaServer, is_installed
from tool.settings import DecodingSpeedConfig
from train.tokenizer.bpe import untrained_bpe

QUANTIZED: dict[str, QuantizeName] = {"etude int8": "int8", "etude int4": "int4"}
LLAMA_TYPES = ("f32", "f16", "q8_0", "q4_0")
BUILT = "built"
"""Before the names of contenders that --llama_server runs."""

Generate = Callable[[Sequence[Sequence[int]], int], list[list[int]]]
"""Continues prompts by so many tokens each, greedily."""


@dataclass(frozen=True)
class DecodingJob:
    """One run of a contender."""

    name: str
    folder: str
    """Where llama.cpp's files are."""
    config: DecodingSpeedConfig
    model: ModelConfig
    """The network."""


@dataclass(frozen=True)
class DecodingSpeed:
    """What one run gave, in tokens per second."""

    one: float
    """New tokens of one answer."""
    many: float
    """New tokens of several answers at once, all together."""
    reading: float
    """Prompt tokens until the first token of the answer is there."""

    def __str__(self) -> str:
        return f"{self.one:,.0f} tokens/s"


def compare(config: DecodingSpeedConfig) -> int:
    """Measures, prints a table and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: a contender is not known, or there is no server to run it.
    """
    refuse_without_server(config)
    machine, _ = probe(config.device, "float32")
    model = network(config)
    names = list(chosen(config.contenders, CONTENDERS, "contenders"))
    if config.shape not in ("S", "llama"):
        names = [name for name in names if name != "transformers"]
    if config.llama_server is None:
        names = [name for name in names if not name.startswith(BUILT)]
    if not is_installed():
        print("llama.cpp is left out: pip install xllamacpp to measure it too")
        names = [name for name in names if not name.startswith("llama.cpp")]
    with TemporaryDirectory() as folder:
        kinds = {name.split()[-1] for name in names if "llama.cpp" in name}
        write_llama_files(Path(folder), make_model(model, config.seed), kinds)
        jobs = {
            name: partial(CONTENDERS[name], DecodingJob(name, folder, config, model))
            for name in names
        }
        results, failures = take_turns(jobs, config.rounds)
    medians = {name: median_of(rounds) for name, rounds in results.items() if rounds}
    print(table(medians, failures, config))
    report = {
        "benchmark": "decode",
        "machine": machine,
        "settings": dataclasses.asdict(config),
        "shape": dataclasses.asdict(model),
        "tokens_per_second": {n: dataclasses.asdict(m) for n, m in medians.items()},
        "rounds": {n: [dataclasses.asdict(r) for r in rounds] for n, rounds in results.items()},
        "failures": failures,
    }
    print(json.dumps(report, default=str))
    return int(bool(failures))


def refuse_without_server(config: DecodingSpeedConfig) -> None:
    """Raises UserError when the contenders of --llama_server are asked for and it is not there."""
    server = config.llama_server
    if server is None and (named := [n for n in config.contenders if n.startswith(BUILT)]):
        raise UserError(f"contenders: {named[0]!r} needs --llama_server, the program that runs it")
    if server and not os.access(server, os.X_OK):
        raise UserError(f"--llama_server {server}: there is no such program")


def measure(job: DecodingJob, generate: Generate) -> DecodingSpeed:
    """Times a contender, after a short answer that does not count.

    Raises:
        AssertionError: it did not make as many tokens as it was asked for.
    """
    config = job.config
    draw = partial(make_prompt, job.model.vocab_size)
    prompts = [draw(config.prompt_tokens, n) for n in range(config.streams)]
    generate(prompts[:1], 8)
    generate(prompts, 2)
    clock = time.process_time if config.processor_time else time.perf_counter
    took = partial(timed, clock, generate)
    one = took(prompts[:1], config.new_tokens)
    many = took(prompts, config.new_tokens)
    long = [draw(config.long_prompt_tokens, n) for n in range(100, 105)]
    reading = min(took([prompt], 1) for prompt in long)
    return DecodingSpeed(
        config.new_tokens / one,
        config.streams * config.new_tokens / many,
        config.long_prompt_tokens / reading,
    )


def timed(
    clock: Callable[[], float],
    generate: Generate,
    prompts: Sequence[Sequence[int]],
    count: int,
) -> float:
    """Seconds of a whole call."""
    began = clock()
    answers = generate(prompts, count)
    seconds = clock() - began
    assert [len(tokens) for tokens in answers] == [count] * len(prompts)
    return seconds


def network(config: DecodingSpeedConfig) -> ModelConfig:
    """The network of the settings."""
    if config.shape == "S":
        return SHAPES["S"].model
    return dataclasses.replace(SMOLLM2, **OF_FAMILIES[config.shape])


def make_prompt(vocab_size: int, length: int, seed: int) -> list[int]:
    """Random ids."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(3, vocab_size, (length,), generator=draw).tolist()


def make_model(shape: ModelConfig, seed: int) -> Etude:
    """The network, with random weights."""
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(seed))
    return model.eval()


def measure_etude(job: DecodingJob) -> DecodingSpeed:
    """Etude's engine, on its native forward pass where a compiler is."""
    torch.set_num_threads(job.config.threads)
    LIBRARY.prepare()
    LIBRARY.wait()
    model = make_model(job.model, job.config.seed)
    quantize = QUANTIZED.get(job.name, "none")
    if job.name.endswith("bfloat16"):  # the engine keeps what it holds in it
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
    # A random network soon repeats itself, which drafts would be too good at.
    slots, length = job.config.streams, context_of(job.config)
    engine = Engine(model, slots=slots, max_length=length, quantize=quantize, drafts=False)

    def generate(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        for slot in engine.slots:
            slot.cached = []  # nothing of an earlier prompt may be of use
        greedy = SamplingConfig(temperature=0.0, max_tokens=count)
        answers = [engine.submit(GenerationRequest(prompt, greedy, ())) for prompt in prompts]
        while engine.busy:
            engine.step()
        return [made.ids for made in answers]

    return measure(job, generate)


def measure_transformers(job: DecodingJob) -> DecodingSpeed:
    """transformers' generate."""
    torch.set_num_threads(job.config.threads)
    model: Any = build_llama(job.model, "sdpa", torch.device("cpu"))
    model.eval()

    def generate(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        ids = torch.tensor([list(prompt) for prompt in prompts])
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
        return [row.tolist() for row in made[:, ids.shape[1] :]]

    return measure(job, generate)


def measure_llama_cpp(job: DecodingJob) -> DecodingSpeed:
    """llama.cpp, asked over HTTP on this machine."""
    path = Path(job.folder) / f"{job.name.split()[-1]}.gguf"
    sizes = job.config.threads, context_of(job.config), job.config.streams
    if job.name.startswith(BUILT) and job.config.llama_server:
        with closing(BuiltLlamaCpp(job.config.llama_server, path, *sizes)) as built:
            return measure_served(job, built)
    return measure_served(job, LlamaCpp(path, *sizes))


def measure_served(job: DecodingJob, llama: LlamaServer) -> DecodingSpeed:
    """A llama.cpp that is ready to answer."""
    pool = ThreadPoolExecutor(job.config.streams)

    def generate(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
        made = pool.map(lambda prompt: llama.greedy(prompt, count, ignore_end=True), prompts)
        return list(made)

    return measure(job, generate)


def context_of(config: DecodingSpeedConfig) -> int:
    """Tokens of the longest prompt with its answer."""
    longest = max(config.prompt_tokens + config.new_tokens, config.long_prompt_tokens + 1)
    return -(-longest // 256) * 256


def write_llama_files(folder: Path, model: Etude, kinds: Iterable[str]) -> None:
    """Writes a network for llama.cpp, with a made-up tokenizer that is never used."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL_TOKENS, *letters, "ab"]
    words += [f"w{number}" for number in range(model.config.vocab_size - len(words))]
    backend = untrained_bpe()
    backend.model = models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[("a", "b")])
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer = EtudeTokenizer(backend)
    for kind in kinds:
        write_gguf(folder / f"{kind}.gguf", model, tokenizer, False, kind, "benchmark")


CONTENDERS: dict[str, Callable[[DecodingJob], DecodingSpeed]] = {
    "transformers": measure_transformers,
    **{f"llama.cpp {kind}": measure_llama_cpp for kind in LLAMA_TYPES},
    **{f"{BUILT} llama.cpp {kind}": measure_llama_cpp for kind in LLAMA_TYPES},
    "etude float32": measure_etude,
    "etude bfloat16": measure_etude,
    **dict.fromkeys(QUANTIZED, measure_etude),
}
"""By name; the first is what the others are compared with."""


def median_of(rounds: Sequence[DecodingSpeed]) -> DecodingSpeed:
    """The median of each figure."""
    columns = zip(*(dataclasses.astuple(speed) for speed in rounds), strict=True)
    return DecodingSpeed(*(statistics.median(column) for column in columns))


def table(
    medians: Mapping[str, DecodingSpeed], failures: Mapping[str, str], config: DecodingSpeedConfig
) -> str:
    """The medians as a table; in brackets, how many times the first contender's."""
    shape = Shape(network(config), 1, 1)
    title = (
        f"\nshape {config.shape}: {shape.sentence().rsplit(', ', 1)[0]}; prompts of "
        f"{config.prompt_tokens} tokens, answers of {config.new_tokens}, {config.threads} threads; "
        f"tokens/s of whole calls; in brackets: times {next(iter(medians), '')}\n"
    )
    figures = {name: dataclasses.astuple(speed) for name, speed in medians.items()}
    rows = []
    for name, values in figures.items():
        pairs = zip(values, next(iter(figures.values())), strict=True)
        rows.append((name, *(f"{value:,.0f} ({value / other:.2f}x)" for value, other in pairs)))
    head = ("", "one answer", f"{config.streams} at once", "reading a prompt")
    return title + aligned(head, rows, failures)
