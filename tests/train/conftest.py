"""A small workspace in which the training scripts run as a user runs them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from config import ROOT, ModelConfig
from model.directory.pretrained import model_files, weights_of
from model.directory.storage import write_directory
from model.tokenizer import EtudeTokenizer, tokenizer_json
from model.transformer import Etude

SHAPE = (
    "--hidden_size=32",
    "--intermediate_size=64",
    "--num_hidden_layers=2",
    "--num_attention_heads=2",
    "--num_key_value_heads=1",
)
SCHEDULE = (
    "--max_length=64",
    "--batch_size=4",
    "--no_compile",
    "--max_steps=24",
    "--dtype=float32",
    "--no_picture",
)
INTERVALS = ("--save_steps=5", "--eval_steps=8", "--validation_every=10")


@dataclass(frozen=True)
class Workspace:
    """A folder with data and a tokenizer."""

    path: Path

    def write(self, name: str, records: Sequence[object]) -> None:
        """Writes a JSONL file."""
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (self.path / name).write_text(text, encoding="utf-8")

    def add_start(
        self,
        tokenizer: EtudeTokenizer,
        shape: ModelConfig | None = None,
        name: str = "start",
        seed: int = 1,
    ) -> None:
        """Writes a chat model with random weights."""
        shape = shape or ModelConfig(len(tokenizer), 32, 64, 2, 2, 1, 128)
        model = Etude(shape)
        model.initialize(torch.Generator().manual_seed(seed))
        files = model_files(shape, weights_of(model), tokenizer, {}, is_chat=True)
        write_directory(self.path / name, files)

    def command(self, stage: str, *flags: str, output: str | None = None) -> list[str]:
        """The command line of a stage (pretrain, sft, dpo, grpo or distill), writing to the model
        directory `output`."""
        directory = output or stage
        paths = [
            "--pretrain_files=texts.jsonl",
            "--sft_files=chats.jsonl",
            "--tokenizer_dir=tokenizer",
            "--cache_dir=cache",
            f"--{ {'pretrain': 'pretrained', 'distill': 'distilled'}.get(stage, stage) }_model_dir="
            f"{directory}",
        ]
        if stage == "sft":
            paths.append("--pretrained_model_dir=pretrain")
        if stage == "dpo":
            paths += ["--preference_files=pairs.jsonl", "--init_from=start"]
        if stage == "grpo":
            paths += ["--rl_files=prompts.jsonl", "--init_from=start"]
        if stage == "distill":
            paths += ["--teacher_dir=teacher", "--rl_files=prompts.jsonl"]
            paths += ["--pretrained_model_dir=start", "--sft_model_dir=start"]
        shape = SHAPE if stage == "pretrain" else ()
        script = str(ROOT / "train" / f"train_{stage}.py")
        chosen = ["--preset=nano", *shape, *SCHEDULE, *INTERVALS, *paths, *flags]
        return [sys.executable, script, *chosen]

    def run(
        self, stage: str, *flags: str, output: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a stage to its end."""
        return subprocess.run(
            self.command(stage, *flags, output=output),
            cwd=self.path,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture
def workspace(tmp_path: Path, tokenizer: EtudeTokenizer) -> Workspace:
    """A folder with 120 texts, 120 conversations and a tokenizer."""
    return make_workspace(tmp_path, tokenizer)


def make_workspace(path: Path, tokenizer: EtudeTokenizer) -> Workspace:
    """Fills a folder with 120 texts, 120 conversations and a tokenizer."""
    draw = random.Random(1)
    words = [
        "the",
        "fox",
        "river",
        "moon",
        "狐狸",
        "河",
        "月亮",
        "sees",
        "likes",
        "and",
        "喜欢",
        "a",
        "small",
        "小",
    ]
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 60))) for _ in range(120)]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    (path / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    chats = []
    for _ in range(120):
        name = draw.choice(words)
        turns = [("user", f"My name is {name}."), ("assistant", f"Hello, {name}!")]
        turns += [("user", "What is my name?"), ("assistant", f"Your name is {name}.")]
        messages = [{"role": role, "content": content} for role, content in turns]
        chats.append(json.dumps({"conversations": messages}, ensure_ascii=False))
    (path / "chats.jsonl").write_text("\n".join(chats) + "\n", encoding="utf-8")
    (path / "tokenizer").mkdir()
    tokenizer_path = path / "tokenizer" / "tokenizer.json"
    tokenizer_path.write_text(tokenizer_json(tokenizer), encoding="utf-8")
    return Workspace(path)
