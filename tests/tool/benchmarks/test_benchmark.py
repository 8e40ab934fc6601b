"""The benchmarks compare like with like, say what failed, and end with a line of JSON."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from config import ROOT, ModelConfig, UserError
from model.families import model_type_of
from model.tokenizer import EtudeTokenizer
from tool.benchmarks import decoding_speed, training_speed
from tool.benchmarks.contenders import OF_FAMILIES, SHAPES, Contender, Shape, SpeedJob, build
from tool.benchmarks.measuring import Failure, RemoteObject, run_apart
from tool.benchmarks.training_speed import (
    Facts,
    Result,
    Worker,
    numbers,
    random_batch,
    same_loss,
)
from tool.settings import DecodingSpeedConfig, TrainingSpeedConfig
from train.run.plan import flops_per_token

pytestmark = pytest.mark.full

CPU = torch.device("cpu")
EAGER = Contender("transformers", "float32", "sdpa")
TUNED = Contender("transformers tuned, a", "float32", "sdpa", tuned=True)
SLOWER_TUNED = Contender("transformers tuned, b", "float32", "sdpa", tuned=True)
ETUDE = Contender("etude, adamw", "float32")


@pytest.fixture
def shape(model_config: ModelConfig) -> Shape:
    """A shape whose step takes milliseconds."""
    return Shape(model_config, batch_size=2, max_length=16)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Etude then trains uncompiled, here and in processes that are started; and this process's
    kernels are left as they were."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)


def result(contender: Contender, *rounds: tuple[float, ...], loss: float = 8.0) -> Result:
    """A contender with known step times at shape T."""
    return Result(contender, SHAPES["T"], rounds, Facts(9.0, 10**9, loss, 1e12))


def job(contender: Contender, shape: Shape) -> SpeedJob:
    return SpeedJob(contender, shape, "cpu", seed=1, cache_dir="")


def test_ratios_follow_from_the_step_times() -> None:
    """Of the tuned ones the fastest counts."""
    results = [
        result(EAGER, (2.0, 2.0), (2.0, 2.0)),
        result(TUNED, (1.5,), (1.5,)),
        result(SLOWER_TUNED, (1.9,), (1.9,)),
        result(ETUDE, (1.0, 1.0), (1.0, 1.0)),
    ]
    found = [numbers(r, results) for r in results]
    assert [f["times_eager"] for f in found] == pytest.approx([1, 2 / 1.5, 2 / 1.9, 2])
    assert [f["times_tuned"] for f in found] == pytest.approx([1.5 / 2, 1, 1.5 / 1.9, 1.5])
    assert found[3]["tokens_per_second"] == 32 * 256
    flops = 32 * 256 * flops_per_token(SHAPES["T"].model, 256)
    assert found[3]["flops"] == pytest.approx(flops)


def test_a_machine_that_slows_down_does_not_change_a_ratio() -> None:
    """Each round is compared with itself, and one odd round does not count."""
    slowing = (1.0, 1.5, 3.0, 6.0, 9.0)
    ours = [(seconds,) for seconds in (*slowing, 50.0)]
    theirs = [(2 * seconds,) for seconds in (*slowing, 9.0)]
    results = [result(EAGER, *theirs), result(ETUDE, *ours)]
    assert numbers(results[1], results)["times_eager"] == 2.0


def test_a_contender_that_computes_something_else_has_failed() -> None:
    results = [
        result(EAGER, (1.0,)),
        result(TUNED, (1.0,), loss=8.01),
        result(ETUDE, (1.0,), loss=7),
    ]
    checked = same_loss(results)
    assert [bool(r.failure) for r in checked] == [False, False, True]
    assert "7.0000, not 8.0000" in str(checked[2].failure)


def test_all_contenders_take_the_same_steps(shape: Shape) -> None:
    """From the same weights, with the same batches and AdamW, transformers and Etude learn the
    same."""
    losses = []
    for contender in (EAGER, ETUDE):
        this = job(contender, shape)
        train = build(this, CPU)
        losses.append([float(train(random_batch(this, number, CPU))) for number in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != pytest.approx(losses[0][3], rel=1e-4)


def test_adapters_begin_with_the_loss_of_their_base_and_learn(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    contenders = training_speed.make_contenders("float32", 4)
    assert [c.name for c in contenders] == ["transformers", "etude, float32"]
    assert [c.lora_rank for c in contenders] == [4, 4]
    whole = [float(build(job(ETUDE, shape), CPU)(random_batch(job(ETUDE, shape), 0, CPU)))]
    for contender in contenders:
        this = job(contender, shape)
        if contender.attention:
            monkeypatch.setitem(sys.modules, "peft", None)
            with pytest.raises(UserError, match="compares with peft: pip install peft"):
                build(this, CPU)
            monkeypatch.delitem(sys.modules, "peft")
            if importlib.util.find_spec("peft") is None:
                continue
        train, batch = build(this, CPU), random_batch(this, 0, CPU)
        losses = [float(train(batch)) for _ in range(30)]
        assert losses[0] == pytest.approx(whole[0], rel=1e-5)
        assert losses[-1] < losses[0] - 1e-3


def test_a_failing_contender_is_named_and_the_others_are_measured(
    shape: Shape, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = dataclasses.replace(TUNED, attention="none")  # type: ignore[arg-type]
    monkeypatch.setitem(SHAPES, "T", shape)
    monkeypatch.setattr(training_speed, "make_contenders", lambda *_: [EAGER, broken, ETUDE])
    config = TrainingSpeedConfig(
        device="cpu", shapes=("T",), rounds=2, warmup_steps=1, steps=1, dtype="float32"
    )
    assert training_speed.compare(config) == 1
    captured = capfd.readouterr()
    assert f"{broken.name} failed: " in captured.out
    assert "Traceback" in captured.err
    report = json.loads(captured.out.splitlines()[-1])
    found = report["shapes"]["T"]["contenders"]
    assert list(found) == [EAGER.name, broken.name, ETUDE.name]
    assert list(found[broken.name]) == ["error"]
    assert found[ETUDE.name]["times_eager"] > 0
    assert found[ETUDE.name]["times_tuned"] is None
    assert found[ETUDE.name]["memory_bytes"] > 10**8
    assert found[ETUDE.name]["first_step_seconds"] > 0
    assert [len(seconds) for seconds in found[ETUDE.name]["all_step_seconds"]] == [1, 1]


def test_another_process_tells_how_it_ended(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_apart(math.sqrt, 4) == 2
    with pytest.raises(Failure, match="ValueError: math domain error"):
        run_apart(math.sqrt, -1)
    with pytest.raises(Failure, match="BrokenProcessPool"):
        run_apart(os._exit, 3)
    with pytest.raises(UserError, match="no_such_place"):
        run_apart(EtudeTokenizer.load, Path("no_such_place"))
    assert "math domain error" in capfd.readouterr().err


class Counter:
    """Counts what it is asked for."""

    def __init__(self, first: int) -> None:
        self.number = 10 // first

    def next(self, by: int) -> int:
        self.number += by
        return self.number

    def end(self) -> None:
        os._exit(7)


def test_an_object_lives_in_a_process_of_its_own_until_it_is_closed() -> None:
    counters = [RemoteObject(Counter, first) for first in (1, 10, 0)]
    assert [counter.call("next", 2) for counter in counters[:2]] == [12, 3]
    assert [counter.call("next", 5) for counter in counters[:2]] == [17, 8]
    with pytest.raises(Failure, match="ZeroDivisionError"):
        counters[2].call("next", 1)
    with pytest.raises(Failure, match="TypeError"):
        counters[0].call("next", "a")
    assert counters[0].call("next", 1) == 18  # it still lives
    with pytest.raises(Failure, match="BrokenProcessPool"):
        counters[1].call("end")
    with pytest.raises(Failure, match="BrokenProcessPool"):  # also once it is gone
        counters[1].call("next", 1)
    for counter in counters:
        counter.close()
    assert not multiprocessing.active_children()


def test_a_loss_that_is_not_finite_ends_a_contender(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(job(EAGER, shape))
    monkeypatch.setattr(worker, "train", lambda batch: torch.tensor(math.nan))
    with pytest.raises(ArithmeticError, match="step 1 is not finite"):
        worker.steps(2)


def test_decoding_is_measured_on_a_network_of_every_family(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_FAMILIES:
        config = DecodingSpeedConfig(shape=name)  # type: ignore[arg-type]
        assert model_type_of(decoding_speed.network(config)) == name
    monkeypatch.setattr(decoding_speed, "SMOLLM2", shape.model)
    config = DecodingSpeedConfig(shape="qwen3")
    model = decoding_speed.make_model(decoding_speed.network(config), 1)
    decoding_speed.write_llama_files(tmp_path, model, ("f32",))
    assert (tmp_path / "f32.gguf").stat().st_size > 4 * model.num_parameters()
    with pytest.raises(UserError, match="contenders: there is no 'vllm'"):
        decoding_speed.compare(DecodingSpeedConfig(contenders=("vllm",)))
    assert DecodingSpeedConfig(new_tokens=500).problems()


LLAMA_SERVER = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{"status": "ok"}})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({{"tokens": [1] * body["n_predict"]}})
    def answer(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert open(flags["-m"], "rb").read(4) == b"GGUF"
assert (flags["-c"], flags["-np"], flags["-t"], flags["-tb"]) == ("1024", "2", "3", "3")
HTTPServer((flags["--host"], int(flags["--port"])), Handler).serve_forever()
"""
"""Answers as llama.cpp's server does, with the token 1."""


