"""The proof that a converted directory is the model it was made from.

transformers loads the directory as a stranger would, and must then agree with Etude: the logits,
the tokens of greedy answers, the ids of the chat template, the end of an answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from config import SamplingConfig
from inference.engine.cache import common_prefix
from inference.engine.engine import generate_batch
from model.chat import Message, render, render_prompt
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

TOLERANCE = 1e-4
"""Largest difference of two logits, as a share of the largest logit (float32 gives about 1e-6)."""
GREEDY_TOKENS = 64

QUESTIONS = (
    "Hello! Who are you?",
    "你好！你叫什么名字？",
    "Tell me a story about a fox and a river.",
    "给我讲一个小狐狸的故事。",
    "What is the capital of France?",
    "法国的首都是哪里？",
    "What is 27 + 15?",
    "从前，有一座山，山上有一座庙",
)

CONVERSATIONS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "Hello!"),),
    (("user", "你好！"),),
    (("system", "You are a kind teacher."), ("user", "What is a whale?")),
    (("system", "你是一个诗人。"), ("user", "写一首关于月亮的诗。")),
    (("user", "  spaces  and\n\nlines \t"), ("assistant", "\n kept inside \n"), ("user", "ok")),
    (("user", "🧑‍🚀 naïve Ωμέγα こんにちは 1234567890"),),
    (
        ("system", "Answer in one word."),
        *(("user", "One?"), ("assistant", "Two."), ("user", "三？"), ("assistant", "四。")) * 4,
        ("user", "And then?"),
    ),
)


class ProofFailed(Exception):
    """Etude and transformers disagree about a converted model; the sentence says where."""


@dataclass(frozen=True)
class Proof:
    """What was compared, and how close it was."""

    transformers_version: str
    largest_logit_difference: float
    largest_logit: float
    prompts: int
    greedy_tokens: int
    greedy_tokens_equal: int
    template_renderings_equal: int


def prove(
    directory: Path, model: Etude, tokenizer: EtudeTokenizer, is_chat: bool, dtype: torch.dtype
) -> Proof:
    """Compares a converted directory with the model it was made from.

    Args:
        directory: what was converted.
        model: the Etude model, its weights rounded to dtype, in float32.
        tokenizer: its tokenizer.
        is_chat: whether it ends its turns with <|im_end|>.
        dtype: the type of the converted weights.

    Raises:
        ProofFailed: they disagree, or transformers cannot load the directory.
    """
    llama, auto_tokenizer = load_with_transformers(directory, dtype)
    check_rope_theta(directory, model.config.rope_theta)
    check_ends(llama, auto_tokenizer, tokenizer, is_chat)
    renderings = check_template(auto_tokenizer, tokenizer)
    prompts = make_prompts(tokenizer, is_chat, model.config.max_position_embeddings)
    difference, largest = check_logits(llama, model, prompts)
    stop_ids = tokenizer.end_ids(is_chat)
    total, equal = check_greedy(llama, model, prompts, stop_ids, TOLERANCE * max(1.0, largest))
    return Proof(
        transformers.__version__, difference, largest, len(prompts), total, equal, renderings
    )


def load_with_transformers(directory: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model, turned to float32 for the comparison, and the tokenizer."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        llama: Any = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype="auto", local_files_only=True
        )
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            directory, local_files_only=True
        )
    except Exception as error:  # whatever a stranger would meet
        reason = str(error).partition("\n")[0]
        raise ProofFailed(f"transformers cannot load the result: {reason}") from error
    found = (type(llama).__name__, llama.dtype)
    if found != ("LlamaForCausalLM", dtype):
        raise ProofFailed(f"transformers loads {found} in place of LlamaForCausalLM in {dtype}")
    return llama.float().eval(), tokenizer


def check_rope_theta(directory: Path, expected: float) -> None:
    """config.json must hold the base of the rotary embedding for old and for new readers."""
    fields = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    found = (fields.get("rope_theta"), fields.get("rope_parameters", {}).get("rope_theta"))
    if found != (expected, expected):
        raise ProofFailed(f"config.json has the rope_theta {found} in place of {expected}")


def check_ends(llama: Any, auto_tokenizer: Any, tokenizer: EtudeTokenizer, is_chat: bool) -> None:
    """transformers' own generate must stop at the token that ends an answer."""
    end = tokenizer.im_end_id if is_chat else tokenizer.end_of_text_id
    prompt = torch.tensor([[tokenizer.im_start_id]])
    output = llama.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=4,
        prefix_allowed_tokens_fn=lambda batch, ids: [end],
    )
    if output[0, 1:].tolist() != [end]:
        raise ProofFailed(f"transformers' generate does not stop at the token {end}")
    if auto_tokenizer.eos_token_id != end or auto_tokenizer.pad_token_id is None:
        raise ProofFailed(f"the tokenizer's end token is {auto_tokenizer.eos_token_id}, not {end}")


