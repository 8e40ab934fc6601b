"""The comparison of networks trains each for as many steps as fit in the time of the dense one's,
and compares them seed by seed."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import parse_config
from config import UserError, nano
from model.families import model_type_of
from tool.benchmarks import measuring, networks
from tool.benchmarks.contenders import SpeedJob
from tool.benchmarks.decoding_speed import DecodingSpeed
from tool.benchmarks.networks import DENSE, NETWORKS, Run, table
from tool.settings import NetworksConfig

pytestmark = pytest.mark.full

SECONDS = {"dense": 1.0, "QK-norm": 1.25, "QK-norm, 4 experts": 2.0}


class FakeWorker:
    """Stands in for a network in a process of its own: its steps take what SECONDS says, and the
    whole machine is slower from turn to turn."""

    slow = 1.0

    def __init__(self, _: Callable[..., object], job: SpeedJob) -> None:
        self.name = job.contender.name

    def call(self, _: str, count: int, *clock: object) -> tuple[float, ...]:
        """Seconds of steps."""
        return (SECONDS[self.name] * FakeWorker.slow,) * count

    def close(self) -> None:
        """Ends nothing."""
        FakeWorker.slow *= 1.1


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the trainer's scripts are called with; their losses are made up."""
    called: list[list[str]] = []

    def run(script: str, *arguments: object) -> None:
        words = [str(word) for word in arguments]
        called.append([script, *words])
        if script != "train/train_pretrain.py":
            return
        config = parse_config(["model", "pretrain", "paths"], "", words)  # refuses wrong flags
        assert config.pretrain.max_steps is not None
        place = config.paths.pretrained_model_dir
        place.mkdir(parents=True)
        bits = 2 + config.pretrain.seed / 10 - config.model.use_qk_norm * config.pretrain.seed / 100
        summary = {"bits_per_byte": {"all": bits}}
        (place / "training_summary.json").write_text(json.dumps(summary), encoding="utf-8")

    monkeypatch.setattr(networks, "RemoteObject", FakeWorker)
    for module in (networks, measuring):
        monkeypatch.setattr(module, "run_repository_script", run)
    return called


def config_in(directory: Path) -> NetworksConfig:
    """Two networks beside the dense one, two seeds."""
    return NetworksConfig(
        networks=("QK-norm", "QK-norm, 4 experts"),
        pretrain_files=(directory / "a.jsonl",),
        seeds=(1, 2),
        steps=100,
        device="cpu",
        output_dir=directory / "out",
    )


def test_each_network_trains_as_long_as_the_dense_one(
    tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that takes a quarter longer: four fifths of the steps, with a schedule of that length;
    seed, rate, batch and text are the same for all."""
    assert networks.compare(config_in(tmp_path)) == 0
    runs = [dict(itertools.pairwise(words)) for words in commands[1:]]
    assert [(run["--max_steps"], run["--seed"]) for run in runs] == [
        *(("100", "1"), ("80", "1"), ("50", "1")),
        *(("100", "2"), ("80", "2"), ("50", "2")),
    ]
    for flag in ("--batch_size", "--learning_rate", "--muon_learning_rate", "--dtype"):
        assert len({run[flag] for run in runs}) == 1
    assert [run.get("--num_experts") for run in runs] == [None, None, "4"] * 2
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    assert report["speed"]["relative"] == pytest.approx(
        {"dense": 1.0, "QK-norm": 0.8, "QK-norm, 4 experts": 0.5}
    )
    rows = {line.split("  ")[0]: line for line in lines}
    row = rows["QK-norm"]
    # 2.09 and 2.18; against dense -0.01 and -0.02
    assert "2.1350 ± 0.0636" in row
    assert "-0.0150 ± 0.0050" in row
    assert " ".join(rows["dense"].split()) == "dense x 1 2.56M 1.000 100 2.1500 ± 0.0707 - 2"


def test_what_is_measured_and_trained_is_kept(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speeds are those of the first time, so that the runs are the same."""
    config = config_in(tmp_path)
    networks.compare(dataclasses.replace(config, networks=("QK-norm",)))
    monkeypatch.setitem(SECONDS, "QK-norm", 9.0)
    commands.clear()
    networks.compare(dataclasses.replace(config, rate_factors=(2.0,), seeds=(1,)))
    steps = [words[words.index("--max_steps") + 1] for words in commands[1:]]
    assert steps == ["100", "80", "50"]
    rates = {words[words.index("--learning_rate") + 1] for words in commands[1:]}
    assert rates == {str(2 * nano().pretrain.learning_rate)}


def test_a_name_that_is_none_and_a_network_that_fails_are_said(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_in(tmp_path)
    with pytest.raises(UserError, match="networks: there is no 'moe'; use some of: dense; QK"):
        networks.compare(dataclasses.replace(config, networks=("moe",)))
    monkeypatch.delitem(SECONDS, "QK-norm")

    def fail(*_: object) -> None:
        raise measuring.Failure("RuntimeError: no memory")

    monkeypatch.setattr(FakeWorker, "call", fail)
    with pytest.raises(UserError, match="speed of training: RuntimeError: no memory"):
        networks.compare(config)


def test_one_seed_has_no_spread() -> None:
    runs = [Run(DENSE, 1.0, 1, 100, 2.0), Run("QK-norm", 1.0, 1, 98, 1.9)]
    row = table(NetworksConfig(), {DENSE: 1.0, "QK-norm": 0.98}, runs).splitlines()[-1]
    assert " ".join(row.split()) == "QK-norm x 1 2.56M 0.980 98 1.9000 -0.1000 1"


def test_every_network_is_a_stock_class_at_every_size() -> None:
    found = {
        name: {
            model_type_of(networks.shape_of(NetworksConfig(preset=preset), name).model)
            for preset in ("nano", "mini")
        }
        for name in NETWORKS
    }
    assert found.pop(DENSE) == {"llama"}
    assert set.union(*found.values()) == {"qwen3", "qwen3_moe"}


def test_decoding_is_compared_in_the_same_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Round by round."""
    speeds = {
        "dense, float32": [DecodingSpeed(100, 200, 400), DecodingSpeed(50, 100, 200)],
        "dense, int8": [DecodingSpeed(300, 300, 300)] * 2,
        "QK-norm, float32": [DecodingSpeed(90, 100, 400), DecodingSpeed(45, 50, 200)],
    }
    failures = {"QK-norm, int8": "no memory"}
    speeds["QK-norm, int8"] = []
    monkeypatch.setattr(networks, "take_turns", lambda *_: (speeds, failures))
    networks.decoding_speeds(NetworksConfig(decoding_rounds=2), [DENSE, "QK-norm"])
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[3].split()) == "QK-norm, float32 68 (0.90x) 75 (0.50x) 300 (1.00x)"
    assert lines[-1] == "QK-norm, int8 failed: no memory"
