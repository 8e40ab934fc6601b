"""Frozen weights are never all in memory in float32, also not while they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from config import WeightsName
from model.directory.pretrained import base_sha256, load_pretrained
from model.frozen import freeze_weight, saved_bytes
from model.tokenizer import EtudeTokenizer
from tests.memory import peak_bytes, save_large_and_small

pytestmark = pytest.mark.full


def freeze(folder: Path, kind: WeightsName) -> None:
    """Reads a model as training under an adapter does."""
    model, _ = load_pretrained(folder, stored=True)
    digest = base_sha256(model, lambda name: freeze_weight(model, name, kind))
    assert saved_bytes(model) > 0
    if folder.name == "small":
        assert digest == base_sha256(load_pretrained(folder)[0])


@pytest.mark.parametrize(("kind", "most"), [("bfloat16", 0.8), ("int8", 0.8)])
def test_a_frozen_model_is_never_whole_in_float32(
    tmp_path: Path, tokenizer: EtudeTokenizer, kind: WeightsName, most: float
) -> None:
    whole = save_large_and_small(tmp_path / "large", tokenizer, torch.bfloat16)
    found = peak_bytes(freeze, tmp_path / "large", kind) / whole
    assert found <= most
