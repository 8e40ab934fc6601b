"""The proof that a converted directory is the model it was made from.

transformers loads the directory as a stranger would, and must then agree with Etude: the logits,
the tokens of greedy answers (one by one, and in a padded batch), the ids of the chat template, the
end of an answer.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import jinja2
import torch
import transformers

from config import SamplingConfig, UserError
from inference.engine.cache import common_prefix
from inference.engine.engine import generate_batch
from model.chat import render, render_prompt
from model.conversation import Message
from model.families import family_of
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
    padded_tokens_equal: int
    """Of the same tokens, how many come out when the prompts are one batch, padded."""
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
    architecture = family_of(model.config).architecture
    stock, auto_tokenizer = load_with_transformers(directory, architecture, dtype)
    check_for_older_readers(directory, model.config.rope_theta)
    check_ends(stock, auto_tokenizer, tokenizer, is_chat)
    if auto_tokenizer.chat_template != tokenizer.chat_format.template:
        raise ProofFailed("the chat template is not that of the model")
    renderings = check_template(auto_tokenizer, tokenizer)
    prompts = make_prompts(tokenizer, is_chat, model.config.max_position_embeddings)
    difference, largest = check_logits(stock, model, prompts)
    stop_ids = tokenizer.end_ids(is_chat)
    greedy = check_greedy(
        stock, auto_tokenizer, model, prompts, stop_ids, TOLERANCE * max(1.0, largest)
    )
    return Proof(transformers.__version__, difference, largest, len(prompts), *greedy, renderings)


def load_with_transformers(
    directory: Path, architecture: str, dtype: torch.dtype
) -> tuple[Any, Any]:
    """The model, which must be of a class, turned to float32 for the comparison, and the
    tokenizer."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        stock: Any = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype="auto", local_files_only=True
        )
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            directory, local_files_only=True
        )
    except Exception as error:  # whatever a stranger would meet
        reason = str(error).partition("\n")[0]
        raise ProofFailed(f"transformers cannot load the result: {reason}") from error
    found = (type(stock).__name__, stock.dtype)
    if found != (architecture, dtype):
        raise ProofFailed(f"transformers loads {found} in place of {architecture} in {dtype}")
    return stock.float().eval(), tokenizer


def check_for_older_readers(directory: Path, rope_theta: float) -> None:
    """The files must hold what transformers 5 does not miss, but others do: version 4 the base of
    the rotary embedding in its old place and the inputs of the network (without which it passes
    token_type_ids), CTranslate2 a bos_token."""
    fields = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    found = (fields.get("rope_theta"), fields.get("rope_parameters", {}).get("rope_theta"))
    if found != (rope_theta, rope_theta):
        raise ProofFailed(f"config.json has the rope_theta {found} in place of {rope_theta}")
    stated = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    if stated.get("model_input_names") != ["input_ids", "attention_mask"]:
        raise ProofFailed("tokenizer_config.json does not name input_ids and attention_mask alone")
    if not stated.get("bos_token"):
        raise ProofFailed("tokenizer_config.json has no bos_token")


def check_ends(stock: Any, auto_tokenizer: Any, tokenizer: EtudeTokenizer, is_chat: bool) -> None:
    """transformers' own generate must stop at the token that ends an answer."""
    end = tokenizer.end_ids(is_chat)[0]
    inputs = auto_tokenizer("Hello", return_tensors="pt")
    if inputs["input_ids"][0].tolist() != tokenizer.backend.encode("Hello").ids:
        raise ProofFailed(f"transformers' tokenizer reads Hello as {inputs['input_ids'].tolist()}")
    output = stock.generate(
        **inputs, max_new_tokens=4, prefix_allowed_tokens_fn=lambda batch, ids: [end]
    )
    if output[0, inputs["input_ids"].shape[1] :].tolist() != [end]:
        raise ProofFailed(f"transformers' generate does not stop at the token {end}")
    if tokenizer.chat_format.is_etudes and auto_tokenizer.eos_token_id != end:
        raise ProofFailed(f"the tokenizer's end token is {auto_tokenizer.eos_token_id}, not {end}")
    if auto_tokenizer.pad_token_id is None:
        raise ProofFailed("the tokenizer has no token to pad with")


