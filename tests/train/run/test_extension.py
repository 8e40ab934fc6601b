"""A finished run that is extended, and a run that starts from another model's weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import parse_config
from config import EtudeConfig, PretrainConfig, UserError
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer, tokenizer_json
from model.transformer import Etude
from tests.reliability.runs import Outcome
from tests.train.conftest import Workspace
from train.checkpoint import SCHEDULE_SETTINGS, Identity, Progress
from train.objective import CrossEntropy
from train.run import plan
from train.run.schedule import Schedule
from train.run.start import initial_model

LINEAR = PretrainConfig(lr_scheduler_type="linear", warmup_ratio=0.1, min_lr_ratio=0.0)


def test_the_schedule_of_an_extension_is_that_of_a_run_of_its_length() -> None:
    schedule = Schedule(LINEAR, 30, Progress(step=10))
    schedule.begin_again()
    extended = []
    for step in range(10, 30):
        schedule.progress.step = step
        extended.append(schedule.scale(0.0))
    alone = Schedule(LINEAR, 20, Progress())
    expected = []
    for step in range(20):
        alone.progress.step = step
        expected.append(alone.scale(0.0))
    assert extended == expected
    assert extended[0] < extended[2] == 1.0
    assert extended[-1] == 0.0


def test_an_extension_by_the_clock_counts_from_where_it_began() -> None:
    timed = dataclasses.replace(LINEAR, max_minutes=2.0)
    schedule = Schedule(timed, 10_000, Progress(step=50, seconds=60.0))
    schedule.begin_again()
    assert schedule.scale(60.0) < 0.01
    assert schedule.scale(90.0) == pytest.approx(0.55, abs=0.01)  # a tenth is the warm-up
    assert schedule.scale(120.0) == 0.0
    assert not schedule.is_over(119.0)
    assert schedule.is_over(120.0)


def test_by_the_clock_evaluations_on_the_way_take_a_twentieth_of_the_time() -> None:
    timed = dataclasses.replace(LINEAR, max_minutes=10.0)
    schedule, made = Schedule(timed, 10_000, Progress()), []
    schedule.durations["evaluate"] = 6.0  # as estimated at the beginning
    for second in range(600):
        if second % 30 == 0 and schedule.may_evaluate(second):
            schedule.evaluating += 6.0
            made.append(second)
    assert made == [120, 240, 360, 480]
    assert Schedule(LINEAR, 30, Progress()).may_evaluate(0.0)  # by steps, as --eval_steps says


def test_a_plan_by_the_clock_counts_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "seconds_per_token", lambda *_: 0.001)
    config = PretrainConfig(max_minutes=1.0, batch_size=1, max_length=1000)  # a step a second
    stage: Any = SimpleNamespace(config=config, model=None, rows=None, objective=CrossEntropy())
    world: Any = SimpleNamespace(shards=False, size=1, device=None)
    assert plan.steps_and_time(stage, world, 0, 1000, 0.0) == (60, " and 60 s")
    assert plan.steps_and_time(stage, world, 54, 1000, 20.0) == (94, " and 40 s")
    assert plan.steps_and_time(stage, world, 54, 60, 20.0) == (60, " and 6 s")


@pytest.mark.parametrize("progress", [Progress(step=30), Progress(step=31), Progress(5, 61.0)])
def test_an_extension_without_more_to_do_is_refused(progress: Progress) -> None:
    config = dataclasses.replace(LINEAR, max_minutes=1.0 if progress.seconds else None)
    with pytest.raises(UserError, match="raise --max_steps"):
        Schedule(config, 30, progress).begin_again()


def test_settings_that_are_newer_than_a_run_do_not_separate_it() -> None:
    saved = {
        "settings": {"seed": 1, "eval_steps": 5, "max_steps": 3},
        "fingerprints": {"data": "a"},
    }
    now = Identity({"seed": 1, "max_steps": 3, "of a later version": 1}, {"data": "a"})
    assert now.differences(saved) == []
    more = Identity({"seed": 2, "max_steps": 9}, {"data": "a"})
    assert len(more.differences(saved)) == 2
    assert more.differences(saved, SCHEDULE_SETTINGS) == ["seed was 1 and is 2"]
    other = Identity({"seed": 1, "max_steps": 3}, {"data": "a", "initial model": "b"})
    assert other.differences(saved) == ["the initial model is another"]


@pytest.fixture
def start(tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer) -> Path:
    """The directory of a model to start from."""
    save_pretrained(tmp_path / "start", model, tokenizer, {}, is_chat=False)
    return tmp_path / "start"


def asked(*flags: str) -> EtudeConfig:
    return parse_config(["model", "pretrain", "paths"], "", ["--preset=nano", *flags])


def test_a_start_brings_its_own_shape_tokenizer_and_weights(start: Path, model: Etude) -> None:
    given = asked(f"--init_from={start}", "--max_length=64", "--hidden_size=32")
    found, _ = initial_model(start, given)
    assert found.config == model.config
    assert all((a == b).all() for a, b in zip(found.parameters(), model.parameters(), strict=True))


def test_what_a_start_does_not_have_is_refused_by_name(
    start: Path, tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = tokenizer_json(tokenizer).replace("Ġ", "ġ")
    (other / "tokenizer.json").write_text(text, encoding="utf-8")
    for flags, sentence in (
        (["--hidden_size=64"], "--hidden_size is 64, but the model of --init_from .* has 32"),
        (["--rope_theta=5"], "--rope_theta is 5.0, but"),
        (["--max_length=129"], "use at most 128"),
        ([f"--tokenizer_dir={other}"], "is not the tokenizer of --init_from"),
        ([f"--pretrained_model_dir={start}"], "name another model directory to write"),
    ):
        config = asked(f"--init_from={start}", "--max_length=64", *flags)
        with pytest.raises(UserError, match=sentence):
            initial_model(start, config)


def test_auto_does_not_go_with_a_start(start: Path) -> None:
    with pytest.raises(UserError, match="init_from has one"):
        asked("--preset=auto", "--max_minutes=1", f"--init_from={start}")


@pytest.fixture
def finished(workspace: Workspace) -> Workspace:
    """A workspace whose run of 12 steps is complete."""
    assert workspace.run("pretrain", "--max_steps=12").returncode == 0
    return workspace


@pytest.mark.full
def test_an_extension_that_is_killed_ends_as_one_that_is_not(finished: Workspace) -> None:
    flags = ("--max_steps=60", "--extend", "--save_steps=2")
    shutil.copytree(finished.path / "pretrain", finished.path / "killed")
    assert finished.run("pretrain", *flags).returncode == 0
    killed = finished.path / "killed"
    process = subprocess.Popen(
        finished.command("pretrain", *flags, output="killed"), cwd=finished.path
    )
    while process.poll() is None and not list(killed.glob("checkpoints/step-0000002?")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = finished.run("pretrain", *flags, output="killed")
    assert again.returncode == 0, again.stderr
    assert "continuing at step" in again.stdout
    assert "extending" not in again.stdout
    assert Outcome.of(killed) == Outcome.of(finished.path / "pretrain")
    lines = [json.loads(line) for line in Outcome.of(killed).log.splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 61))
    assert [line["step"] for line in lines if "bits_per_byte" in line][:3] == [8, 12, 16]


@pytest.mark.full
def test_the_ways_on_are_named_and_a_run_under_way_cannot_be_extended(finished: Workspace) -> None:
    settings = finished.path / "pretrain" / "run.yaml"
    before = settings.read_bytes()
    refused = finished.run("pretrain", "--max_steps=20")
    assert refused.returncode == 2
    assert settings.read_bytes() == before
    assert "add --extend" in refused.stderr
    assert "--init_from pretrain" in refused.stderr
    (finished.path / "pretrain" / "training_summary.json").unlink()
    refused = finished.run("pretrain", "--max_steps=20", "--extend")
    assert (refused.returncode, "is not yet" in refused.stderr) == (2, True)
    nothing = finished.run("pretrain", "--extend", output="new")
    assert (nothing.returncode, "no run to extend" in nothing.stderr) == (2, True)


@pytest.mark.full
def test_a_run_from_another_model_continues_and_knows_its_start(finished: Workspace) -> None:
    flags = ("--init_from=pretrain", "--eval_steps=1000", "--max_steps=12")
    done = finished.run("pretrain", *flags, output="second")
    assert (done.returncode, "first loss should be" in done.stdout) == (0, False)
    first, second = (
        json.loads((finished.path / name / "loss_log.jsonl").read_bytes().split(b"\n")[0])["loss"]
        for name in ("pretrain", "second")
    )
    assert second < first - 0.5
    again = finished.run("pretrain", *flags, output="second")
    assert "is complete" in again.stdout
    without = finished.run("pretrain", *flags[1:], output="second")
    assert "the initial model is another" in without.stderr
    tuned = finished.run("sft", "--init_from=second", "--validation_every=0")
    assert tuned.returncode == 0, tuned.stderr
    assert "validation: none" in tuned.stdout
    assert "not measured" in tuned.stdout
    more = finished.run("sft", "--init_from=sft", "--train_on=last", output="more")
    assert more.returncode == 0, more.stderr


@pytest.mark.full
def test_the_settings_that_a_run_wrote_are_its_command(finished: Workspace) -> None:
    script = finished.command("pretrain")[1]
    done = subprocess.run(
        [sys.executable, script, "--config=pretrain/run.yaml"],
        cwd=finished.path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "is complete: 12 steps" in done.stdout, done.stderr


@pytest.mark.full
def test_what_is_measured_and_when_may_change_on_the_way(finished: Workspace) -> None:
    """Of a run that is stopped, as of one that is complete."""
    shutil.rmtree(finished.path / "pretrain" / "checkpoints" / "step-00000012")
    (finished.path / "pretrain" / "training_summary.json").unlink()
    flags = ("--max_steps=12", "--eval_steps=3", "--validation_bytes=100")
    again = finished.run("pretrain", *flags)
    assert again.returncode == 0, again.stderr
    assert "continuing at step 10 of 12" in again.stdout
