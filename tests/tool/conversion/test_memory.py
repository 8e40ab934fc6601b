"""A model that comes in is in memory once; the programs that prove it have processes of their
own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.tokenizer import EtudeTokenizer
from tests.memory import peak_bytes, save_large_and_small
from tool.conversion.gguf_export import convert_gguf
from tool.conversion.gguf_import import import_gguf
from tool.conversion.hf import convert, import_hf
from tool.settings import ConvertConfig, ConvertGgufConfig

pytestmark = pytest.mark.full
MOST = 1.2
"""Times the weights in float32."""


def bring_in_shards(folder: Path) -> None:
    """Of a model in transformers' format."""
    import_hf(folder / "hf", ConvertConfig(folder / "etude", overwrite=True))


def bring_in_gguf(folder: Path) -> None:
    """Of a GGUF file."""
    output = ConvertGgufConfig(output=folder / "etude", overwrite=True)
    import_gguf(folder / "model.gguf", output)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shards_come_in_by_the_memory_of_their_weights(
    tmp_path: Path, tokenizer: EtudeTokenizer, dtype: str
) -> None:
    whole = save_large_and_small(tmp_path / "large", tokenizer, torch.float32)
    for folder in (tmp_path / "large", tmp_path / "small"):
        convert(ConvertConfig(folder, folder / "hf", dtype, max_shard_mb=100))  # type: ignore[arg-type]
    assert len(list((tmp_path / "large" / "hf").glob("*.safetensors"))) > 2
    assert peak_bytes(bring_in_shards, tmp_path / "large") <= MOST * whole


def test_a_gguf_file_comes_in_by_the_memory_of_its_weights(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    whole = save_large_and_small(tmp_path / "large", tokenizer, torch.float32)
    for folder in (tmp_path / "large", tmp_path / "small"):
        convert_gguf(ConvertGgufConfig(folder, folder / "model.gguf", dtype="q8_0"))
    assert peak_bytes(bring_in_gguf, tmp_path / "large") <= MOST * whole
