"""Learning from a teacher, from files to the model directory."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from config import DistillConfig, EtudeConfig, ModelConfig, PathConfig, UserError
from model.directory.pretrained import load_pretrained, model_files, save_pretrained, weights_of
from model.directory.storage import write_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.launcher import run_warm, start_warm
from tests.reliability.runs import Outcome, leftovers
from tests.train import ranks
from tests.train.conftest import SHAPE, Workspace
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objectives import taught
from train.objectives.taught import TaughtRows
from train.objectives.teacher import Teacher
from train.stage import Stage
from train.tokenizer.bpe import train_bpe
from train.train_distill import distilling
from train.trainer import train


def add_teacher(place: Path, tokenizer: EtudeTokenizer, name: str = "teacher") -> None:
    """Writes a chat model whose random weights make it sure of what it says."""
    shape = ModelConfig(len(tokenizer), 48, 64, 2, 2, 1, 128)
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(7))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    write_directory(place / name, model_files(shape, weights_of(model), tokenizer, {}, True))


@pytest.fixture
def place(workspace: Workspace, tokenizer: EtudeTokenizer) -> Workspace:
    """The workspace with a teacher and a model to start from."""
    workspace.add_start(tokenizer)
    add_teacher(workspace.path, tokenizer)
    turns = [[{"role": "user", "content": f"Who is {n}?"}] for n in range(60)]
    workspace.write("prompts.jsonl", [{"conversations": prompt} for prompt in turns])
    return workspace


def config_of(place: Workspace, output: str = "out", **settings: Any) -> EtudeConfig:
    paths = PathConfig(
        sft_files=(place.path / "chats.jsonl",),
        pretrain_files=(place.path / "texts.jsonl",),
        rl_files=(place.path / "prompts.jsonl",),
        tokenizer_dir=place.path / "tokenizer",
        pretrained_model_dir=place.path / "start",
        sft_model_dir=place.path / "start",
        distilled_model_dir=place.path / output,
        cache_dir=place.path / "cache",
    )
    defaults: dict[str, Any] = {
        "teacher_dir": place.path / "teacher",
        "batch_size": 4,
        "max_length": 64,
        "max_steps": 12,
        "save_steps": 5,
        "eval_steps": 8,
        "validation_every": 10,
        "learning_rate": 1e-3,
        "top_k": 8,
        "compile": False,
        "dtype": "float32",
        "sample_tokens": 4,
        "picture": False,
    }
    shape = ModelConfig(400, 32, 64, 2, 2, 1, 128)
    return EtudeConfig(model=shape, distill=DistillConfig(**(defaults | settings)), paths=paths)


def stage_of(place: Workspace, output: str = "out", **settings: Any) -> Stage:
    return distilling(config_of(place, output, **settings), World())


def lines_of(place: Workspace, output: str) -> list[dict[str, Any]]:
    text = (place.path / output / "loss_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# The cache.


@pytest.mark.parametrize("data", ["conversations", "texts"])
def test_the_cache_holds_what_the_teacher_says(place: Workspace, data: Any) -> None:
    rows = stage_of(place, data=data, temperature=1.5).rows
    assert isinstance(rows, TaughtRows)
    teacher, _ = load_pretrained(place.path / "teacher")
    batch = rows.batch([3, 0, len(rows) - 1])
    assert batch.soft_targets is not None
    with torch.no_grad():
        hidden = teacher.model(batch.input_ids, document_ids=batch.document_ids)
        expected = (teacher.lm_head(hidden) / 1.5).log_softmax(dim=-1)
    trained = batch.labels != IGNORED
    assert trained.any()
    ids, log_probs = (part[trained] for part in batch.soft_targets)
    torch.testing.assert_close(
        log_probs[:, :-1], expected[trained].gather(1, ids), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(
        log_probs[:, :-1], expected[trained].topk(8).values, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(ids)), rtol=0, atol=5e-3)


def test_blocks_are_computed_once_and_damage_is_mended(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taught, "BLOCK_ROWS", 16)
    written, write = list[int](), TaughtRows.write

    def counted(self: Any, first: int, *more: Any) -> None:
        written.append(first)
        if len(written) == 2:
            raise KeyboardInterrupt
        write(self, first, *more)

    monkeypatch.setattr(TaughtRows, "write", counted)
    with pytest.raises(KeyboardInterrupt):
        stage_of(place)
    first = stage_of(place).rows
    assert written == [0, 16, *range(16, len(first), 16)]  # what was done before is kept
    done = len(written)
    monkeypatch.setattr("train.objectives.teacher.load_network", None)  # nor loaded again
    stage_of(place)
    assert len(written) == done
    monkeypatch.undo()
    monkeypatch.setattr(taught, "BLOCK_ROWS", 16)
    damaged = sorted((place.path / "cache").glob("teacher-*/rows-*/ids.bin"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    again = stage_of(place).rows
    both = [rows.batch(range(len(rows))).soft_targets for rows in (first, again)]
    for one, other in zip(*both, strict=True):
        assert torch.equal(one, other)
    assert len(list((place.path / "cache").glob("teacher-*"))) == 1
    stage_of(place, top_k=9)
    stage_of(place, temperature=2.0)
    assert len(list((place.path / "cache").glob("teacher-*"))) == 3
    shutil.rmtree(place.path / "cache")
    with pytest.raises(UserError, match="removed or changed while in use"):
        again.batch([0])


def test_a_dry_run_asks_no_teacher(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(stage_of(place, dry_run=True), World()) == 0
    assert "plan: 12 steps" in capsys.readouterr().out
    assert not list((place.path / "cache").glob("teacher-*"))


@pytest.mark.full
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_other_networks_teach_through_transformers(
    place: Workspace, tokenizer: EtudeTokenizer, kind: str
) -> None:
    """Documents of a row on their own, and a vocabulary that was padded."""
    transformers = pytest.importorskip("transformers")
    size = len(tokenizer)
    directory = place.path / kind
    torch.manual_seed(1)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size + 16, n_positions=128, n_embd=32, n_layer=2, n_head=2
        )
        theirs = transformers.GPT2LMHeadModel(config).eval()
        theirs.save_pretrained(directory)
    else:
        model, _ = load_pretrained(place.path / "teacher")
        save_pretrained(directory, model, tokenizer, {}, is_chat=True)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(directory).eval()
    shutil.copy(place.path / "tokenizer" / "tokenizer.json", directory)
    config_here = config_of(place, teacher_dir=directory, top_k=5).distill
    teacher = Teacher(config_here, tokenizer, World())
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, size, (2, 20), generator=draw)
    documents = torch.tensor([[0] * 7 + [1] * 13, [0] * 20])
    labels = ids.clone()
    labels[:, :3] = IGNORED
    found, log_probs = teacher.targets(Batch(ids, labels, documents))
    with torch.no_grad():
        parts = [ids[:1, :7], ids[:1, 7:], ids[1:]]
        logits = [theirs(input_ids=part).logits[0] for part in parts]
    whole = torch.cat([logits[0][3:], logits[1], logits[2][3:]])[:, :size].log_softmax(-1)
    torch.testing.assert_close(log_probs[:, :-1], whole.topk(5).values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_probs[:, :-1], whole.gather(1, found), rtol=1e-4, atol=1e-4)


# Runs.


@pytest.mark.parametrize(
    "loss",
    ["reverse_kl", *(pytest.param(n, marks=pytest.mark.full) for n in ("forward_kl", "jsd"))],
)
def test_a_student_comes_closer_to_its_teacher(place: Workspace, loss: Any) -> None:
    stage = stage_of(place, loss=loss, max_steps=60, eval_steps=60, learning_rate=1e-2)
    assert train(stage, World()) == 0
    steps = [line for line in lines_of(place, "out") if "loss" in line]
    assert steps[-1]["loss"] < 0.6 * steps[0]["loss"]
    assert all(0 < step["tail"] < 1 for step in steps)
    assert not any("skipped" in step for step in steps)


def test_a_student_learns_from_what_its_teacher_says_of_its_own_answers(place: Workspace) -> None:
    settings: dict[str, Any] = {"max_steps": 20, "eval_steps": 20, "learning_rate": 1e-2}
    stage = stage_of(place, on_policy=True, loss="reverse_kl", max_new_tokens=12, **settings)
    assert train(stage, World()) == 0
    lines = lines_of(place, "out")
    measured = [line for line in lines if "validation_divergence" in line]
    assert [line["step"] for line in measured] == [0, 20]
    assert measured[1]["validation_divergence"] < 0.8 * measured[0]["validation_divergence"]
    steps = [line for line in lines if "loss" in line]
    assert steps[0]["loss"] == pytest.approx(measured[0]["validation_divergence"], rel=0.3)
    assert all(0 < step["answer_length"] <= 13 and 0 < step["tail"] < 1 for step in steps)


@pytest.mark.full
def test_a_share_of_cross_entropy_learns_the_data(place: Workspace) -> None:
    bits = {}
    for alpha in (0.0, 1.0):
        output = f"alpha{alpha:g}"
        stage = stage_of(place, output, alpha=alpha, max_steps=40, learning_rate=1e-2)
        assert train(stage, World()) == 0
        measured = [line for line in lines_of(place, output) if "bits_per_byte" in line]
        bits[alpha] = measured[-1]["bits_per_byte"]
    assert bits[1.0] < bits[0.0]  # the teacher knows nothing of the data


def test_new_students_learn_from_texts_and_continue_where_they_were(place: Workspace) -> None:
    assert train(stage_of(place, "whole", data="texts"), World()) == 0
    resumed = place.path / "resumed"
    shutil.copytree(place.path / "whole" / "checkpoints", resumed / "checkpoints")
    shutil.rmtree(resumed / "checkpoints" / "step-00000012")
    for name in ("loss_log.jsonl", "metrics.jsonl"):
        shutil.copy(place.path / "whole" / name, resumed)
    shutil.rmtree(place.path / "cache")
    assert train(stage_of(place, "resumed", data="texts"), World()) == 0
    for name in ("loss_log.jsonl", "model.safetensors"):
        assert (resumed / name).read_bytes() == (place.path / "whole" / name).read_bytes()
    model, _ = load_pretrained(resumed)
    assert model.config.hidden_size == 32


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("kind", ["cached", pytest.param("on_policy", marks=pytest.mark.full)])
def test_a_run_killed_at_any_moment_repeats_itself_to_the_bit(place: Workspace, kind: str) -> None:
    flags = ["--top_k=8", "--max_steps=16", "--save_steps=3", "--learning_rate=1e-3"]
    if kind == "on_policy":
        flags += ["--on_policy", "--max_new_tokens=12", "--prompts_per_rollout=8"]
        flags += ["--num_iterations=2"]
    code, output = run_warm(place.command("distill", *flags, output="undisturbed"), place.path)
    assert code == 0, output
    expected = Outcome.of(place.path / "undisturbed")
    shutil.rmtree(place.path / "cache", ignore_errors=True)
    draw, kills = random.Random(1), 0
    directory = place.path / "killed"
    while True:
        started = start_warm(place.command("distill", *flags, output="killed"), place.path)
        log = directory / "metrics.jsonl"
        wanted = (log.read_bytes().count(b"\n") if log.exists() else 0) + draw.randint(3, 9)
        while started.running() and not (log.exists() and log.read_bytes().count(b"\n") >= wanted):
            time.sleep(0.001)
        started.send(signal.SIGKILL)
        if (code := started.wait()) == 0:
            break
        assert code == -signal.SIGKILL, started.output
        kills += 1
    assert kills
    assert Outcome.of(directory) == expected
    assert leftovers(directory) == []


@pytest.mark.skipif(sys.platform == "win32", reason="forks processes")
@pytest.mark.parametrize("kind", ["cached", pytest.param("on_policy", marks=pytest.mark.full)])
def test_two_processes_have_the_losses_of_one(place: Workspace, kind: str) -> None:
    flags = ["--max_steps=8", "--eval_steps=4", "--top_k=8"]
    if kind == "on_policy":
        flags += ["--on_policy", "--max_new_tokens=12"]
    for size in (1, 2):
        ranks.train_to_end(place, size, "distill", f"by{size}", *flags)
        shutil.rmtree(place.path / "cache", ignore_errors=True)
    one, two = lines_of(place, "by1"), lines_of(place, "by2")
    assert len(one) == len(two)
    assert sum("loss" in line for line in one) == 8
    for a, b in zip(one, two, strict=True):
        for name in a.keys() - {"samples"}:
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-5), name


def test_an_adapter_learns_from_a_teacher(place: Workspace) -> None:
    code, output = run_warm(place.command("distill", "--lora_rank=4", "--top_k=8"), place.path)
    assert code == 0, output
    assert (place.path / "distill" / "adapter_model.safetensors").is_file()
    assert "weights are trained" in output


# Mistakes.


def test_a_teacher_that_cannot_teach_is_refused(
    place: Workspace, tokenizer: EtudeTokenizer
) -> None:
    other = EtudeTokenizer(train_bpe(["another text of other words, " * 9] * 3, vocab_size=300))
    add_teacher(place.path, other, "stranger")
    with pytest.raises(UserError, match=r"not the student's .*tool/answer_file\.py"):
        stage_of(place, teacher_dir=place.path / "stranger")
    add_teacher(place.path, tokenizer, "broken")
    (place.path / "broken" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        stage_of(place, teacher_dir=place.path / "broken")
    with pytest.raises(UserError, match="nowhere: there is no model here"):
        stage_of(place, teacher_dir=place.path / "nowhere")
    with pytest.raises(UserError, match="--top_k 401 is more than the 400 tokens"):
        stage_of(place, top_k=401)
    teacher, _ = load_pretrained(place.path / "teacher")
    short = Etude(dataclasses.replace(teacher.config, max_position_embeddings=32))
    save_pretrained(place.path / "short", short, tokenizer, {}, is_chat=True)
    with pytest.raises(UserError, match="--max_length 64 is more than the context of the teacher"):
        stage_of(place, teacher_dir=place.path / "short")
    assert not (place.path / "out").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--teacher_dir=nowhere"], "--teacher_dir nowhere: there is no model here"),
        (["--teacher_dir=tokenizer"], "--teacher_dir tokenizer: there is no model here"),
        (["--top_k=401"], "--top_k 401 is more than the 400 tokens"),
        (["--top_k=0"], "top_k is 0"),
        (["--temperature=0"], "temperature is 0"),
        (["--alpha=2"], "alpha is 2"),
        (["--loss=jsd", "--beta=1"], "beta is 1"),
        (["--max_length=256"], "more than the model's context"),
        (["--on_policy", "--alpha=0.5"], "the tokens are the student's own"),
        (
            ["--on_policy", "--max_new_tokens=8", "--rl_files=none.jsonl"],
            "none.jsonl: there is no such file",
        ),
        (["--sft_files=texts.jsonl"], "texts.jsonl:1"),
        (["--init_from=nowhere"], "nowhere: there is no model"),
        (["--distilled_model_dir=start"], "name another model directory"),
        (["--data=texts", *SHAPE, "--preset=auto"], "take another preset"),
    ],
)
def test_a_mistake_gets_one_sentence(place: Workspace, more: list[str], words: str) -> None:
    code, output = run_warm(place.command("distill", *more), place.path)
    assert code == 2, output
    assert words in output
    assert "Traceback" not in output


def test_another_teacher_is_another_run(place: Workspace, tokenizer: EtudeTokenizer) -> None:
    assert train(stage_of(place), World()) == 0
    model, _ = load_pretrained(place.path / "teacher")
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    save_pretrained(place.path / "teacher", model, tokenizer, {}, is_chat=True)
    with pytest.raises(UserError, match="the teacher is another"):
        train(stage_of(place), World())
