"""The page on calling Etude from Python, run as it stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from config import ROOT, ModelConfig
from model.adapters import adapter_weights
from model.directory.pretrained import load_adapted, load_pretrained, model_files, weights_of
from model.directory.storage import write_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.launcher import run_warm
from tests.train.conftest import Workspace

PAGE = ROOT / "docs" / "python_api.md"


def program() -> str:
    """The indented lines of the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    ") or not line) + "\n"


def prepare(workspace: Workspace, tokenizer: EtudeTokenizer) -> Path:
    """A folder with what the page's file needs where it looks for it."""
    folder = workspace.path / "repository"
    (folder / "training_data" / "sft").mkdir(parents=True)
    chats = workspace.path / "chats.jsonl"
    chats.rename(folder / "training_data" / "sft" / "sft_sample.jsonl")
    shape = ModelConfig(len(tokenizer), 32, 64, 2, 2, 1, 256)
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(1))
    files = model_files(shape, weights_of(model), tokenizer, {}, is_chat=True)
    write_directory(folder / "weight" / "demo" / "etude_sft_model", files)
    (folder / "page.py").write_text(program(), encoding="utf-8")
    return folder


def compile_nothing() -> None:
    """Compiling takes longer than such a small run."""
    torch._dynamo.config.disable = True


def test_the_page_runs_as_it_stands_and_its_own_objective_is_trained(
    workspace: Workspace, tokenizer: EtudeTokenizer
) -> None:
    folder = prepare(workspace, tokenizer)
    code, output = run_warm([sys.executable, "page.py"], folder, compile_nothing)
    assert code == 0, output
    assert "focal done: 8 steps" in output
    log = (folder / "weight" / "focal" / "loss_log.jsonl").read_text(encoding="utf-8")
    steps = [line for line in map(json.loads, log.splitlines()) if "loss" in line]
    assert len(steps) == 8
    assert steps[7]["probability"] > steps[0]["probability"] > 0
    base = folder / "weight" / "demo" / "etude_sft_model"
    adapted, _ = load_adapted(base, folder / "weight" / "focal")
    assert adapter_weights(adapted)
    merged, _ = load_pretrained(folder / "weight" / "merged")
    assert not adapter_weights(merged)
