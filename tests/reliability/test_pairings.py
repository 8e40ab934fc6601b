"""R6: a run continues only what is its own; what does not fit is named, and nothing is written."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.directory.storage import seal, sha256_of
from model.tokenizer import EtudeTokenizer, tokenizer_json
from tests.reliability.launcher import run_warm, start_warm
from tests.reliability.runs import LENGTH, Finished, Outcome
from tests.reliability.trials import Trials
from tests.train.conftest import Workspace
from train.checkpoint import list_checkpoints
from train.tokenizer.bpe import train_bpe

pytestmark = [pytest.mark.full, pytest.mark.promise("R6")]


@dataclass(frozen=True)
class Pairing:
    """Something that does not belong to a finished run."""

    name: str
    sentence: str
    """What the refusal must say."""
    flags: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = lambda path: None
    stage: str = "pretrain"
    output: str | None = None


def another_tokenizer(path: Path) -> None:
    """Of the same size, with other merges."""
    texts = ["zebra zigzag zero", "quick quiet quiz", "斑马 之字 零"] * 40
    text = tokenizer_json(EtudeTokenizer(train_bpe(texts, vocab_size=300)))
    (path / "tokenizer" / "tokenizer.json").write_text(text, encoding="utf-8")


def more_texts(path: Path) -> None:
    with (path / "texts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "one more"}\n')


def one_letter(path: Path) -> None:
    text = (path / "texts.jsonl").read_text(encoding="utf-8")
    (path / "texts.jsonl").write_text(text.replace("fox", "box", 1), encoding="utf-8")


def more_chats(path: Path) -> None:
    lines = (path / "chats.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "chats.jsonl").write_text("".join(lines + lines[:1]), encoding="utf-8")


def newer_format(path: Path) -> None:
    """As a later Etude would write an unfinished run: whole, and with other fields."""
    (path / "pretrain" / "training_summary.json").unlink()
    for checkpoint in list_checkpoints(path / "pretrain" / "checkpoints"):
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        reseal(checkpoint, "state.json", {**state, "format": 99})


def other_shape(path: Path) -> None:
    """A model directory whose configuration is that of another model."""
    config = json.loads((path / "pretrain" / "config.json").read_text(encoding="utf-8"))
    directory = path / "pretrain"
    shutil.rmtree(directory / "checkpoints")
    reseal(directory, "config.json", {**config, "hidden_size": 64})


def other_tokenizer_inside(path: Path) -> None:
    directory = path / "pretrain"
    texts = ["zebra zigzag zero"] * 40
    text = tokenizer_json(EtudeTokenizer(train_bpe(texts, vocab_size=290)))
    shutil.rmtree(directory / "checkpoints")
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    (directory / "MANIFEST.json").unlink()
    seal(directory)


def no_checkpoints(path: Path) -> None:
    shutil.rmtree(path / "pretrain" / "checkpoints")


def no_summary(path: Path) -> None:
    """A model that came from elsewhere."""
    shutil.rmtree(path / "pretrain" / "checkpoints")
    (path / "pretrain" / "training_summary.json").unlink()


def reseal(directory: Path, name: str, content: object) -> None:
    (directory / name).write_text(json.dumps(content), encoding="utf-8")
    (directory / "MANIFEST.json").unlink()
    seal(directory)


PAIRINGS = (
    Pairing("tokenizer", "the tokenizer is another", prepare=another_tokenizer),
    Pairing("a record more", "the data is another", prepare=more_texts),
    Pairing("one letter of a record", "the data is another", prepare=one_letter),
    Pairing("another file", "the data is another", ("--pretrain_files=other.jsonl",)),
    Pairing("rows", "max_length was 64 and is 32", ("--max_length=32",)),
    Pairing("batch", "batch_size was 4 and is 8", ("--batch_size=8",)),
    Pairing("width", "hidden_size was 32 and is 64", ("--hidden_size=64",)),
    Pairing("depth", "num_hidden_layers was 2 and is 3", ("--num_hidden_layers=3",)),
    Pairing("heads", "num_key_value_heads was 1 and is 2", ("--num_key_value_heads=2",)),
    Pairing("rotation", "rope_theta was 10000.0 and is 500000.0", ("--rope_theta=500000",)),
    Pairing("optimizer", "optimizer was muon and is adamw", ("--optimizer=adamw",)),
    Pairing("rate", "learning_rate was 0.004 and is 0.01", ("--learning_rate=0.01",)),
    Pairing("seed", "seed was 1 and is 7", ("--seed=7",)),
    Pairing("length", "max_steps was 40 and is 50", ("--max_steps=50",)),
    Pairing("schedule", "lr_scheduler_type was", ("--lr_scheduler_type=linear",)),
    Pairing("number format", "dtype was float32 and is bfloat16", ("--dtype=bfloat16",)),
    Pairing("split", "validation_every was 10 and is 12", ("--validation_every=12",)),
    Pairing("borders", "cross_document_attention was", ("--no_cross_document_attention",)),
    Pairing("newer checkpoints", "written in format 99", prepare=newer_format),
    Pairing(
        "a stage's directory",
        "stage was pretrain and is sft",
        ("--init_from=sft",),
        stage="sft",
        output="pretrain",
    ),
    Pairing("its own base", "the directory to write", stage="sft", output="pretrain"),
    Pairing("chats", "the data is another", prepare=more_chats, stage="sft"),
    Pairing("base model", "the pretrained model is another", stage="sft", output="sft"),
    Pairing("base of another shape", "config.json", prepare=other_shape, stage="sft"),
    Pairing("base of another tokenizer", "tokenizer", prepare=other_tokenizer_inside, stage="sft"),
    Pairing("a finished model", "seed was 1 and is 7", ("--seed=7",), prepare=no_checkpoints),
    Pairing("a model from elsewhere", "was not made by this run", prepare=no_summary),
)


def contents(directory: Path) -> dict[str, str]:
    """Every file of a directory, with its checksum."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {path.relative_to(directory).as_posix(): sha256_of(path) for path in files}


