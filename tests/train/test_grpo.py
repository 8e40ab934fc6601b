"""Reinforcement learning, from prompts to the model directory."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from config import EtudeConfig, GRPOConfig, LoraConfig, PathConfig, UserError
from model.directory.adapter_files import ADAPTER_WEIGHTS
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.launcher import run_warm, start_warm
from tests.reliability.runs import Outcome, leftovers
from tests.reliability.test_signals import strike
from tests.train import ranks
from tests.train.conftest import Workspace
from train.checkpoint import OPTIMIZER
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objective import SummedLoss
from train.objectives.policy import ADVANTAGE, FIELDS, NORM, OLD, REFERENCE, SAMPLER, SCALE
from train.rollouts.answers import advantages, has_signal, pass_rates
from train.rollouts.rollouts import Rollouts
from train.rollouts.rows import Piece, packed
from train.train_grpo import reinforcing
from train.trainer import train

NAMES = ("fox", "river", "moon", "狐狸", "河", "月亮")
OWN = """
def reward(prompt, answer, record):
    return answer.count("a") + answer.count("i") - 0.01 * len(answer)
"""


def prompt(number: int) -> dict[str, Any]:
    name = NAMES[number % len(NAMES)]
    turns = [{"role": "user", "content": f"My name is {name} {number}. What is it?"}]
    return {"conversations": turns, "answers": [name]}


@pytest.fixture
def place(workspace: Workspace, tokenizer: EtudeTokenizer) -> Workspace:
    """The workspace with 60 prompts, a reward, and a model to start from."""
    workspace.write("prompts.jsonl", [prompt(n) for n in range(60)])
    (workspace.path / "vowels.py").write_text(OWN, encoding="utf-8")
    workspace.add_start(tokenizer)
    return workspace


def config_of(place: Workspace, output: str = "out", **settings: Any) -> EtudeConfig:
    paths = PathConfig(
        rl_files=(place.path / "prompts.jsonl",),
        sft_model_dir=place.path / "start",
        grpo_model_dir=place.path / output,
    )
    defaults: dict[str, Any] = {
        "rewards": (),
        "reward_file": place.path / "vowels.py",
        "batch_size": 4,
        "group_size": 4,
        "max_length": 96,
        "max_new_tokens": 16,
        "max_steps": 4,
        "eval_steps": 4,
        "validation_every": 10,
        "learning_rate": 1e-3,
        "dtype": "float32",
        "compile": False,
        "picture": False,
        "device": "cpu",
    }
    lora = settings.pop("lora", LoraConfig())
    return EtudeConfig(grpo=GRPOConfig(**(defaults | settings)), paths=paths, lora=lora)


def rollouts_of(place: Workspace, **settings: Any) -> Rollouts:
    """Rollouts that are ready, with the model to start from."""
    stage = reinforcing(config_of(place, **settings), World())
    assert isinstance(stage.rollouts, Rollouts)
    stage.rollouts.begin(SummedLoss(stage.model), World(), lambda: False, print)
    return stage.rollouts


def log_of(directory: Path, name: str = "loss_log.jsonl") -> list[dict[str, Any]]:
    lines = (directory / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def train_here(config: EtudeConfig) -> list[dict[str, Any]]:
    """Trains to the end; the lines of its log."""
    assert train(reinforcing(config, World()), World()) == 0
    return log_of(config.paths.grpo_model_dir)


# Advantages, rows.


def test_advantages_are_relative_to_the_group() -> None:
    totals = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)
    plain = advantages(totals, scaled=False)
    assert plain.tolist() == [[0.5, -0.5, -0.5, 0.5], [0.0] * 4]
    spread = totals[0].std() + 1e-4
    torch.testing.assert_close(advantages(totals, scaled=True)[0], plain[0] / spread)
    assert has_signal(totals).tolist() == [True, False]
    tenths = torch.full((1, 3), 0.1, dtype=torch.float64)  # whose mean is not 0.1 to the bit
    assert advantages(tenths, scaled=True).tolist() == [[0.0] * 3]


def test_pass_rates() -> None:
    passed = torch.tensor([[True, False, False, False], [False] * 4, [True] * 4])
    assert pass_rates(passed) == {"pass_at_1": 5 / 12, "pass_at_k": pytest.approx(2 / 3)}


def piece(length: int, answer: int) -> Piece:
    draw = torch.Generator().manual_seed(length * 100 + answer)
    ids = torch.randint(1, 50, (length,), generator=draw)
    return Piece(ids[:-answer].tolist(), ids[-answer:], torch.full((answer, len(FIELDS)), 1.0))


def test_rows_hold_answers_whole_and_apart(model: Etude) -> None:
    pieces = [piece(*shape) for shape in ((9, 3), (17, 16), (5, 1), (12, 4), (2, 1), (16, 2))]
    batches = packed([pieces, [], pieces[:1]], max_length=16, rows=2)
    assert batches.counts.tolist() == [2, 1, 1]
    assert batches.labels.shape == (4, 2, 16)
    batch = batches.at(0)
    loss = SummedLoss(model)
    found = []
    for number in range(2):
        batch = batches.at(number)
        log_probs = -loss(*batch.inputs, per_token=True)
        found += log_probs[batch.labels != IGNORED].tolist()
        assert batch.per_token is not None
        assert bool((batch.per_token.sum(dim=-1) > 0).eq(batch.labels != IGNORED).all())
    expected = []
    for one in pieces:
        ids = torch.cat([torch.tensor(one.prompt), one.answer])
        logits = model(ids[None, :-1])[0, -len(one.answer) :].log_softmax(-1)
        expected += logits.gather(1, one.answer[:, None])[:, 0].tolist()
    assert sorted(found) == pytest.approx(sorted(expected), abs=1e-5)
    assert bool((batches.labels[2] == IGNORED).all())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_share_micro_batches_evenly(size: int) -> None:
    batches = packed([[piece(16, 3) for _ in range(5)]], max_length=16, rows=1)
    shares = [batches.of(0, False, rank, size) for rank in range(size)]
    assert {len(share) for share in shares} == {-(-5 // size)}
    trained = sum(int((b.labels != IGNORED).sum()) for share in shares for b in share)
    assert trained == 5 * 3


# Rollouts.


def tensors(batches: list[Batch]) -> list[torch.Tensor]:
    return [part for b in batches for part in vars(b).values() if isinstance(part, torch.Tensor)]


def same(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(tensors(first), tensors(second), strict=True)
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def facts_of(batches: list[Batch]) -> torch.Tensor:
    """(tokens, FIELDS) what is known of all trained tokens."""
    found = [b.per_token[b.labels != IGNORED] for b in batches if b.per_token is not None]
    return torch.cat(found)


def test_a_rollout_is_a_function_of_seed_number_and_weights(place: Workspace) -> None:
    rollouts, again = rollouts_of(place), rollouts_of(place)
    first, second = rollouts(0), rollouts(1)
    assert same(again(1), second)  # whatever came before
    assert same(again(0), first)
    assert not same(first, second)
    assert not same(rollouts_of(place, seed=2)(0), first)
    with torch.no_grad():
        again.loss.model.lm_head.weight.add_(
            0.1 * torch.randn(again.loss.model.lm_head.weight.shape)
        )
    again.held = None
    assert not same(again(0), first)


def test_the_sampler_is_the_trainer(place: Workspace) -> None:
    rollouts = rollouts_of(place, beta=0.1)
    facts = facts_of(rollouts(0))
    assert len(facts) > 100
    assert float((facts[:, OLD] - facts[:, SAMPLER]).abs().max()) <= 2e-5
    assert torch.equal(facts[:, OLD], facts[:, REFERENCE])  # nothing is trained yet
    logged = rollouts.facts()
    assert 0 < logged["sampler_difference"] <= 2e-5
    answers = float(facts[:, NORM].sum())
    assert answers == pytest.approx(16)
    assert torch.equal(facts[:, SCALE], facts[:, NORM])
    assert len(set(facts[:, ADVANTAGE].tolist())) > 4


def test_groups_without_signal_are_left_out_and_count_in_the_mean(place: Workspace) -> None:
    (place.path / "vowels.py").write_text(
        "def reward(prompt, answer, record):\n    return len(answer) % 5 * ('fox' in prompt)\n",
        encoding="utf-8",
    )
    rollouts = rollouts_of(place, batch_size=12)
    facts = facts_of(rollouts(0))
    logged = rollouts.facts()
    assert 0 < logged["no_signal"] < 1
    assert float(facts[:, NORM].sum()) == pytest.approx(48)
    assert float(facts[:, SCALE].sum()) == pytest.approx(48 * (1 - logged["no_signal"]))
    facts = facts_of(rollouts_of(place, batch_size=12, beta=0.1)(0))
    assert float(facts[:, SCALE].sum()) == pytest.approx(48)
    facts = facts_of(rollouts_of(place, batch_size=12, max_rounds=20)(0))
    assert float(facts[:, SCALE].sum()) == pytest.approx(48)
    assert bool((facts[:, ADVANTAGE] != 0).any())


def test_a_rollout_without_any_signal_says_so(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.path / "vowels.py"
    file.write_text("def reward(prompt, answer, record):\n    return 0.25\n", encoding="utf-8")
    lines = train_here(config_of(place, max_steps=3))
    said = capsys.readouterr().out
    assert said.count("in no group of this rollout do the rewards differ (their mean is 0.25)") == 1
    steps = [line for line in lines if "loss" in line]
    assert [step["no_signal"] for step in steps] == [1.0] * 3
    assert [step["grad_norm"] for step in steps] == [0.0] * 3
    assert steps[0]["sampler_difference"] is None


def test_what_is_rewarded_becomes_likelier(place: Workspace) -> None:
    settings: dict[str, Any] = {
        "max_steps": 30,
        "batch_size": 8,
        "eval_steps": 30,
        "learning_rate": 1e-2,
    }
    lines = train_here(config_of(place, **settings))
    rewards = [line["reward"] for line in lines if "loss" in line]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.5
    measured = [line for line in lines if "validation_pass_at_1" in line]
    assert [line["step"] for line in measured] == [0, 30]
    assert measured[1]["validation_reward"] > measured[0]["validation_reward"] + 0.5
    assert measured[1]["validation_pass_at_k"] >= measured[1]["validation_pass_at_1"]
    samples = [line["samples"] for line in lines if "samples" in line]
    assert set(samples[0][0]) == {"prompt", "text", "reward"}
    step = next(line for line in lines if "loss" in line)
    expected = {"reward", "reward_vowels", "no_signal", "entropy", "answer_length", "ended"}
    assert expected | {"sampler_difference", "clipped"} <= set(step)
    machine = log_of(place.path / "out", "metrics.jsonl")
    assert all(line["rollout_seconds"] > 0 for line in machine if "loss" in line)


def test_every_loss_takes_several_updates_a_rollout(place: Workspace) -> None:
    for loss in ("grpo", "cispo", "gspo"):
        settings = {"loss": loss, "prompts_per_rollout": 8, "num_iterations": 2, "beta": 0.05}
        config = config_of(place, output=loss, max_steps=8, learning_rate=1e-2, **settings)
        steps = [line for line in train_here(config) if "loss" in line]
        rewards = [step["reward"] for step in steps]
        assert len(set(rewards[:4])) == 1  # one rollout
        assert rewards[4] != rewards[3]
        assert steps[0]["clipped"] == steps[0]["kl"] == 0
        assert steps[3]["kl"] > 0
        assert all(step["clipped"] > 0 for step in (steps[3], steps[7])) or loss == "cispo"


# Interruptions.

KILLED = ("--prompts_per_rollout=8", "--num_iterations=2", "--max_steps=16", "--save_steps=3")


def flags(*more: str) -> list[str]:
    small = ("--group_size=4", "--max_new_tokens=12", "--max_length=96", "--learning_rate=1e-3")
    return ["--reward_file=vowels.py", "--rewards", *small, *more]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("runs", [1, pytest.param(6, marks=pytest.mark.full)])
def test_a_run_killed_inside_a_rollout_repeats_itself_to_the_bit(
    place: Workspace, runs: int
) -> None:
    command = place.command("grpo", *flags(*KILLED), output="undisturbed")
    assert run_warm(command, place.path)[0] == 0
    expected = Outcome.of(place.path / "undisturbed")
    draw, kills, inside = random.Random(runs), 0, 0
    for number in range(runs):
        output = f"killed{number}"
        directory = place.path / output
        while True:
            started = start_warm(place.command("grpo", *flags(*KILLED), output=output), place.path)
            log = directory / "metrics.jsonl"
            wanted = (log.read_bytes().count(b"\n") if log.exists() else 0) + draw.randint(3, 9)
            while started.running() and not (
                log.exists() and log.read_bytes().count(b"\n") >= wanted
            ):
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.02))
            started.send(signal.SIGKILL)
            code = started.wait()
            if code == 0:
                break
            assert code == -signal.SIGKILL, started.output
            kills += 1
            inside += any(holds_a_rollout(path) for path in directory.glob("checkpoints/step-*"))
        assert Outcome.of(directory) == expected
        assert leftovers(directory) == []
    assert kills >= runs
    assert inside >= 1


PHASES = {
    "answers": ("inference.engine.engine", "Engine.step", 40),
    "rewards": ("train.rollouts.rewards", "Rewards.of", 70),
    "the trainer's own pass": ("train.rollouts.rollouts", "Rollouts.score", 2),
    "the reference's pass": ("train.objective", "SummedLoss.forward", 2),
    "update": ("torch", "Tensor.backward", 6),
    "evaluation": ("train.rollouts.rollouts", "Rollouts.measure", 2),
    "save": ("train.trainer", "save_checkpoint", 2),
    "inside a save": ("safetensors.torch", "serialize_file", 4),
}
"""Of each phase a function that runs in it, and at which call of it the run is killed."""


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_run_killed_in_any_phase_repeats_itself_to_the_bit(place: Workspace) -> None:
    more = ("--prompts_per_rollout=8", "--max_steps=6", "--save_steps=1", "--beta=0.05")
    assert run_warm(place.command("grpo", *flags(*more), output="whole"), place.path)[0] == 0
    expected = Outcome.of(place.path / "whole")
    for number, (phase, (module, attribute, call)) in enumerate(PHASES.items()):
        command = place.command("grpo", *flags(*more), output=f"killed{number}")
        before = partial(strike, (module, attribute), call, [signal.SIGKILL], place.path / "seen")
        assert run_warm(command, place.path, before)[0] == -signal.SIGKILL, phase
        assert run_warm(command, place.path)[0] == 0, phase
        directory = place.path / f"killed{number}"
        assert Outcome.of(directory) == expected, phase
        assert leftovers(directory) == [], phase


def holds_a_rollout(checkpoint: Path) -> bool:
    file = checkpoint / OPTIMIZER
    return file.exists() and b"rollout.0.labels" in file.read_bytes()[:100_000]


@pytest.mark.parametrize("use_dora", [False, pytest.param(True, marks=pytest.mark.full)])
def test_an_adapter_continued_inside_a_rollout_gives_the_same_bits(
    place: Workspace, use_dora: bool
) -> None:
    lora = LoraConfig(4, lora_targets=("all", "lm_head"), lora_dropout=0.2, use_dora=use_dora)
    inside: dict[str, Any] = {"prompts_per_rollout": 8, "num_iterations": 2, "save_steps": 6}
    settings = {**inside, "max_steps": 8, "beta": 0.05, "eval_steps": 8, "lora": lora}
    expected = train_here(config_of(place, output="whole", **settings))
    whole, resumed = place.path / "whole", place.path / "resumed"
    name = "checkpoints/step-00000006"
    assert holds_a_rollout(whole / name)
    shutil.copytree(whole / name, resumed / name)
    for log in ("loss_log.jsonl", "metrics.jsonl"):
        shutil.copy(whole / log, resumed)
    assert train_here(config_of(place, output="resumed", **settings)) == expected
    assert (resumed / ADAPTER_WEIGHTS).read_bytes() == (whole / ADAPTER_WEIGHTS).read_bytes()


def test_a_signal_in_a_rollout_leaves_without_it(place: Workspace) -> None:
    rollouts = rollouts_of(place)
    rollouts.sampler.stopped = lambda: True
    assert rollouts(0) == []
    assert rollouts.measure() is None


def test_another_reward_or_other_prompts_are_another_run(place: Workspace) -> None:
    train_here(config_of(place))
    (place.path / "vowels.py").write_text(OWN + "# more\n", encoding="utf-8")
    with pytest.raises(UserError, match="the reward file is another"):
        train(reinforcing(config_of(place, max_steps=4), World()), World())
    (place.path / "vowels.py").write_text(OWN, encoding="utf-8")
    place.write("prompts.jsonl", [prompt(n) for n in range(61)])
    with pytest.raises(UserError, match="the data is another"):
        train(reinforcing(config_of(place), World()), World())


# Several processes.


def trained_by(world: World, given: tuple[EtudeConfig, str]) -> bool:
    """Trains as one of several processes."""
    return train(reinforcing(given[0], world), world) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="forks processes")
@pytest.mark.parametrize("rank", [0, pytest.param(4, marks=pytest.mark.full)])
def test_two_processes_have_the_losses_of_one(place: Workspace, rank: int) -> None:
    settings = {"max_steps": 6, "prompts_per_rollout": 8, "beta": 0.05, "lora": LoraConfig(rank)}
    expected = train_here(config_of(place, output="one", **settings))
    pair = config_of(place, output="two", **settings)
    assert all(ranks.run(2, "ddp", trained_by, (pair, "")))
    found = log_of(place.path / "two")
    assert len(found) == len(expected)
    for before, now in zip(expected, found, strict=True):
        for name, value in before.items():
            if isinstance(value, float):
                assert now[name] == pytest.approx(value, abs=1e-4, rel=1e-3), name


# Mistakes.


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rl_files=none.jsonl"], "none.jsonl: there is no such file"),
        (["--rl_files=chats.jsonl"], "chats.jsonl:1"),
        (["--rl_files=texts.jsonl"], "texts.jsonl:1: found the keys"),
        (["--rewards", "number"], "prompts.jsonl:1: the reward number has nothing to judge by"),
        (["--rewards", "answer", "--reward_weights", "1"], "reward_weights has 1 numbers"),
        (["--rewards", "answer", "answer"], "name each once"),
        (["--reward_file=none.py"], "none.py: there is no such file"),
        (["--max_length=20", "--max_new_tokens=12"], "no prompt has room for an answer"),
        (["--max_new_tokens=96"], "leaves no room for a prompt"),
        (["--prompts_per_rollout=6"], "use a multiple of the batch_size of 4"),
        (["--max_length=4096"], "more than the model's context"),
        (["--parallel=fsdp"], "does not go with rollouts"),
        (["--find_lr"], "does not go with rollouts"),
        (["--group_size=1"], "group_size is 1"),
        (["--init_from=nowhere"], "nowhere"),
        (["--grpo_model_dir=start"], "name another model directory"),
    ],
)
def test_a_mistake_gets_one_sentence(place: Workspace, more: list[str], words: str) -> None:
    code, output = run_warm(place.command("grpo", *flags(*more)), place.path)
    assert code == 2, output
    assert words in output
    assert "Traceback" not in output
    assert not (place.path / "grpo" / "model.safetensors").exists()


def test_a_reward_that_fails_in_a_run_is_one_sentence(place: Workspace) -> None:
    text = "def reward(prompt, answer, record):\n    return record['gold']\n"
    (place.path / "vowels.py").write_text(text, encoding="utf-8")
    code, output = run_warm(place.command("grpo", *flags()), place.path)
    assert code == 2, output
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "KeyError: 'gold'" in last
    assert "prompts.jsonl:" in last


def test_prompts_that_are_too_long_are_left_out_and_counted(place: Workspace) -> None:
    records = [prompt(n) for n in range(60)]
    records[7]["conversations"][0]["content"] = "fox " * 90
    place.write("prompts.jsonl", records)
    rollouts = rollouts_of(place)
    assert (
        rollouts.prompts.sentence() == "53 prompts, 6 held out, 1 left out: no room for an answer"
    )


def test_a_finished_run_draws_its_curves_and_says_so_when_asked_again(place: Workspace) -> None:
    command = place.command("grpo", *flags("--max_steps=4", "--picture"))
    code, output = run_warm(command, place.path)
    assert code == 0, output
    assert "training.png" in output
    assert (place.path / "grpo" / "training.png").stat().st_size > 10_000
    assert "held out: pass at 1 " in output
    shutil.rmtree(place.path / "grpo" / "checkpoints")
    code, output = run_warm(command, place.path)
    assert code == 0
    assert "grpo is complete: 4 steps, pass at 1 " in output


def test_an_adapter_answers_and_is_trained(place: Workspace) -> None:
    more = ("--max_steps=4", "--lora_rank=4", "--beta=0.1", "--num_iterations=2")
    code, output = run_warm(place.command("grpo", *flags(*more)), place.path)
    assert code == 0, output
    assert (place.path / "grpo" / "adapter_model.safetensors").is_file()
    steps = [line for line in log_of(place.path / "grpo") if "loss" in line]
    assert steps[0]["kl"] == 0
    assert steps[1]["kl"] > 0
    assert all(step["sampler_difference"] <= 2e-5 for step in steps)
