"""A model that answers is in memory once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from config import QuantizeName, SamplingConfig
from inference.engine.answers import GenerationRequest
from inference.engine.loading import load_model
from model.tokenizer import EtudeTokenizer
from tests.memory import peak_bytes, save_large_and_small

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("compiled")]


def answer(folder: Path, quantize: QuantizeName) -> None:
    """Loads a model, answers, and computes an embedding."""
    engine = load_model(folder, "cpu", quantize=quantize).engine
    output = engine.submit(GenerationRequest([1, 2, 3], SamplingConfig(max_tokens=4), ()))
    while engine.busy:
        engine.step()
    assert len(output.tokens) == 4
    assert torch.isfinite(engine.embed([1, 2, 3])).all()


@pytest.mark.parametrize(
    ("dtype", "quantize", "most"),
    [("float32", "none", 1.2), ("bfloat16", "none", 0.7), ("float32", "int8", 0.6)],
)
def test_a_model_that_answers_takes_the_memory_of_its_weights(
    tmp_path: Path, tokenizer: EtudeTokenizer, dtype: str, quantize: QuantizeName, most: float
) -> None:
    whole = save_large_and_small(tmp_path / "large", tokenizer, getattr(torch, dtype))
    assert peak_bytes(answer, tmp_path / "large", quantize) <= most * whole
