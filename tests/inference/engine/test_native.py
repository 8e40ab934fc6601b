"""The forward pass in C++ is the network's, to the bit independent of what else is computed."""

from __future__ import annotations

import copy
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from config import ROOT, ModelConfig
from inference.engine import native
from inference.engine.cache import Work
from inference.engine.native import LIBRARY, NativeForward, quantize_model, quantize_rows
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
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_do_not_depend_on_batch_pieces_or_threads(shape: str, kind: str) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 60)
    model = rounded(model) if kind == "bfloat16" else model
    forward = NativeForward(model, KVCache(config, 12), kind == "int8")
    assert forward.network.head.bits == {"float32": 32, "bfloat16": 16, "int8": 8}[kind]
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


def test_rounding_to_int8_is_that_of_torch() -> None:
    config = SHAPES["one kv head, odd sizes"]
    name, lanes = "model.layers.1.mlp.gate_proj.weight", LIBRARY.lanes
    for model in (make(config), rounded(make(config)), rounded(make(config), torch.bfloat16)):
        forward = NativeForward(model, KVCache(config, 1), quantize=True)
        matrix, weight = forward.matrices[name, None], model.get_parameter(name).detach()
        codes, scales = quantize_rows(weight.float())
        panels = -(-len(weight) // lanes)
        count = panels * lanes * weight.shape[1]
        kept = torch.frombuffer(bytearray(ctypes.string_at(matrix.panels, count)), dtype=torch.int8)
        kept = kept.view(panels, -1, lanes).transpose(1, 2).flatten(0, 1)  # (rows, columns)
        assert torch.equal(kept[: len(weight)], codes)
        assert not kept[len(weight) :].any()
        found = bytearray(ctypes.string_at(matrix.scales, 4 * len(weight)))
        assert torch.equal(torch.frombuffer(found, dtype=torch.float32), scales)


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


def test_quantized_logits_are_those_of_the_rounded_model() -> None:
    config = SHAPES["grouped"]
    model, ids = make(config), ids_of(config, 40)
    exact = NativeForward(model, KVCache(config, 1))([Work(0, 0, ids, 40)])
    found = NativeForward(model, KVCache(config, 1), quantize=True)([Work(0, 0, ids, 40)])
    quantize_model(model)
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, exact, atol=1e-4)


def test_quantizing_is_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(7, 50, generator=torch.Generator().manual_seed(1))
    weight[3] = 0
    codes, scales = quantize_rows(weight)
    assert codes.dtype == torch.int8
    assert int(codes.abs().max()) == 127
    assert bool(((codes * scales[:, None] - weight).abs() <= 0.501 * scales[:, None]).all())
    assert codes[3].eq(0).all()


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
