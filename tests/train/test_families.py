"""Every stage trains a network of every family, whole and by an adapter, and continues to the
bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model.directory.adapter_files import ADAPTER_WEIGHTS
from model.directory.config_json import load_model_config
from model.directory.pretrained import WEIGHTS
from model.families import model_type_of
from model.tokenizer import EtudeTokenizer
from tests.model.families import SHAPES
from tests.reliability.launcher import run_warm
from tests.train.conftest import Workspace

SWITCHES = {
    "llama": ("--no_use_qk_norm",),
    "mistral": ("--no_use_qk_norm", "--sliding_window=8"),
    "qwen2": ("--no_use_qk_norm", "--attention_bias"),
    "qwen3": ("--use_qk_norm",),
    "qwen3_moe": ("--use_qk_norm", "--num_experts=4"),
    "smollm3": ("--no_use_qk_norm", "--no_rope_layer_interval=2"),
}
STAGES = {
    "pretrain": (),
    "sft": ("--init_from=start",),
    "dpo": ("--max_length=128",),
    "grpo": ("--max_length=96", "--group_size=4", "--max_new_tokens=8"),
    "distill": ("--top_k=8",),
}
CASES = [
    *((stage, 0) for stage in STAGES),
    *((stage, 4) for stage in STAGES if stage != "pretrain"),
]
LENGTH = ("--max_steps=4", "--save_steps=2", "--eval_steps=4", "--save_total_limit=9")


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    """The workspace with prompts and pairs."""
    prompts = [[{"role": "user", "content": f"Who is {n}?"}] for n in range(60)]
    records = [{"conversations": prompt, "answers": ["e"]} for prompt in prompts]
    workspace.write("prompts.jsonl", records)
    answers = {"chosen": "A fox.", "rejected": "The moon is small."}
    workspace.write("pairs.jsonl", [{"conversations": prompt, **answers} for prompt in prompts])
    return workspace


def back_to_the_middle(directory: Path) -> tuple[bytes, bytes]:
    """Takes a finished run back to its first checkpoint, as a kill after it leaves it; its log and
    its weights."""
    weights = next(directory / n for n in (WEIGHTS, ADAPTER_WEIGHTS) if (directory / n).exists())
    outcome = (directory / "loss_log.jsonl").read_bytes(), weights.read_bytes()
    shutil.rmtree(directory / "checkpoints" / "step-00000004")
    weights.unlink()
    (directory / "training_summary.json").unlink()
    return outcome


@pytest.mark.full
@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize(("stage", "rank"), CASES)
def test_a_run_continues_to_the_bit(
    place: Workspace, tokenizer: EtudeTokenizer, family: str, stage: str, rank: int
) -> None:
    shape = replace(SHAPES[family][0], vocab_size=len(tokenizer))
    place.add_start(tokenizer, shape)
    place.add_start(tokenizer, shape, name="teacher", seed=2)
    adapter = (f"--lora_rank={rank}", "--learning_rate=0.01") if rank else ()
    switches = SWITCHES[family] if stage == "pretrain" else ()
    command = place.command(stage, *STAGES[stage], *switches, *adapter, *LENGTH, output="run")
    code, output = run_warm(command, place.path)
    assert code == 0, output
    directory = place.path / "run"
    if not rank:
        assert model_type_of(load_model_config(directory)) == family
        start = place.path / "start" / WEIGHTS
        same = load_file(start) if stage != "pretrain" else {}
        trained = load_file(directory / WEIGHTS)
        assert all((trained[name] != weight).any() for name, weight in same.items())
    expected = back_to_the_middle(directory)
    code, output = run_warm(command, place.path)
    assert "continuing at step 2 of 4" in output
    assert code == 0, output
    assert back_to_the_middle(directory) == expected
