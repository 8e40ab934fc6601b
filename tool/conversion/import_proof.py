"""The proof that a model that was brought in is the model it was made from: the program that it is
from, in a process of its own, computes what Etude does.

One of them at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import SamplingConfig
from inference.engine.cache import common_prefix
from inference.engine.engine import generate_batch
from model.chat import Message, render_prompt
from model.directory.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.measuring import Failure, run_apart
from tool.conversion.hf_proof import (
    TOLERANCE,
    ProofFailed,
    make_prompts,
    many_conversations,
)
from tool.conversion.importing import ImportProof
from tool.conversion.llama_cpp import HARD_TEXTS, LlamaCpp, is_installed

CONTEXT = 512
"""Tokens of a prompt and its answer, at most."""
NEW_TOKENS = 16
"""Tokens of an answer."""
POSITIONS = 8
"""Of a prompt, so many last ones."""
CLOSE = 1e-3
"""Largest difference of two log-probabilities where llama.cpp multiplies in float32."""
ROUNDED = 0.5
"""Mean difference of two log-probabilities where it rounds to 8 or 16 bits what it multiplies
quantised weights with: 0.12 for SmolLM2-135M in Q4_1, and 2.5 when it answers another prompt."""


def prove_gguf_import(path: Path, directory: Path, exact: bool) -> ImportProof | None:
    """Compares the model directory that was made of a GGUF file with llama.cpp on that file; None
    where that is not installed.

    Args:
        path: the file.
        directory: what was made of it.
        exact: all of its weights are float32.

    Raises:
        ProofFailed: they disagree, or llama.cpp cannot load the file.
    """
    if not is_installed():
        return None
    model, tokenizer = load_pretrained(directory)
    is_chat = is_chat_model(directory)
    context = min(model.config.max_position_embeddings, CONTEXT)
    prompts = make_prompts(tokenizer, is_chat, context)
    chats = {} if tokenizer.chat_format.is_etudes else dict(rendered_chats(tokenizer))
    expected = {text: tokenizer.encode(text) for text in HARD_TEXTS} | chats
    try:
        found = run_apart(ask_llama_cpp, path, tuple(chats), prompts, context)
    except Failure as failure:
        raise ProofFailed(f"llama.cpp does not run the file ({failure})") from failure
    ids, likeliest, answers = found
    for text, theirs in zip(expected, ids, strict=True):
        if theirs != expected[text]:
            raise ProofFailed(f"llama.cpp splits {text!r} into {theirs}: not as the tokenizer does")
    difference = likeliest_difference(model, prompts, likeliest, exact)
    counts = (len(HARD_TEXTS), len(chats), len(prompts))
    greedy = greedy_equal(model, prompts, answers, tokenizer.end_ids(is_chat))
    return ImportProof("llama.cpp", *counts, "log-probs", difference, not exact, *greedy)


def rendered_chats(tokenizer: EtudeTokenizer) -> Iterator[tuple[str, list[int]]]:
    """Conversations as texts, and the ids of these prompts."""
    for conversation in many_conversations():
        if conversation[-1][0] == "user":
            messages: list[Message] = [{"role": r, "content": c} for r, c in conversation]
            text = tokenizer.chat_format.render(messages, add_generation_prompt=True)
            yield text, render_prompt(tokenizer, messages)


def ask_llama_cpp(
    path: Path, chats: Sequence[str], prompts: Sequence[Sequence[int]], context: int
) -> tuple[list[list[int]], list[dict[int, float]], list[list[int]]]:
    """By llama.cpp: the ids of hard texts and of rendered conversations, the log-probabilities of
    the likeliest tokens after each prompt, and the greedy answers."""
    llama = LlamaCpp(path, torch.get_num_threads(), context, exact=True)
    ids = [llama.tokenize(text) for text in HARD_TEXTS]
    ids += [llama.tokenize(text, control=True) for text in chats]
    likeliest = [llama.likeliest(prompt) for prompt in prompts]
    return ids, likeliest, [llama.greedy(prompt, NEW_TOKENS) for prompt in prompts]


@torch.no_grad()
def likeliest_difference(
    model: Etude, prompts: Sequence[list[int]], likeliest: Sequence[dict[int, float]], exact: bool
) -> float:
    """The largest difference to log-probabilities of tokens that llama.cpp finds the likeliest
    after each prompt, or the mean one where it rounds; raises ProofFailed when that is too large.
    """
    gaps = []
    for prompt, theirs in zip(prompts, likeliest, strict=True):
        ours = model(torch.tensor([prompt]))[0, -1].log_softmax(-1)  # (vocab,)
        gaps.append((ours[list(theirs)] - torch.tensor(list(theirs.values()))).abs())
    every = torch.cat(gaps)
    difference = (every.max() if exact else every.mean()).item()
    if not difference <= (CLOSE if exact else ROUNDED):
        raise ProofFailed(
            f"the log-probabilities differ from llama.cpp's by {difference:.2g}"
            f"{'' if exact else ' on an average'}: the model is not the file's"
        )
    return difference


def greedy_equal(
    model: Etude, prompts: Sequence[list[int]], theirs: Sequence[list[int]], ends: tuple[int, ...]
) -> tuple[int, int]:
    """The number of tokens of our greedy answers, and how many of them the other chose too, up to
    its first other one."""
    greedy = SamplingConfig(temperature=0.0, max_tokens=NEW_TOKENS)
    ours = [made.ids for made in generate_batch(model, list(prompts), greedy, ends)]
    equal = sum(common_prefix(a, b) for a, b in zip(ours, theirs, strict=True))
    return sum(map(len, ours)), equal


def prove_hf_import(
    source: Path, directory: Path, renderings: int, dtype: torch.dtype
) -> ImportProof:
    """Compares the model directory that was made of a transformers directory with transformers.

    Args:
        source: that directory.
        directory: what was made of it.
        renderings: how many renderings of its chat template have been compared.
        dtype: what the weights were rounded to; both compute in float32.

    Raises:
        ProofFailed: the logits differ.
    """
    model, tokenizer = load_pretrained(directory)
    is_chat = is_chat_model(directory)
    context = min(model.config.max_position_embeddings, CONTEXT)
    prompts = make_prompts(tokenizer, is_chat, context)
    ends = tokenizer.end_ids(is_chat)
    try:
        found = run_apart(ask_transformers, source, prompts, min(NEW_TOKENS, context // 2), dtype)
    except Failure as failure:
        raise ProofFailed(f"transformers does not run {source} ({failure})") from failure
    version, logits, answers = found
    difference = logit_difference(model, prompts, logits)
    greedy = greedy_equal(model, prompts, answers, ends)
    counts = (0, renderings, len(prompts))
    return ImportProof(f"transformers {version}", *counts, "logits", difference, False, *greedy)


@torch.no_grad()
def ask_transformers(
    source: Path, prompts: Sequence[list[int]], tokens: int, dtype: torch.dtype
) -> tuple[str, list[Tensor], list[list[int]]]:
    """By transformers: its version, the logits (seq, vocab) at the last positions of each prompt,
    and the greedy answers."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=dtype, local_files_only=True
    )
    theirs = theirs.float().eval()
    inputs = [torch.tensor([prompt]) for prompt in prompts]
    logits = [theirs(each, logits_to_keep=POSITIONS).logits[0] for each in inputs]
    made = [theirs.generate(each, do_sample=False, max_new_tokens=tokens) for each in inputs]
    answers = [row[0, len(prompt) :].tolist() for row, prompt in zip(made, prompts, strict=True)]
    return transformers.__version__, logits, answers


@torch.no_grad()
def logit_difference(model: Etude, prompts: Sequence[list[int]], theirs: Sequence[Tensor]) -> float:
    """The largest difference of two logits, of tokens that both have; raises ProofFailed when that
    is too large."""
    difference = largest = 0.0
    for prompt, their in zip(prompts, theirs, strict=True):
        our = model(torch.tensor([prompt]))[0, -len(their) :, : their.shape[1]]  # (seq, vocab)
        gap = (our - their[:, : our.shape[1]]).abs().max().item()
        difference = gap if not gap <= difference else difference  # not max(): it would lose a NaN
        largest = max(largest, our.abs().max().item())
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ProofFailed(
            f"the logits differ from transformers' by {difference:.2g} (the largest is "
            f"{largest:.3g}): the weights are not those of the model"
        )
    return difference