def test_a_llama_cpp_of_ones_own_build_is_measured_too(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SHAPES, "S", shape)
    server = tmp_path / "llama-server"
    server.write_text(LLAMA_SERVER.format(python=sys.executable), encoding="utf-8")
    server.chmod(0o755)
    jobs: dict[str, decoding_speed.DecodingJob] = {}

    def run_here(calls: dict[str, Any], rounds: int) -> Any:
        jobs.update({name: call.args[0] for name, call in calls.items()})
        return {name: [call() for _ in range(rounds)] for name, call in calls.items()}, {}

    monkeypatch.setattr(decoding_speed, "take_turns", run_here)
    names = ("built llama.cpp q8_0",)
    config = DecodingSpeedConfig(
        llama_server=server, contenders=names, streams=2, threads=3, rounds=1, new_tokens=16
    )
    assert decoding_speed.compare(config) == 0
    assert names[0] in capfd.readouterr().out
    job = dataclasses.replace(jobs[names[0]], folder=str(tmp_path))  # no file there: it ends
    with pytest.raises(UserError, match="llama-server: it does not answer"):
        decoding_speed.measure_llama_cpp(job)
    assert dataclasses.replace(config, processor_time=True).problems()
    for wrong, words in ((None, "needs --llama_server"), (tmp_path / "no", "no such program")):
        with pytest.raises(UserError, match=words):
            decoding_speed.compare(dataclasses.replace(config, llama_server=wrong))


@pytest.mark.parametrize("name", ["train", "quality", "data"])
def test_each_benchmark_has_its_own_help(name: str) -> None:
    script = [sys.executable, str(ROOT / "tool" / "benchmark.py")]
    told = subprocess.run(
        [*script, name, "--help"], capture_output=True, encoding="utf-8", check=True
    )
    assert f"benchmark.py {name}" in told.stdout
    assert ("--minutes" in told.stdout) == (name == "quality")