def check_template(
    auto_tokenizer: Any,
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Sequence[tuple[str, str]]] = CONVERSATIONS,
) -> int:
    """transformers must make the ids of the chat template that `model/chat.py` makes, the last turn
    continued where it is the assistant's; returns how many were compared. A conversation that the
    template refuses must be refused here too."""
    today = dataclasses.replace(tokenizer.chat_format, date=datetime.date.today().isoformat())
    dated = EtudeTokenizer(tokenizer.backend, today)  # as transformers fills it in
    count = 0
    for conversation in conversations:
        messages: list[Message] = [{"role": r, "content": c} for r, c in conversation]
        answered = messages[-1]["role"] == "assistant"
        way = {"continue_final_message": True} if answered else {"add_generation_prompt": True}
        for make, options in ((rendered_ids, {}), (render_prompt, way)):
            theirs = ids_or_none(
                auto_tokenizer.apply_chat_template, messages, return_dict=False, **options
            )
            ours = ids_or_none(make, dated, messages)
            if ours != theirs and (ours or make is render_prompt):
                raise ProofFailed(f"the chat template gives other ids for {messages}")
            count += theirs is not None
    return count


def rendered_ids(tokenizer: EtudeTokenizer, messages: Sequence[Message]) -> list[int]:
    """The ids of a conversation as it is trained."""
    return render(tokenizer, messages)[0]


def ids_or_none(
    function: Callable[..., list[int]], *arguments: Any, **options: Any
) -> list[int] | None:
    """What a function returns; None when the template refuses the conversation."""
    try:
        return function(*arguments, **options)
    except (UserError, jinja2.TemplateError, ValueError):
        return None


def many_conversations() -> Iterator[Sequence[tuple[str, str]]]:
    """The conversations above, up to each of their turns, and the questions."""
    for conversation in CONVERSATIONS:
        for length in range(1, len(conversation) + 1):
            if conversation[length - 1][0] != "system":
                yield conversation[:length]
    for question in QUESTIONS:
        yield (("user", question),)


def make_prompts(tokenizer: EtudeTokenizer, is_chat: bool, context: int) -> list[list[int]]:
    """Prompts in two languages, cut to half of the context."""
    if is_chat:
        prompts = [render_prompt(tokenizer, [{"role": "user", "content": q}]) for q in QUESTIONS]
    else:
        prompts = [tokenizer.encode(question) for question in QUESTIONS]
    return [prompt[-(context // 2) :] for prompt in prompts]


@torch.no_grad()
def check_logits(stock: Any, model: Etude, prompts: list[list[int]]) -> tuple[float, float]:
    """Logits at every position of the prompts; the largest difference and the largest logit."""
    difference = largest = 0.0
    for prompt in prompts:
        input_ids = torch.tensor([prompt])
        ours, theirs = model(input_ids), stock(input_ids).logits
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
    stock: Any,
    auto_tokenizer: Any,
    model: Etude,
    prompts: list[list[int]],
    stop_ids: tuple[int, ...],
    tie: float,
) -> tuple[int, int, int]:
    """Greedy answers of transformers' generate, with the end that its generation_config says: each
    prompt alone, and all in one batch that the tokenizer pads.

    Where an answer parts at a tie (both tokens are equally likely within the rounding of float32),
    it is compared up to there. Returns the number of tokens, and how many are equal alone and in
    the batch.
    """
    context = model.config.max_position_embeddings
    greedy = SamplingConfig(temperature=0.0, max_tokens=min(GREEDY_TOKENS, context // 2))
    ours = [made.ids for made in generate_batch(model, prompts, greedy, stop_ids)]
    alone = [
        answers(stock, auto_tokenizer, [prompt], greedy.max_tokens, stop_ids)[0]
        for prompt in prompts
    ]
    batched = answers(stock, auto_tokenizer, prompts, greedy.max_tokens, stop_ids)
    equal = [0, 0]
    for way, theirs in enumerate((alone, batched)):
        for prompt, our, their in zip(prompts, ours, theirs, strict=True):
            same = common_prefix(our, their)
            equal[way] += same
            if our != their and not is_tie(model, prompt + our[:same], tie):
                where = f"greedy answers{' of a padded batch' * way} part at token {same + 1}"
                raise ProofFailed(f"{where} of {prompt}")
    total = sum(max(len(our), len(their)) for our, their in zip(ours, alone, strict=True))
    return total, equal[0], equal[1]


def answers(
    stock: Any,
    auto_tokenizer: Any,
    prompts: list[list[int]],
    max_tokens: int,
    stop_ids: tuple[int, ...],
) -> list[list[int]]:
    """What transformers' generate answers to a batch that the tokenizer pads, without its end."""
    inputs = auto_tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    output = stock.generate(**inputs, max_new_tokens=max_tokens)
    rows = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [list(takewhile(lambda token: token not in stop_ids, row)) for row in rows]


def is_tie(model: Etude, ids: list[int], tie: float) -> bool:
    """Whether the two likeliest next tokens are as likely as each other."""
    best, second = model(torch.tensor([ids]))[0, -1].topk(2).values.tolist()
    return bool(best - second <= tie)
