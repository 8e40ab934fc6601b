"""R15: an exported model is the same model. Shapes of all kinds with random weights go to
transformers and back; random conversations go through the exported chat template."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from config import ModelConfig, SamplingConfig
from inference.engine.engine import generate_batch
from model.chat import render, render_prompt
from model.conversation import Message
from model.directory.pretrained import load_pretrained, save_pretrained, weights_of
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.conftest import TEXTS
from tests.model.test_chat import conversation
from tests.model.test_transformer import SHAPES
from tests.reliability.trials import Trials
from tool.conversion.hf import convert, import_hf
from tool.settings import ConvertConfig
from train.tokenizer.bpe import train_bpe

pytestmark = [pytest.mark.full, pytest.mark.promise("R15")]

CONVERSATIONS = 100
"""In a trial of the template."""
GREEDY_TOKENS = 256
TIE = 1e-4
"""Two tokens whose logits are closer than this may change places between two programs."""


def strong_model(config: ModelConfig, seed: int) -> Etude:
    """A model with random weights, strong enough that its logits differ clearly."""
    draw = torch.Generator().manual_seed(seed)
    model = Etude(config)
    model.initialize(draw)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(15 if "layers" in name else 2)
            else:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


@torch.no_grad()
def greedy_difference(model: Etude, llama: Any, prompt: list[int]) -> str:
    """How 256 greedy tokens of two models differ; empty where they are equal, or part at a tie."""
    greedy = SamplingConfig(temperature=0.0, max_tokens=GREEDY_TOKENS)
    (ours,) = generate_batch(model, [prompt], greedy, ())
    llama.generation_config.eos_token_id = None
    input_ids = torch.tensor([prompt])
    mask = torch.ones_like(input_ids)
    output = llama.generate(
        input_ids, attention_mask=mask, max_new_tokens=GREEDY_TOKENS, do_sample=False
    )
    theirs = output[0, len(prompt) :].tolist()
    if ours.ids == theirs:
        return ""
    pairs = zip(ours.ids, theirs, strict=True)
    place = next(n for n, (one, other) in enumerate(pairs) if one != other)
    best, second = model(torch.tensor([prompt + ours.ids[:place]]))[0, -1].topk(2).values.tolist()
    return "" if best - second < TIE else f"greedy tokens part at {place}"


@torch.no_grad()
def differences(tmp_path: Path, config: ModelConfig, draw: random.Random) -> list[str]:
    """What is not the same after the way to transformers and back."""
    tokenizer = EtudeTokenizer(train_bpe(TEXTS * 3, config.vocab_size))
    model = strong_model(replace(config, vocab_size=len(tokenizer)), draw.randrange(2**31))
    there, out, back = (tmp_path / name for name in ("model", "model_llama", "back"))
    there.mkdir(parents=True)
    save_pretrained(there, model, tokenizer, {"made_by": "a test"}, is_chat=draw.random() < 0.5)
    convert(ConvertConfig(there, out))
    llama: Any = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    found = []
    for length in (1, draw.randint(2, 40), config.max_position_embeddings):
        ids = torch.tensor([draw.choices(range(len(tokenizer)), k=length)])
        gap = (model(ids) - llama(ids).logits).abs().max().item()
        if not gap <= 1e-4:
            found.append(f"logits differ by {gap}")
    found += filter(None, [greedy_difference(model, llama, draw.choices(range(3, 250), k=9))])
    import_hf(out, ConvertConfig(back))
    again, same_tokenizer = load_pretrained(back)
    if again.config != model.config or same_tokenizer.fingerprint != tokenizer.fingerprint:
        found.append("shape or tokenizer came back changed")
    weights = weights_of(again)
    found += [n for n, weight in weights_of(model).items() if not torch.equal(weight, weights[n])]
    return found


def test_shapes_go_to_transformers_and_back(memory_path: Path, trials: Trials) -> None:
    count = trials.size(ci=len(SHAPES), release=5 * len(SHAPES))
    for number, (seed, draw) in enumerate(trials.draws(count)):
        shape = SHAPES[number % len(SHAPES)]
        # The tokenizer gives the size of the vocabulary: even, odd, prime.
        shape = replace(shape, vocab_size=draw.choice([300, 313, 331, 384, 397]))
        found = differences(memory_path / str(number), shape, draw)
        trials.record(seed, not found, shape=number % len(SHAPES), found=found)
    trials.verdict()


def test_conversations_go_through_the_exported_template(
    model_dir: Path, tokenizer: EtudeTokenizer, trials: Trials
) -> None:
    out, _ = convert(ConvertConfig(model_dir))
    theirs: Any = AutoTokenizer.from_pretrained(out, local_files_only=True)
    for seed, draw in trials.draws(trials.size(ci=5, release=50)):
        different = [
            messages
            for messages in (conversation(draw) for _ in range(CONVERSATIONS))
            if not same_ids(theirs, tokenizer, messages)
        ]
        trials.record(seed, not different, conversations=CONVERSATIONS, different=different[:1])
    trials.verdict()


def same_ids(theirs: Any, tokenizer: EtudeTokenizer, messages: list[Message]) -> bool:
    """Whether transformers renders a conversation, and a prompt that it ends with, as Etude
    does."""
    whole = theirs.apply_chat_template(messages, return_dict=False)
    if whole != render(tokenizer, messages)[0]:
        return False
    if messages[-1]["role"] != "user":
        return True
    prompt = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return bool(prompt == render_prompt(tokenizer, messages))
