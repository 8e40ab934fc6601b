"""A compiled step is the same step; without a compiler, training goes on and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from config import ROOT
from model.transformer import Etude
from train.compilation import CompiledLoss
from train.objective import summed_loss


def test_without_a_compiler_the_plain_function_runs_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Etude
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    loss = CompiledLoss(summed_loss)
    torch.testing.assert_close(
        loss(model, ids, ids, None, torch.float32), summed_loss(model, ids, ids)
    )
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "no C++ compiler" in printed


def test_when_compiling_fails_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Etude
) -> None:
    def broken(*_: object) -> Tensor:
        raise torch._dynamo.exc.BackendCompilerFailed(summed_loss, RuntimeError("no headers"), None)

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    monkeypatch.setenv("CXX", "g++")
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    loss = CompiledLoss(summed_loss)
    for _ in range(2):
        torch.testing.assert_close(
            loss(model, ids, ids, None, torch.float32), summed_loss(model, ids, ids)
        )
    assert capsys.readouterr().out.count("compiling failed") == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler to compile with")
def test_compiled_loss_and_gradient_are_those_of_the_plain_function(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 16))
    documents = torch.tensor([[0] * 6 + [1] * 10, [0] * 16])
    results = []
    for function in (summed_loss, CompiledLoss(summed_loss)):
        model.zero_grad()
        loss = function(model, ids, ids, documents, torch.float32)
        loss.backward()  # type: ignore[no-untyped-call]
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])  # type: ignore[union-attr]
    largest = max(float(tensor.abs().max()) for tensor in results[0][1:])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler to compile with")
def test_a_compiled_step_repeats_itself_to_the_bit_on_several_threads() -> None:
    """In a process of its own: threads and determinism are settings of the process."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import torch\n"
        "from config import ModelConfig\n"
        "from model.transformer import Etude\n"
        "from train.compilation import CompiledLoss, use_deterministic_kernels\n"
        "from train.objective import summed_loss\n"
        "use_deterministic_kernels(torch.device('cpu'))\n"
        "model = Etude(ModelConfig(400, 128, 256, 1, 2, 2, 256))\n"
        "model.initialize(torch.Generator().manual_seed(1))\n"
        "ids = torch.randint(0, 20, (16, 256), generator=torch.Generator().manual_seed(2))\n"
        "loss = CompiledLoss(summed_loss)\n"
        "seen = []\n"
        "for _ in range(6):\n"
        "    model.zero_grad()\n"
        "    loss(model, ids, ids, None, torch.float32).backward()\n"
        "    seen.append(model.model.embed_tokens.weight.grad.clone())\n"
        "print(all(torch.equal(seen[0], other) for other in seen))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout.strip() == "True", done.stdout + done.stderr
