"""The forward pass in C++ is the network's, to the bit independent of what else is computed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from config import ROOT, ModelConfig
from inference.engine.cache import Work
from inference.engine.native import NativeForward, quantize_model, quantize_rows
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


@pytest.mark.promise("R14")
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_do_not_depend_on_batch_pieces_or_threads(shape: str, quantized: bool) -> None:
    config = SHAPES[shape]
    model, ids = make(config), ids_of(config, 60)
    codes = quantize_model(model) if quantized else None
    forward = NativeForward(model, KVCache(config, 12), codes)
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


def test_quantized_logits_are_those_of_the_rounded_model() -> None:
    config = SHAPES["grouped"]
    model, ids = make(config), ids_of(config, 40)
    exact = NativeForward(model, KVCache(config, 1))([Work(0, 0, ids, 40)])
    codes = quantize_model(model)
    found = NativeForward(model, KVCache(config, 1), codes)([Work(0, 0, ids, 40)])
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
