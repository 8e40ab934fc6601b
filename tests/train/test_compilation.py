"""A compiled step is the same step; without a compiler, training goes on and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from config import ROOT, PretrainConfig
from model.blockwise_attention import blockwise_attention
from model.transformer import Etude, same_document
from train.compilation import Compilation, first_cause, keep_blanks_out_of_paths, training_loss
from train.data.batches import Batch
from train.distributed import World
from train.objective import CrossEntropy, SummedLoss, chunk_loss
from train.optimizer import build_optimizers
from train.step import StepGuard, TrainingStep


def test_without_a_compiler_the_plain_function_runs_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Etude
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    loss = training_loss(model, torch.float32, Compilation(True))
    torch.testing.assert_close(loss(ids, ids), SummedLoss(model)(ids, ids))
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "no C++ compiler" in printed


def test_when_compiling_fails_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Etude
) -> None:
    def broken(*_: object) -> Tensor:
        raise torch._dynamo.exc.BackendCompilerFailed(chunk_loss, RuntimeError("no headers"), None)

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    monkeypatch.setenv("CXX", "g++")
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    plain = SummedLoss(model)(ids, ids)
    loss = training_loss(model, torch.float32, Compilation(True))
    for _ in range(2):
        torch.testing.assert_close(loss(ids, ids), plain)
    # Once, and neither for each function nor at every step.
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "compiling failed (RuntimeError: no headers)" in printed


FAILURES = ("forward of the block", "forward of the loss", "backward of the block", "last layer")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_step_in_which_compiling_fails_is_an_uncompiled_step_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Etude,
    failure: str,
    checkpointing: bool,
) -> None:
    """In the second of three micro-batches, when some of the gradient is added up already."""
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(0, model.config.vocab_size, (3, 2, 9), generator=draw)
    batches = [Batch(part[:, :-1], part[:, 1:].clone()) for part in ids]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fails_at = {"forward of the loss": 2, "last layer": 4}.get(failure, 3)
    if checkpointing and failure.startswith("backward"):
        fails_at += 2  # the third and fourth call are those of the first backward pass

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        def run(*args: object) -> Any:
            nonlocal calls
            calls += 1
            fails = failure.endswith("loss") == (function is chunk_loss) and calls == fails_at
            if fails and not failure.startswith("backward"):
                raise torch._inductor.exc.CppCompileError(["g++"], "g++: fatal error: Killed\n")
            if function is chunk_loss:
                return function(*args)
            x, router_logits = function(*args)
            if fails:
                return FailingBackward.apply(x), router_logits  # type: ignore[no-untyped-call]
            # Compiled code differs a little, so a step of both would be seen.
            return x * 1.001, router_logits

        return run

    expected = one_step(model, weights, batches, Compilation(), checkpointing)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setenv("CXX", "g++")
    found = one_step(model, weights, batches, Compilation(True), checkpointing)
    for plain, other in zip(expected, found, strict=True):
        assert torch.equal(plain, other)
    printed = capsys.readouterr().out
    assert printed.count("compiling failed (g++: fatal error: Killed)") == 1
    assert printed.count("\n") == 1


def one_step(
    model: Etude,
    weights: dict[str, Tensor],
    batches: list[Batch],
    compilation: Compilation,
    checkpointing: bool,
) -> list[Tensor]:
    """The record of a step from these weights, and the weights after it."""
    model.load_state_dict(weights)
    config = PretrainConfig()
    guard = StepGuard(config, model.config.vocab_size, torch.float32, torch.device("cpu"))
    loss = training_loss(model, torch.float32, compilation, checkpointing)
    optimizers = build_optimizers(model, config)
    step = TrainingStep(loss, model, optimizers, guard, World(), 1.0, CrossEntropy(), compilation)
    return [step(batches), *(tensor.clone() for tensor in model.state_dict().values())]


class FailingBackward(torch.autograd.Function):
    """What a compiled function is whose backward pass is compiled late, and fails."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise torch._inductor.exc.CppCompileError(["g++"], "g++: fatal error: Killed\n")


def test_an_error_that_compiling_has_no_part_in_is_raised(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 9))
    with pytest.raises(IndexError):
        training_loss(model, torch.float32, Compilation())(ids + 1000, ids)


