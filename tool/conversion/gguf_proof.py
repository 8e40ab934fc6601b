"""The proof that a GGUF file is the model it was made from: llama.cpp runs it, and must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from config import SamplingConfig
from inference.engine.batch import generate_batch
from inference.engine.slots import common_prefix
from model.chat import Message, render_prompt
from model.directory.pretrained import is_chat_model, load_pretrained
from tool.benchmarks.own_process import Failure, run_apart
from tool.conversion.hf_proof import QUESTIONS, ProofFailed
from tool.conversion.llama_cpp import LlamaCpp

HARD_TEXTS = (
    "Hello world",
    "  two  spaces   and\ttabs\t\t",
    "line\nbreaks\n\n\nand\r\nmore \n ",
    "1234567890 3.14 1,000",
    "你好，世界！这是一个测试。",
    "中文 and English 混排 123",
    "🙂👨‍👩‍👧🧑‍🚀 naïve Ωμέγα こんにちは",
    "I'm you're WE'LL don't",
    "<|im_start|>user<|im_end|><|endoftext|>",
    "x=[1,2];y={'a':b}//--==>>",
    "\u3000全角　空格ＡＢＣ",
    "e\u0301 \u200b zero",
)
ANSWER_TOKENS = 64


@dataclass(frozen=True)
class GgufProof:
    """What was compared."""

    texts: int
    """Texts whose ids are equal, which is all of them."""
    prompts: int
    tokens: int
    """Tokens of our greedy answers."""
    tokens_equal: int
    """Of these, how many llama.cpp chose too, up to its first other one."""


def prove_gguf(path: Path, model_dir: Path, exact: bool) -> GgufProof:
    """Compares a GGUF file with the model directory it was made from.

    Args:
        path: the file.
        model_dir: the Etude model's directory.
        exact: every token of the greedy answers must be equal (f32).

    Raises:
        ProofFailed: they disagree, or llama.cpp cannot load the file.
    """
    model, tokenizer = load_pretrained(model_dir)
    is_chat = is_chat_model(model_dir)
    context = model.config.max_position_embeddings
    prompts = []
    for question in QUESTIONS:
        messages: list[Message] = [{"role": "user", "content": question}]
        text = [tokenizer.end_of_text_id, *tokenizer.encode(question)]
        prompts.append(render_prompt(tokenizer, messages) if is_chat else text)
    prompts = [prompt for prompt in prompts if len(prompt) < context]
    theirs = run_apart(ask_llama_cpp, path, HARD_TEXTS, prompts, context)
    if isinstance(theirs, Failure):
        raise ProofFailed(f"llama.cpp does not run the file ({theirs.reason})")
    ids, answers = theirs
    for hard, found in zip(HARD_TEXTS, ids, strict=True):
        if found != tokenizer.encode(hard):
            raise ProofFailed(f"llama.cpp splits {hard!r} into {found}: not as the tokenizer does")
    stops = tokenizer.end_ids(is_chat)
    greedy = SamplingConfig(temperature=0.0, max_tokens=ANSWER_TOKENS)
    ours = [made.ids for made in generate_batch(model, prompts, greedy, stops)]
    equal = sum(common_prefix(a, b) for a, b in zip(ours, answers, strict=True))
    total = sum(map(len, ours))
    if exact and equal < total:
        raise ProofFailed(f"only {equal} of {total} greedy tokens are llama.cpp's")
    return GgufProof(len(HARD_TEXTS), len(prompts), total, equal)


def ask_llama_cpp(
    path: Path, texts: Sequence[str], prompts: Sequence[Sequence[int]], context: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of texts and the greedy answers to prompts, by llama.cpp."""
    llama = LlamaCpp(path, torch.get_num_threads(), context, exact=True)
    ids = [llama.tokenize(text) for text in texts]
    return ids, [llama.greedy(prompt, ANSWER_TOKENS) for prompt in prompts]
