"""The forward pass in C++ is the network's, to the bit independent of what else is computed."""

from __future__ import annotations

import copy
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from config import ROOT, ModelConfig
from inference.engine import native
from inference.engine.cache import Work
from inference.engine.native import LIBRARY, NativeForward
from inference.engine.rounding import BLOCK, quantize_blocks, quantize_model
from model.kv_cache import KVCache
from model.transformer import Etude
from tests.model.families import SHAPES as FAMILIES

SHAPES = {
    "grouped": ModelConfig(320, 64, 160, 2, 8, 2, 80),
    "all heads": ModelConfig(333, 48, 100, 3, 4, 4, 80),
    "one kv head, odd sizes": ModelConfig(37, 36, 50, 2, 6, 1, 80),
    "untied": ModelConfig(321, 64, 172, 2, 4, 2, 80, tie_word_embeddings=False),
    **{f"{family} 0": shapes[0] for family, shapes in FAMILIES.items() if family != "llama"},
    "qwen3_moe 1": FAMILIES["qwen3_moe"][1],
    "qwen3_moe 3": FAMILIES["qwen3_moe"][3],
}

pytestmark = pytest.mark.usefixtures("compiled")


def make(config: ModelConfig) -> Etude:
    model = Etude(config)
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4) if parameter.dim() >= 2 else parameter.uniform_(0.5, 1.5)
    return model.eval()


def ids_of(config: ModelConfig, count: int, seed: int = 0) -> list[int]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (count,), generator=draw).tolist()


@pytest.mark.promise("R14")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_torch(shape: str, threads: int) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 80)
    forward = NativeForward(model, KVCache(config, 2))
    forward.network.threads = threads
    found = forward([Work(1, 0, ids, len(ids))])
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0]
    assert float((found - expected).abs().max()) <= 1e-4 * max(1.0, float(expected.abs().max()))


