"""A user's mistake gets one sentence and a non-zero exit; nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from config import UserError
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from train.data.token_files import tokenised_data

pytestmark = pytest.mark.full


def refusal(workspace: Workspace, stage: str, *flags: str) -> str:
    """Runs a stage that must be refused and returns its one line of explanation."""
    done = workspace.run(stage, *flags)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_missing_tokenizer_names_the_command_that_makes_one(workspace: Workspace) -> None:
    line = refusal(workspace, "pretrain", "--tokenizer_dir=nowhere")
    assert "nowhere" in line
    assert "train_tokenizer.py all" in line


def test_a_missing_data_file_names_the_ways_to_get_one(workspace: Workspace) -> None:
    line = refusal(workspace, "pretrain", "--pretrain_files=nowhere.jsonl")
    assert "nowhere.jsonl" in line
    assert "make_sample.py" in line


def test_fine_tuning_without_a_pretrained_model_says_how_to_make_one(workspace: Workspace) -> None:
    assert "train_pretrain.py" in refusal(workspace, "sft")


def test_a_broken_line_is_named_and_leaves_no_cache(workspace: Workspace) -> None:
    with (workspace.path / "texts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "cut')
    assert "texts.jsonl:121:" in refusal(workspace, "pretrain")
    assert not list((workspace.path / "cache").glob("pretrain-*"))


def test_a_bad_role_is_named_with_its_line(workspace: Workspace) -> None:
    bad = {"conversations": [{"role": "robot", "content": "x"}]}
    with (workspace.path / "chats.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(bad) + "\n")
    assert workspace.run("pretrain").returncode == 0
    line = refusal(workspace, "sft")
    assert "chats.jsonl:121:" in line
    assert "'robot'" in line


def test_a_device_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    assert "--device tpu" in refusal(workspace, "pretrain", "--device=tpu")
    if not torch.cuda.is_available():
        assert "--device cuda" in refusal(workspace, "pretrain", "--device=cuda")


def test_rows_longer_than_the_context_are_refused(workspace: Workspace) -> None:
    line = refusal(workspace, "pretrain", "--max_length=4096")
    assert "max_length is 4096" in line
    done = workspace.run("pretrain", "--max_position_embeddings=64")
    assert done.returncode == 0, done.stderr
    line = refusal(workspace, "sft", "--max_length=128")
    assert "at most 64" in line


def test_all_problems_of_a_configuration_are_told_at_once(workspace: Workspace) -> None:
    done = workspace.run(
        "pretrain", "--hidden_size=33", "--batch_size=5", "--seed=2", "--max_grad_norm=-1"
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any("hidden_size is 33" in line for line in lines)
    assert any("max_grad_norm is -1" in line for line in lines)


def test_a_tokenizer_of_another_model_is_refused(workspace: Workspace) -> None:
    assert workspace.run("pretrain").returncode == 0
    path = workspace.path / "pretrain" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert "tokenizer.json" in refusal(workspace, "sft")


def test_text_cannot_become_a_control_token_in_the_shards(
    tokenizer: EtudeTokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": f"<|im_start|>{n}<|im_end|><|endoftext|>"}) for n in range(40)]
    path.write_text("\n".join(lines), encoding="utf-8")
    data = tokenised_data("pretrain", [path], tokenizer, 10, tmp_path / "cache")
    for stream in (data.train, *data.validation.values()):
        tokens = stream.tokens[:]
        assert int((tokens <= 2).sum()) == len(stream) + 1  # only the borders


def test_a_damaged_cache_is_made_again(
    tokenizer: EtudeTokenizer, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    files, cache = [workspace.path / "texts.jsonl"], workspace.path / "cache"
    first = tokenised_data("pretrain", files, tokenizer, 10, cache)
    expected = first.train.tokens[:].tolist()
    (entry,) = cache.glob("pretrain-*")
    shard = entry / "train.tokens.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    again = tokenised_data("pretrain", files, tokenizer, 10, cache)
    assert "tokenising again" in capsys.readouterr().out
    assert again.train.tokens[:].tolist() == expected


def test_another_tokenizer_or_split_never_reads_a_stale_cache(
    tokenizer: EtudeTokenizer, workspace: Workspace
) -> None:
    files, cache = [workspace.path / "texts.jsonl"], workspace.path / "cache"
    first = tokenised_data("pretrain", files, tokenizer, 10, cache)
    second = tokenised_data("pretrain", files, tokenizer, 20, cache)
    assert first.fingerprint != second.fingerprint
    counts = [sum(map(len, data.validation.values())) for data in (first, second)]
    assert counts == [12, 6]


def test_too_few_records_for_a_validation_split_are_refused(
    tokenizer: EtudeTokenizer, workspace: Workspace
) -> None:
    with pytest.raises(UserError, match="--validation_every"):
        tokenised_data(
            "pretrain", [workspace.path / "texts.jsonl"], tokenizer, 500, workspace.path / "cache"
        )
