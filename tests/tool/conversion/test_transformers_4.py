"""transformers 4.57 reads a conversion, and writes a Llama that comes in, as transformers 5 does.

Two versions of a package do not live in one environment, so what is asked of version 4 runs in a
Python of its own, which the environment variable ETUDE_TRANSFORMERS_4 names:

    python -m venv v4 && v4/bin/pip install torch==2.13.0 "transformers==4.57.*"
    ETUDE_TRANSFORMERS_4=v4/bin/python pytest tests/tool/conversion/test_transformers_4.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from config import ModelConfig, RopeScaling, SamplingConfig
from inference.engine.engine import generate_batch
from model.chat import render, render_prompt
from model.conversation import Message
from model.directory.pretrained import is_chat_model, load_pretrained, save_pretrained, weights_of
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion.hf import convert, import_hf
from tool.conversion.hf_proof import CONVERSATIONS, QUESTIONS, make_prompts
from tool.settings import ConvertConfig

pytestmark = pytest.mark.full

TOLERANCE = 1e-5
"""Largest difference of two logits, as a share of the largest logit."""
NEW_TOKENS = 40

READ = """
import json, sys
import torch, transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

directory, questions, out = sys.argv[1:]
asked = json.load(open(questions, encoding="utf-8"))
llama, loading = AutoModelForCausalLM.from_pretrained(
    directory, dtype="auto", local_files_only=True, output_loading_info=True
)
tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
with torch.no_grad():
    logits = {str(n): llama(torch.tensor([p])).logits[0] for n, p in enumerate(asked["prompts"])}
save_file(logits, out + "/logits.safetensors")


def generate(ids, **how):
    ids = torch.tensor([ids])
    return llama.generate(ids, attention_mask=torch.ones_like(ids), **how)[0, ids.shape[1] :]


def as_people_call_it(texts):
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    made = llama.generate(**inputs, max_new_tokens=asked["new_tokens"])
    return made[:, inputs["input_ids"].shape[1] :].tolist()


def piped(asked, **how):
    made = pipeline("text-generation", model=llama, tokenizer=tokenizer)(
        asked, max_new_tokens=8, do_sample=False, **how
    )
    return [one[0]["generated_text"] for one in made]


chats = [[{"role": "user", "content": text}] for text in asked["texts"]]
answer = {
    "version": transformers.__version__,
    "class": type(llama).__name__,
    "keys": {name: sorted(found) for name, found in loading.items() if "keys" in name},
    "rope_theta": llama.config.rope_theta,
    "greedy": [
        generate(p, max_new_tokens=asked["new_tokens"]).tolist() for p in asked["prompts"][:-1]
    ],
    "ended": generate(
        asked["prompts"][0],
        max_new_tokens=4,
        prefix_allowed_tokens_fn=lambda batch, ids: [asked["end"]],
    ).tolist(),
    "alone": [as_people_call_it([text])[0] for text in asked["texts"]],
    "batched": as_people_call_it(asked["texts"]),
    "piped": [[piped(these), piped(these, batch_size=2)] for these in (asked["texts"], chats)],
    "rendered": [
        tokenizer.apply_chat_template(c, add_generation_prompt=prompt)
        for c in asked["conversations"]
        for prompt in (False, True)
    ],
}
json.dump(answer, open(out + "/answer.json", "w", encoding="utf-8"))
llama.save_pretrained(out + "/saved", max_shard_size="20KB")
tokenizer.save_pretrained(out + "/saved")
"""
"""Run by version 4: reads a directory as a stranger would, answers, and saves it again."""

WRITE = """
import sys
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

directory, logits = sys.argv[1:]
torch.manual_seed(1)
llama = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=420,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_theta=5e5,
        rope_scaling={"rope_type": "linear", "factor": 2.0},
        initializer_range=0.5,
    )
).eval()
llama.save_pretrained(directory)
with torch.no_grad():
    save_file({"logits": llama(torch.arange(3, 63)[None]).logits[0]}, logits)
"""
"""Run by version 4: writes a stranger's Llama, and its logits."""


@pytest.fixture
def python_4() -> str:
    """The Python of the environment with transformers 4.57."""
    python = os.environ.get("ETUDE_TRANSFORMERS_4")
    if not python:
        pytest.skip(
            "ETUDE_TRANSFORMERS_4 names no Python of an environment with transformers 4.57 (the "
            "head of this file says how to make one)"
        )
    return python


