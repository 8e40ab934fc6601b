"""Every family goes out to transformers and comes in again, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from config import ModelConfig
from model.directory.pretrained import load_pretrained, save_pretrained, weights_of
from model.families import family_of
from model.tokenizer import EtudeTokenizer
from tests.model.families import SHAPES, make
from tool.conversion.hf import convert, import_hf
from tool.settings import ConvertConfig

CHOSEN = [
    pytest.param(shape, marks=[] if name in ("qwen3_moe", "qwen2") else [pytest.mark.full], id=name)
    for name, shapes in SHAPES.items()
    for shape in shapes[1:2]
]


@pytest.mark.parametrize("config", CHOSEN)
def test_out_and_in_again_is_the_same_to_the_bit(
    tmp_path: Path, config: ModelConfig, tokenizer: EtudeTokenizer
) -> None:
    directory = tmp_path / "etude"
    directory.mkdir()
    save_pretrained(directory, make(config), tokenizer, {}, is_chat=True)
    output, proof = convert(ConvertConfig(directory, max_shard_mb=1))
    assert proof.largest_logit_difference < 1e-4
    assert proof.greedy_tokens_equal == proof.greedy_tokens
    back = import_hf(output, ConvertConfig(tmp_path / "back"))
    (one, _), (other, _) = map(load_pretrained, (directory, back.output_dir))
    assert other.config == one.config == config
    assert family_of(other.config) == family_of(config)
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name])