def command_of(workspace: Workspace, pairing: Pairing) -> list[str]:
    """The command that brings together what does not belong together."""
    flags = [*LENGTH, *pairing.flags]
    if pairing.name == "base model":
        flags.append("--pretrained_model_dir=accumulated")
    return workspace.command(pairing.stage, *flags, output=pairing.output)


@pytest.mark.parametrize("pairing", PAIRINGS, ids=lambda pairing: pairing.name)
def test_what_does_not_belong_together_is_refused_by_name(
    trials: Trials, finished: Finished, memory_path: Path, pairing: Pairing
) -> None:
    workspace = finished.copy(memory_path, "pretrain", "sft", "accumulated")
    shutil.copy(memory_path / "chats.jsonl", memory_path / "other.jsonl")
    text = (memory_path / "texts.jsonl").read_text(encoding="utf-8")
    (memory_path / "other.jsonl").write_text(text * 2, encoding="utf-8")
    pairing.prepare(memory_path)
    directories = ("pretrain", "sft", "tokenizer")
    before = {name: contents(memory_path / name) for name in directories}
    code, output = run_warm(command_of(workspace, pairing), memory_path)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    unchanged = {name: contents(memory_path / name) for name in directories} == before
    named = len(errors) == 1 and pairing.sentence in errors[0] and "Traceback" not in output
    said = errors[0][:200] if errors else output[-200:]
    trials.record("-", code == 2 and named and unchanged, pairing=pairing.name, said=said)
    trials.verdict()


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_second_run_in_the_same_directory_is_refused_while_the_first_goes_on(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    finished.copy(tmp_path)
    directory = tmp_path / "pretrain"
    first = start_warm(command, tmp_path)
    while first.running() and not list_checkpoints(directory / "checkpoints"):
        time.sleep(0.001)
    first.send(signal.SIGSTOP)
    code, output = run_warm(command, tmp_path)
    first.send(signal.SIGCONT)
    told = code == 2 and "another run is writing there now" in output and "Traceback" not in output
    same = first.wait() == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
    trials.record("-", told and same, pairing="two runs at once", said=output[-200:])
    trials.verdict()


def test_what_decides_only_speed_or_safety_may_change(
    trials: Trials, finished: Finished, memory_path: Path
) -> None:
    workspace = finished.copy(memory_path, "pretrain")
    directory = memory_path / "pretrain"
    shutil.rmtree(list_checkpoints(directory / "checkpoints")[0])
    (directory / "training_summary.json").unlink()
    flags = ("--save_steps=3", "--save_total_limit=1", "--gradient_accumulation_steps=2")
    code, output = run_warm(workspace.command("pretrain", *LENGTH, *flags), memory_path)
    passed = code == 0 and "continuing at step 36" in output
    trials.record("-", passed, pairing="free settings", said=output[-200:])
    trials.verdict()