def run(python: str, program: str, *arguments: Path) -> None:
    """Runs a program in another environment, away from this repository."""
    result = subprocess.run(
        [python, "-I", "-c", program, *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def converted(
    tmp_path: Path, shape: ModelConfig, tokenizer: EtudeTokenizer, max_shard_mb: int | None
) -> tuple[Etude, Path]:
    """A chat model of a shape, with logits as large as a trained one's, and its conversion."""
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    directory = tmp_path / "etude"
    directory.mkdir()
    save_pretrained(directory, model, tokenizer, {}, is_chat=True)
    return model.eval(), convert(ConvertConfig(directory, max_shard_mb=max_shard_mb))[0]


@torch.no_grad()
def assert_close(theirs: Tensor, model: Etude, ids: list[int]) -> None:
    """Logits (seq, vocab) must be those of our model, but for rounding."""
    ours = model(torch.tensor([ids]))[0]
    atol = TOLERANCE * max(1.0, ours.abs().max().item())
    torch.testing.assert_close(theirs, ours, atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("scaling", "max_shard_mb"),
    [
        (RopeScaling(), None),
        (RopeScaling(), 1),
        (RopeScaling("linear", factor=2.0), None),
        (RopeScaling("yarn", factor=2.0, original_max_position_embeddings=64), None),
        (RopeScaling("llama3", factor=2.0, original_max_position_embeddings=64), None),
    ],
    ids=["plain", "sharded", "linear", "yarn", "llama3"],
)
def test_version_4_reads_a_conversion_and_says_the_same(
    python_4: str,
    tmp_path: Path,
    model_config: ModelConfig,
    tokenizer: EtudeTokenizer,
    scaling: RopeScaling,
    max_shard_mb: int | None,
) -> None:
    wide = 32 if max_shard_mb is None else 192  # of more than a megabyte, where it is to be cut
    shape = replace(model_config, hidden_size=wide, rope_theta=50_000.0, rope_scaling=scaling)
    model, directory = converted(tmp_path, shape, tokenizer, max_shard_mb)
    assert (len(list(directory.glob("*.safetensors"))) > 1) == (max_shard_mb is not None)
    conversations: list[list[Message]] = [
        [{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS
    ]
    prompts = [*make_prompts(tokenizer, True, 128), list(range(3, 128))]
    asked = {
        "prompts": prompts,
        "conversations": conversations,
        "new_tokens": NEW_TOKENS,
        "end": tokenizer.end_of_turn_id,
        "texts": list(QUESTIONS),
    }
    (tmp_path / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    run(python_4, READ, directory, tmp_path / "asked.json", tmp_path)
    answer: dict[str, Any] = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))

    assert answer["version"].startswith("4.57")
    assert answer["class"] == "LlamaForCausalLM"
    assert not any(answer["keys"].values())
    assert set(answer["keys"]) >= {"missing_keys", "unexpected_keys"}
    assert answer["rope_theta"] == 50_000.0
    for alone, batched in zip(answer["alone"], answer["batched"], strict=True):
        assert batched[: len(alone)] == alone
    assert all(one_by_one == in_batches for one_by_one, in_batches in answer["piped"])
    assert answer["ended"] == [tokenizer.end_of_turn_id]
    assert answer["rendered"] == [
        ids for c in conversations for ids in (render(tokenizer, c)[0], render_prompt(tokenizer, c))
    ]
    theirs = load_file(tmp_path / "logits.safetensors")
    for number, prompt in enumerate(prompts):
        assert_close(theirs[str(number)], model, prompt)
    greedy = SamplingConfig(temperature=0.0, max_tokens=NEW_TOKENS)
    ours = generate_batch(model, prompts[:-1], greedy, tokenizer.end_ids(True))
    for answered, found in zip(ours, answer["greedy"], strict=True):
        assert [
            token for token in found if token not in tokenizer.end_ids(is_chat=True)
        ] == answered.ids

    back = import_hf(tmp_path / "saved", ConvertConfig(tmp_path / "back")).output_dir
    again, same_tokens = load_pretrained(back)
    assert is_chat_model(back)
    assert again.config == model.config
    assert same_tokens.encode("Hello, 世界!") == tokenizer.encode("Hello, 世界!")
    for name, weight in weights_of(model).items():
        assert torch.equal(weights_of(again)[name], weight)


def test_a_llama_that_version_4_wrote_computes_the_same_here(
    python_4: str, tmp_path: Path, model_dir: Path
) -> None:
    source = tmp_path / "llama"
    run(python_4, WRITE, source, tmp_path / "logits.safetensors")
    shutil.copy(model_dir / "tokenizer.json", source)
    tokens = len(EtudeTokenizer.load(model_dir))
    model, _ = load_pretrained(import_hf(source, ConvertConfig(tmp_path / "etude")).output_dir)
    assert model.config.rope_theta == 5e5
    assert model.config.rope_scaling == RopeScaling("linear", factor=2.0)
    for name, weight in load_file(source / "model.safetensors").items():
        rows = tokens if "embed" in name or "lm_head" in name else None  # without the padding
        assert torch.equal(weights_of(model)[name], weight[:rows])
    theirs = load_file(tmp_path / "logits.safetensors")["logits"][:, :tokens]
    assert_close(theirs, model, list(range(3, 63)))
