"""An adapter is merged with a proof, or not at all; and what converts a model takes an adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from config import ROOT, UserError
from model.adapters import merge_adapter
from model.directory.pretrained import is_chat_model, load_adapted, load_pretrained
from model.directory.storage import verify
from model.transformer import Etude
from tests.inference.engine.test_adapters import save_adapters
from tool.conversion import adapter_merge
from tool.conversion.adapter_merge import merge
from tool.conversion.hf import convert
from tool.conversion.hf_proof import ProofFailed
from tool.settings import ConvertConfig, MergeConfig


def test_the_script_merges_and_prints_its_proof(model_dir: Path) -> None:
    directory = save_adapters(model_dir)[1]
    result = subprocess.run(
        [sys.executable, ROOT / "tool" / "merge_adapter.py", "--adapter_dir", directory.name],
        cwd=directory.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "proof, by transformers" in result.stdout
    merged_dir = directory.with_name("two_merged")
    verify(merged_dir)
    ids = torch.tensor([[5, 6, 7, 8]])
    apart, merged = load_adapted(model_dir, directory)[0], load_pretrained(merged_dir)[0]
    torch.testing.assert_close(merged(ids), apart(ids), atol=1e-4, rtol=0)
    assert not merged.config.tie_word_embeddings
    assert torch.equal(merged.model.embed_tokens.weight, apart.model.embed_tokens.weight)
    assert is_chat_model(merged_dir)
    report = json.loads((merged_dir / "conversion.json").read_text(encoding="utf-8"))
    assert report["merged_from"] == ["etude_sft_model", "two"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_wrong_merge_is_not_written(
    model_dir: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = save_adapters(model_dir)[number]

    def wrong(model: Etude) -> None:
        merge_adapter(model)
        with torch.no_grad():
            model.model.layers[0].self_attn.q_proj.weight.mul_(1.01)  # type: ignore[union-attr,operator]

    monkeypatch.setattr(adapter_merge, "merge_adapter", wrong)
    with pytest.raises(ProofFailed, match="the logits differ"):
        merge(MergeConfig(directory))
    assert not directory.with_name(f"{directory.name}_merged").exists()


def test_other_directories_are_not_replaced(model_dir: Path) -> None:
    directory = save_adapters(model_dir)[0]
    before = load_pretrained(model_dir)[0].state_dict()
    with pytest.raises(UserError, match="is not an earlier conversion"):
        merge(MergeConfig(directory, output_dir=model_dir))
    with pytest.raises(UserError, match="is the model itself"):
        merge(MergeConfig(directory, output_dir=directory))
    for base in (model_dir, None):
        with pytest.raises(UserError, match="there is no adapter here"):
            merge(MergeConfig(model_dir, base))
    after = load_pretrained(model_dir)[0].state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_an_adapter_is_converted_merged(model_dir: Path) -> None:
    directory = save_adapters(model_dir)[0]
    output, proof = convert(ConvertConfig(directory))
    assert proof.largest_logit_difference < 1e-4
    ids = torch.tensor([[5, 6, 7, 8]])
    apart = load_adapted(model_dir, directory)[0]
    torch.testing.assert_close(load_pretrained(output)[0](ids), apart(ids), atol=1e-4, rtol=0)