def test_the_cause_of_a_failure_is_one_line() -> None:
    inner = torch._inductor.exc.CppCompileError(["g++", "-x"], "In file a.h:\nb.h: error: no b\n")
    outer = torch._dynamo.exc.BackendCompilerFailed("inductor", inner, None)
    assert first_cause(outer) == "b.h: error: no b"
    inner.output = b"In file a.h:\nb.h: error: no b\n"  # type: ignore[assignment]  # as it may be
    assert first_cause(outer) == "b.h: error: no b"
    error = RuntimeError("worker failed")
    error.__cause__ = PermissionError(13, "Permission denied", "x.h")
    assert first_cause(error) == "PermissionError: [Errno 13] Permission denied: 'x.h'"
    assert len(first_cause(RuntimeError("word " * 1000))) < 300


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler to compile with")
def test_compiled_loss_and_gradient_are_those_of_the_plain_function(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 16))
    documents = torch.tensor([[0] * 6 + [1] * 10, [0] * 16])
    results = []
    for compile, whole in ((False, False), (True, True), (True, False)):
        model.zero_grad()
        objective = training_loss(model, torch.float32, Compilation(compile), whole=whole)
        loss = objective(ids, ids, documents)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])  # type: ignore[union-attr]
    largest = max(float(tensor.abs().max()) for tensor in results[0][1:])
    for plain, *compiled in zip(*results, strict=True):
        for other in compiled:
            torch.testing.assert_close(plain, other, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler to compile with")
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_step_repeats_itself_to_the_bit_on_several_threads(whole: bool) -> None:
    """In a process of its own: threads and determinism are settings of the process."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import torch\n"
        "from config import ModelConfig\n"
        "from model.transformer import Etude, same_document\n"
        "from train.compilation import Compilation, training_loss, use_deterministic_kernels\n"
        "use_deterministic_kernels(torch.device('cpu'))\n"
        "model = Etude(ModelConfig(400, 128, 256, 1, 2, 2, 256))\n"
        "model.initialize(torch.Generator().manual_seed(1))\n"
        "ids = torch.randint(0, 20, (16, 256), generator=torch.Generator().manual_seed(2))\n"
        f"loss = training_loss(model, torch.float32, Compilation(True), whole={whole})\n"
        "seen = []\n"
        "for _ in range(6):\n"
        "    model.zero_grad()\n"
        "    loss(ids, ids).backward()\n"
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


@pytest.mark.parametrize("seq", [5, 128, 300])
@pytest.mark.parametrize("masked", [False, True])
def test_blockwise_attention_and_its_gradient_are_those_of_attention(
    seq: int, masked: bool
) -> None:
    draw = torch.Generator().manual_seed(seq)
    q = torch.randn(2, 4, seq, 8, generator=draw).requires_grad_()
    k, v = (torch.randn(2, 2, seq, 8, generator=draw).requires_grad_() for _ in range(2))
    weight = torch.randn(2, 4, seq, 8, generator=draw)
    documents = torch.randint(0, 3, (2, seq), generator=draw).sort(dim=1).values
    mask = same_document(documents) if masked else None
    expected = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    attended = blockwise_attention(q, k, v, mask)
    torch.testing.assert_close(attended, expected)
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    found = torch.autograd.grad((attended * weight).sum(), (q, k, v))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_changes_memory_and_not_the_gradient(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (2, 16))
    results, kept = [], []
    for recompute in (False, True):
        model.zero_grad()
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, saved=saved: saved.append(tensor) or tensor,  # type: ignore[misc]
            lambda tensor: tensor,
        ):
            loss = training_loss(model, torch.float32, Compilation(), recompute)(ids, ids)
        kept.append(sum(tensor.numel() for tensor in saved))
        loss.backward()
        results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert kept[1] < 0.5 * kept[0]
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)


def test_evaluation_and_the_cache_do_not_meet_the_compiled_code(model: Etude) -> None:
    ids = torch.randint(0, model.config.vocab_size, (1, 9))
    expected = model(ids)
    training_loss(model, torch.float32, Compilation(), gradient_checkpointing=True)
    for layer in model.model.layers:
        layer.forward.function = None  # type: ignore[attr-defined]  # calling it would fail
    with torch.no_grad():
        assert torch.equal(model(ids), expected)


def test_compiled_code_is_kept_where_no_path_holds_a_blank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blank = str(tmp_path / "my files")
    monkeypatch.setattr(tempfile, "tempdir", blank)
    monkeypatch.setenv("TMPDIR", blank)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{blank}/torchinductor")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep_blanks_out_of_paths()
    places = (os.environ["TMPDIR"], os.environ["TORCHINDUCTOR_CACHE_DIR"], tempfile.gettempdir())
    assert set(places) == {str(tmp_path / "cache" / "etude" / "inductor")}
    assert Path(places[0]).is_dir()


CACHED_STEP = """
import sys

import torch

from config import ModelConfig
from model import blockwise_attention
from model.transformer import Etude
from train.compilation import Compilation, training_loss

blockwise_attention.SMALLEST_BLOCK = int(sys.argv[1])
shape = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1}
model = Etude(ModelConfig(num_attention_heads=2, num_key_value_heads=1, **shape))
model.initialize(torch.Generator().manual_seed(1))
ids = torch.arange(8)[None]
training_loss(model, torch.float32, Compilation(True))(ids, ids).backward()
print(
    torch._dynamo.utils.counters["aot_autograd"]["autograd_cache_hit"],
    torch._dynamo.utils.counters["aot_autograd"]["autograd_cache_miss"],
    model.model.embed_tokens.weight.grad.double().sum().item(),
)
"""


@pytest.mark.full
def test_compiled_code_is_kept_between_runs_and_made_anew_when_attention_changes(
    tmp_path: Path,
) -> None:
    found = []
    for block in (4, 4, 8):  # it is not among the inputs of the compiled function
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", CACHED_STEP, str(block)]
        result = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        )
        hits, misses, gradient = result.stdout.split()
        found.append((int(hits), int(misses), float(gradient)))
    first, again, changed = found
    assert first[:2] == (0, 2)
    assert again[:2] == (2, 0)  # the block, and the chunk of the loss
    assert again[2] == first[2]
    assert changed[:2] == (1, 1)
    assert changed[2] == pytest.approx(first[2], rel=1e-5)
