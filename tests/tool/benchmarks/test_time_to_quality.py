"""Time to quality is measured alike for both, by the clock, and what failed is said."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cli import parse_config
from config import ModelConfig, PretrainConfig, UserError
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.conftest import TEXTS
from tool.benchmarks import contenders, time_to_quality
from tool.benchmarks.contenders import (
    SHAPES,
    ClockedJob,
    Contender,
    Point,
    Shape,
    TextData,
    build_llama,
    learning_rate,
    measure_etude,
    measure_llama,
    train_llama,
)
from tool.benchmarks.time_to_quality import QualityRun, table, verdict
from tool.settings import TimeToQualityConfig
from train.tokenizer.bpe import save_tokenizer

pytestmark = pytest.mark.full

CPU = torch.device("cpu")
LLAMA = Contender("transformers", "float32", "sdpa")


@pytest.fixture
def text_data(tmp_path: Path, tokenizer: EtudeTokenizer) -> TextData:
    """A few texts under the tests' tokenizer."""
    file = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": text}) for text in TEXTS * 20]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_tokenizer(tmp_path / "tokenizer", tokenizer, 16, {"made_by": "a test"})
    return TextData((file,), tmp_path / "tokenizer", tmp_path / "cache", 16)


def test_transformers_trains_until_the_time_is_over_and_learns(
    text_data: TextData, model_config: ModelConfig
) -> None:
    training = PretrainConfig(batch_size=2, max_length=16, learning_rate=4e-3)
    short, long = (
        train_llama(ClockedJob(text_data, model_config, LLAMA, training, minutes, "cpu"))
        for minutes in (1e-6, 0.02)
    )
    assert 1.2 <= long.seconds < 5
    assert long.bits_per_byte < short.bits_per_byte
    assert (short.tokens, long.tokens % 32) == (32, 0)


def test_a_run_that_diverges_ends_early(text_data: TextData, model_config: ModelConfig) -> None:
    training = PretrainConfig(batch_size=2, max_length=16, learning_rate=1e30)
    clocked = ClockedJob(text_data, model_config, LLAMA, training, 1.0, "cpu")
    began = time.perf_counter()
    assert train_llama(clocked).bits_per_byte == math.inf
    assert time.perf_counter() - began < 30


def test_transformers_weights_are_measured_as_etudes_are(text_data: TextData, model: Etude) -> None:
    _, groups, _ = text_data.read()
    llama = build_llama(model.config, "sdpa", CPU)
    llama.load_state_dict(model.state_dict())
    assert measure_llama(llama, Etude(model.config), groups) == measure_etude(model, groups, CPU)


def test_measuring_does_not_count_as_training(
    text_data: TextData, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> float:
        time.sleep(3)
        return 1.0

    monkeypatch.setattr(contenders, "measure_llama", slow)
    training = PretrainConfig(batch_size=2, max_length=16)
    clocked = ClockedJob(text_data, model_config, LLAMA, training, 0.01, "cpu")
    began = time.perf_counter()
    point = train_llama(clocked)
    assert time.perf_counter() - began > point.seconds + 3


def test_the_rate_rises_and_falls_with_the_clock() -> None:
    training = PretrainConfig(learning_rate=2.0, warmup_ratio=0.05, min_lr_ratio=0.1)
    assert learning_rate(training, 0.0) < 0.05
    assert learning_rate(training, 0.05) == pytest.approx(2.0, rel=0.02)
    assert learning_rate(training, 0.5) == pytest.approx(1.15, rel=0.05)
    assert learning_rate(training, 1.0) == pytest.approx(0.2)


def test_etude_runs_by_its_defaults_in_a_third_of_the_time(text_data: TextData) -> None:
    config = TimeToQualityConfig(minutes=9)
    arguments = time_to_quality.etude_arguments(config, SHAPES["T"], text_data)
    parsed = parse_config(["model", "pretrain", "paths"], "", arguments)
    nano = parse_config(["model", "pretrain", "paths"], "", ["--preset", "nano"])
    assert parsed.pretrain == dataclasses.replace(nano.pretrain, max_minutes=3.0, max_length=256)
    assert parsed.model == dataclasses.replace(
        SHAPES["T"].model,  # Llama's size, with the preset's network
        use_qk_norm=nano.model.use_qk_norm,
        max_position_embeddings=nano.model.max_position_embeddings,
    )


def run(name: str, *points: tuple[float, float]) -> QualityRun:
    """A run with bits per byte at some seconds."""
    return QualityRun(name, tuple(Point(s, int(1000 * s), bits) for s, bits in points))


def test_the_verdict_follows_from_the_curves() -> None:
    llama = run("transformers", (300, 2.5), (600, 2.0))
    etude = run("etude", (100, 2.2), (150, 1.9), (200, 1.8))
    judged = verdict(llama, etude)
    assert judged is not None
    assert judged["reached"]
    assert judged["bits_per_byte_better"] == pytest.approx(0.2)
    assert judged["reached_after_seconds"] == 150
    assert judged["times_faster"] == 4
    missed = verdict(run("transformers", (600, 1.5)), etude)
    assert missed is not None
    assert not missed["reached"]
    assert "0.3000 bits per byte are missing" in table(
        [run("transformers", (600, 1.5)), etude], minutes=10
    )


@pytest.fixture
def small_comparison(
    text_data: TextData, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> TimeToQualityConfig:
    """A comparison of a second; transformers trains in this process."""

    def run_here(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(time_to_quality, "run_apart", run_here)
    monkeypatch.setitem(SHAPES, "T", Shape(model_config, 2, 16))
    monkeypatch.setattr(
        time_to_quality,
        "DEFAULTS",
        ("--preset", "nano", "--no_compile", "--dtype", "float32", "--max_steps", "5"),
    )
    return TimeToQualityConfig(
        device="cpu",
        pretrain_files=text_data.files,
        tokenizer_dir=text_data.tokenizer_dir,
        minutes=0.03,
        tune_minutes=0.005,
        learning_rates=(1e-5, 4e-3),
        batch_size=2,
        output_dir=tmp_path / "out",
    )


def test_a_comparison_of_quality_ends_with_all_of_it_as_json(
    small_comparison: TimeToQualityConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    assert time_to_quality.compare(small_comparison) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    runs = report["runs"]
    assert list(runs) == ["transformers", "etude"]
    assert runs["etude"]["tokens"] == 5 * 16 * 16
    rates = runs["transformers"]["learning_rates"]
    assert rates["0.004"] < rates["1e-05"]
    assert report["verdicts"]["transformers"]["reached"] in (True, False)
    written = small_comparison.output_dir / "time_to_quality.json"
    assert json.loads(written.read_text(encoding="utf-8")) == report
    with pytest.raises(UserError, match="an earlier comparison lies there"):
        time_to_quality.compare(small_comparison)


def test_a_trainer_that_fails_is_told_and_nothing_is_concluded(
    small_comparison: TimeToQualityConfig,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(script: str, *_: object, **__: object) -> None:
        raise UserError(f"{script} ended with exit code 3; see above")

    monkeypatch.setattr(time_to_quality, "run_repository_script", fail)
    assert time_to_quality.compare(small_comparison) == 1
    out = capfd.readouterr().out
    assert "etude failed: train/train_pretrain.py ended with exit code 3" in out
    assert "not known, for a run failed" in out
    report = json.loads(out.splitlines()[-1])
    assert report["runs"]["etude"]["bits_per_byte"] is None
    assert report["verdicts"]["transformers"] is None