def check_template(auto_tokenizer: Any, tokenizer: EtudeTokenizer) -> int:
    """The chat template must give the ids of `model/chat.py`; returns how many were compared."""
    count = 0
    for conversation in CONVERSATIONS:
        messages: list[Message] = [{"role": r, "content": c} for r, c in conversation]
        expected = {False: render(tokenizer, messages)[0], True: render_prompt(tokenizer, messages)}
        for with_prompt, ids in expected.items():
            found = auto_tokenizer.apply_chat_template(
                messages, add_generation_prompt=with_prompt, return_dict=False
            )
            if found != ids:
                raise ProofFailed(f"the chat template gives other ids for {messages[0]}")
            count += 1
    return count


def make_prompts(tokenizer: EtudeTokenizer, is_chat: bool, context: int) -> list[list[int]]:
    """Prompts in two languages, cut to half of the context."""
    if is_chat:
        prompts = [render_prompt(tokenizer, [{"role": "user", "content": q}]) for q in QUESTIONS]
    else:
        prompts = [tokenizer.encode(question) for question in QUESTIONS]
    return [prompt[-(context // 2) :] for prompt in prompts]


@torch.no_grad()
def check_logits(llama: Any, model: Etude, prompts: list[list[int]]) -> tuple[float, float]:
    """Logits at every position of the prompts; the largest difference and the largest logit."""
    difference = largest = 0.0
    for prompt in prompts:
        input_ids = torch.tensor([prompt])
        ours, theirs = model(input_ids), llama(input_ids).logits
        largest = max(largest, ours.abs().max().item())
        # not max(): it would lose a NaN
        gap = (ours - theirs).abs().max().item()
        difference = gap if not gap <= difference else difference
    if not difference <= TOLERANCE * max(1.0, largest):
        raise ProofFailed(
            f"the logits differ by {difference:.2g} (the largest is {largest:.3g}): the weights "
            "are not those of the model"
        )
    return difference, largest


@torch.no_grad()
def check_greedy(
    llama: Any, model: Etude, prompts: list[list[int]], stop_ids: tuple[int, ...], tie: float
) -> tuple[int, int]:
    """Greedy answers of transformers' generate, with the end that its generation_config says.

    Where an answer parts at a tie (both tokens are equally likely within the rounding of float32),
    it is compared up to there. Returns the number of tokens, and how many are equal.
    """
    context = model.config.max_position_embeddings
    greedy = SamplingConfig(temperature=0.0, max_tokens=min(GREEDY_TOKENS, context // 2))
    total = equal = 0
    for prompt, ours in zip(prompts, generate_batch(model, prompts, greedy, stop_ids), strict=True):
        input_ids = torch.tensor([prompt])
        output = llama.generate(
            input_ids, attention_mask=torch.ones_like(input_ids), max_new_tokens=greedy.max_tokens
        )
        theirs = output[0, len(prompt) :].tolist()
        if theirs and theirs[-1] in stop_ids:
            theirs.pop()
        same = common_prefix(ours.ids, theirs)
        total, equal = total + max(len(ours.ids), len(theirs)), equal + same
        if ours.ids != theirs:
            logits = model(torch.tensor([prompt + ours.ids[:same]]))[0, -1]
            best, second = logits.topk(2).values.tolist()
            if best - second > tie:
                raise ProofFailed(f"greedy answers part at token {same + 1} of {prompt}")
    return total, equal
