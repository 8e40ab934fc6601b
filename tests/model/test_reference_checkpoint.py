"""A model trained elsewhere (stories260K of llama2.c) speaks through Etude as through its own
program."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from config import ModelConfig, SamplingConfig
from inference.engine.engine import generate_batch
from model.transformer import Etude

BOS = 1


def read_checkpoint(path: Path) -> Etude:
    """A llama2.c checkpoint: seven int32 sizes, then float32 weights, stacked over layers."""
    raw = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("<7i", raw[:28])
    numbers = torch.from_numpy(np.frombuffer(raw, "<f4", offset=28).copy())
    used = 0

    def take(*shape: int) -> Tensor:
        nonlocal used
        used += (count := int(np.prod(shape)))
        return numbers[used - count : used].view(shape)

    kv_dim = dim // heads * kv_heads
    embedding = take(vocab, dim)
    per_layer = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": halves(take(layers, dim, dim), heads),
        "self_attn.k_proj": halves(take(layers, kv_dim, dim), kv_heads),
        "self_attn.v_proj": take(layers, kv_dim, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    weights = {
        f"model.layers.{layer}.{name}.weight": stacked[layer]
        for name, stacked in per_layer.items()
        for layer in range(layers)
    }
    weights["model.embed_tokens.weight"] = weights["lm_head.weight"] = embedding
    weights["model.norm.weight"] = take(dim)
    config = ModelConfig(vocab, dim, hidden, layers, heads, kv_heads, length, 10_000.0, 1e-5)
    model = Etude(config)
    model.load_state_dict(weights)
    return model.eval()


def halves(weight: Tensor, heads: int) -> Tensor:
    """Rotary layout: from neighbouring pairs (2 i, 2 i + 1) to halves (i, i + head_dim / 2)."""
    layers, rows, columns = weight.shape
    pairs = weight.view(layers, heads, rows // heads // 2, 2, columns)
    return pairs.transpose(2, 3).reshape(layers, rows, columns)


class Llama2cTokenizer:
    """llama2.c's tokenizer.bin: int32 longest token; then float32 score, int32 length, bytes."""

    def __init__(self, path: Path) -> None:
        raw, position = path.read_bytes(), 4
        self.tokens: list[bytes] = []
        self.scores: list[float] = []
        while position < len(raw):
            score, length = struct.unpack_from("<fi", raw, position)
            self.scores.append(score)
            self.tokens.append(raw[position + 8 : position + 8 + length])
            position += 8 + length
        self.ids = {token: i for i, token in reversed(list(enumerate(self.tokens)))}

    def encode(self, text: str) -> list[int]:
        """BOS, a space before the text, characters (or bytes, which begin at id 3), then the merges
        of the highest scores first."""
        ids = []
        for character in (" " + text) if text else "":
            whole = self.ids.get(character.encode())
            ids += [whole] if whole is not None else [byte + 3 for byte in character.encode()]
        while True:
            pairs = [self.tokens[a] + self.tokens[b] for a, b in pairwise(ids)]
            found = [(self.scores[self.ids[p]], -i) for i, p in enumerate(pairs) if p in self.ids]
            if not found:
                return [BOS, *ids]
            at = -max(found)[1]
            ids[at : at + 2] = [self.ids[pairs[at]]]

    def decode(self, ids: list[int]) -> str:
        """The text after BOS; the space before it goes, <0xXX> is a byte."""
        pieces = [self.tokens[i] for i in ids]
        pieces = [bytes([int(p[3:5], 16)]) if p.startswith(b"<0x") else p for p in pieces]
        return b"".join(pieces).removeprefix(b" ").decode()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_stories260k_tells_the_stored_texts(shared_data: Path, number: int) -> None:
    reference = shared_data / "reference"
    tokenizer = Llama2cTokenizer(reference / "tok512.bin")
    expected = json.loads((reference / "stories260K_expected.json").read_text(encoding="utf-8"))[
        number
    ]
    prompt = tokenizer.encode(expected["prompt"])
    steps = expected["steps"] - (len(prompt) - 1)  # run.c counts the prompt's tokens too
    model = read_checkpoint(reference / "stories260K.bin")
    greedy = SamplingConfig(0.0, max_tokens=steps)
    ids = generate_batch(model, [prompt], greedy, [BOS])[0].ids
    assert tokenizer.decode(prompt[1:] + ids) == expected["output"]
    assert prompt[1:] + ids == tokenizer.encode(expected["output"])[1 : 1 + expected["steps"]]