def rounded(model: Etude, dtype: torch.dtype = torch.float32) -> Etude:
    """A model whose weights bfloat16 holds, in a format."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().to(dtype)
    return model


@pytest.mark.promise("R14")
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_do_not_depend_on_batch_pieces_or_threads(shape: str, kind: str) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 60)
    model = rounded(model) if kind == "bfloat16" else model
    quantize: Any = kind if kind.startswith("int") else "none"
    forward = NativeForward(model, KVCache(config, 12), quantize)
    bits = {"float32": (32, 32), "bfloat16": (16, 16), "int8": (8, 8), "int4": (8, 4)}[kind]
    assert (forward.network.head.bits, forward.network.layer[0].q.bits) == bits
    forward.network.threads = 1
    at_once = forward([Work(0, 0, ids, 60)])
    for threads in (1, 3):
        forward.network.threads = threads
        for piece in (1, 2, 5, 8, 13, 29):
            logits = []
            for start in range(0, 60, piece):
                others = [
                    Work(slot, start, ids_of(config, 1 + slot % 3, slot), 1)
                    for slot in range(2, 2 + piece % 9)
                ]
                part = ids[start : start + piece]
                logits.append(forward([*others, Work(1, start, part, len(part))])[len(others) :])
            assert torch.equal(torch.cat(logits), at_once)


@pytest.mark.promise("R14")
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_bfloat16_weights_are_those_of_the_same_in_float32(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SHAPES[shape]
    model, ids = rounded(make(config)), ids_of(config, 50)
    works = [Work(0, 0, ids[:1], 1), Work(1, 0, ids, 50), Work(2, 0, ids[:7], 7)]
    found = NativeForward(model, KVCache(config, 3))
    stored = NativeForward(rounded(copy.deepcopy(model), torch.bfloat16), KVCache(config, 3))
    monkeypatch.setattr(native, "smallest_format", lambda weight: torch.float32)
    wide = NativeForward(model, KVCache(config, 3))
    assert [f.network.embedding.bits for f in (found, stored, wide)] == [16, 16, 32]
    expected = wide(works)
    assert torch.equal(found(works), expected)
    assert torch.equal(stored(works), expected)


def test_what_bfloat16_does_not_hold_stays_in_float32() -> None:
    weight = torch.randn(30, 400, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    assert native.smallest_format(weight) == torch.bfloat16
    weight[29, 399] *= 1 + 2**-8
    assert native.smallest_format(weight) == torch.float32


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_weights_are_rounded_as_by_torch(kind: Any) -> None:
    config = SHAPES["one kv head, odd sizes"]
    name, lanes = "model.layers.1.mlp.gate_proj.weight", LIBRARY.lanes
    for model in (make(config), rounded(make(config)), rounded(make(config), torch.bfloat16)):
        forward = NativeForward(model, KVCache(config, 1), kind)
        matrix, weight = forward.matrices[name, None], model.get_parameter(name).detach()
        codes, scales = quantize_blocks(weight.float(), matrix.bits)
        panels, blocks = -(-len(weight) // lanes), codes.shape[1]
        count = panels * blocks * lanes * BLOCK * matrix.bits // 8
        content = bytearray(ctypes.string_at(matrix.panels, count))
        kept = torch.frombuffer(content, dtype=torch.uint8)
        if kind == "int4":  # of a pair of quads the first is in the lower halves
            kept = kept.view(panels, blocks, -1, 1, lanes, 4)
            kept = torch.cat([kept & 15, kept >> 4], dim=3)
        kept = kept.view(panels, blocks, BLOCK // 4, lanes, 4).int() - 2 ** (matrix.bits - 1)
        kept = kept.permute(0, 3, 1, 2, 4).reshape(panels * lanes, blocks, BLOCK)
        assert torch.equal(kept[: len(weight)], codes.int())
        assert not kept[len(weight) :].any()
        stored = bytearray(ctypes.string_at(matrix.scales, 2 * panels * blocks * lanes))
        found = torch.frombuffer(stored, dtype=torch.float16).view(panels, blocks, lanes)
        assert torch.equal(found.transpose(1, 2).flatten(0, 1)[: len(weight)], scales)


@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states_are_those_of_torch(shape: str) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 30)
    forward = NativeForward(model, KVCache(config, 2))
    alone = forward.for_hidden_states(KVCache(config, 1, 30))
    before = forward([Work(0, 0, ids, 30)])
    found = torch.cat([alone([Work(0, 0, ids[:20], 20)]), alone([Work(0, 20, ids[20:], 10)])])
    with torch.no_grad():
        expected = model.model(torch.tensor([ids]))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(forward([Work(0, 29, ids[29:], 1)]), before[29:])  # its cache is untouched


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rounded_logits_are_those_of_the_rounded_model(shape: str, kind: Any) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 40)
    alone = [Work(slot, 0, [token], 1) for slot, token in enumerate(ids)]
    exact = NativeForward(model, KVCache(config, 40))(alone)
    forward = NativeForward(model, KVCache(config, 40), quantize=kind)
    found, in_context = forward(alone), forward([Work(0, 0, ids, 40)])
    quantize_model(model, kind)
    with torch.no_grad():
        expected = model(torch.tensor(ids)[:, None])[:, 0]
        expected_in_context = model(torch.tensor([ids]))[0]
    # Sums in another order bring an activation to the other side of a half now and then.
    off = (found - expected).abs().amax(dim=1)
    assert float((off <= 1e-5 * float(expected.abs().max())).float().mean()) >= 0.9
    by_rounding = float((exact - expected).abs().mean())
    assert float(off.mean()) <= 0.1 * float((exact - expected).abs().amax(dim=1).mean())
    assert float((in_context - expected_in_context).abs().mean()) < by_rounding
    assert by_rounding > 1e-4


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_are_those_of_ggml(bits: int) -> None:
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(700, 960, generator=draw) * torch.logspace(-9, 5, 700)[:, None]
    weight[3] = 0
    weight[4, ::2] = 0.5
    weight[5], weight[5, ::2] = 127, 0.49999997
    codes, scales = quantize_blocks(weight, bits)
    kind = gguf.GGMLQuantizationType.Q8_0 if bits == 8 else gguf.GGMLQuantizationType.Q4_0
    expected = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
    found = (codes * scales.float()[..., None]).flatten(-2)
    assert torch.equal(found, torch.from_numpy(expected))
    again = quantize_blocks(found, bits)  # what a file holds comes back as it is
    assert torch.equal((again[0] * again[1].float()[..., None]).flatten(-2), found)


def test_float16_scales_are_torchs() -> None:
    config = ModelConfig(64, 32, 32, 1, 1, 1, 16)
    model = make(config)
    with torch.no_grad():
        scales = torch.logspace(-9, 4.8, 64)
        model.model.embed_tokens.weight.copy_(127 * scales[:, None].expand(-1, 32))
    forward = NativeForward(model, KVCache(config, 1), "int8")
    stored = ctypes.string_at(forward.network.embedding.scales, 128)
    found = torch.frombuffer(bytearray(stored), dtype=torch.float16)
    assert torch.equal(found, (127 * scales / 127).half())


@pytest.mark.full
def test_code_is_compiled_once_and_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from inference.engine.native import LIBRARY, library_path\n"
        "LIBRARY.prepare()\n"
        "print(LIBRARY.thread is not None, LIBRARY.wait(), library_path())\n"
    )

    def start() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        return done.stdout.split()

    builds, ready, path = start()
    assert (builds, ready) == ("True", "True")
    assert start()[:2] == ["False", "True"]
    Path(path).write_bytes(b"damaged")
    assert start()[:2] == ["True", "True"]
    assert [p.name for p in (tmp_path / "etude").iterdir()] == [Path(path).name]


@pytest.mark.full
def test_code_is_compiled_once_also_when_every_process_ends_first(tmp_path: Path) -> None:
    compiler, calls, home = tmp_path / "g++", tmp_path / "calls", tmp_path / "home"
    real = shutil.which("g++") or pytest.skip("there is no g++")
    compiler.write_text(f'#!/bin/sh\necho >> {calls}\nexec {real} "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from inference.engine.native import LIBRARY\n"
        "LIBRARY.prepare()\n"
        "os._exit(0 if sys.argv[1] == 'leave' or LIBRARY.wait() else 1)\n"
    )
    environment = {"XDG_CACHE_HOME": str(home), "CXX": str(compiler), "PATH": os.environ["PATH"]}
    starts = [
        subprocess.Popen([sys.executable, "-c", code, "leave"], env=environment) for _ in range(3)
    ]
    assert [start.wait() for start in starts] == [0, 0, 0]
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, "wait"], env=environment, check=True)
    assert calls.read_text(encoding="utf-8").count("\n") == 1
    assert len(list((home / "etude").iterdir())) == 1
