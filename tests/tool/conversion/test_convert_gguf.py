"""A GGUF file is the model: llama.cpp reads the same ids and answers the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import pytest
import torch

from config import ROOT, ModelConfig, RopeScaling, UserError
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion.gguf_export import convert_gguf, gguf_path
from tool.conversion.hf_proof import ProofFailed
from tool.conversion.llama_cpp import is_installed, prove_gguf
from tool.settings import ConvertGgufConfig

needs_llama_cpp = pytest.mark.skipif(not is_installed(), reason="xllamacpp is not installed")


def save(folder: Path, tokenizer: EtudeTokenizer, **shape: object) -> Path:
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        **shape,
    }
    model = Etude(ModelConfig(vocab_size=len(tokenizer), **sizes))  # type: ignore[arg-type]
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    folder.mkdir()
    save_pretrained(folder, model, tokenizer, {}, is_chat=True)
    return folder


@needs_llama_cpp
@pytest.mark.promise("R15")
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"num_key_value_heads": 2, "tie_word_embeddings": False, "rope_theta": 5e5},
        {"rope_scaling": RopeScaling("linear", 2.0)},
        {"rope_scaling": RopeScaling("llama3", 4.0, 64)},
        {"rope_scaling": RopeScaling("yarn", 4.0, 64)},
    ],
    ids=["grouped", "untied", "linear", "llama3", "yarn"],
)
def test_llama_cpp_reads_the_same_ids_and_answers_the_same(
    tmp_path: Path, tokenizer: EtudeTokenizer, shape: dict[str, object]
) -> None:
    directory = save(tmp_path / "m", tokenizer, **shape)
    path, _ = convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
    assert path == tmp_path / "m.gguf" == gguf_path(directory, "f32")
    proof = prove_gguf(path, directory, exact=True)
    assert proof.tokens_equal == proof.tokens > 200
    assert proof.texts == 12


@pytest.mark.full
@needs_llama_cpp
def test_a_file_of_another_model_fails_the_proof(tmp_path: Path, tokenizer: EtudeTokenizer) -> None:
    directory = save(tmp_path / "m", tokenizer)
    other = save(tmp_path / "o", tokenizer, num_hidden_layers=1)
    path, _ = convert_gguf(ConvertGgufConfig(other, dtype="f32"))
    with pytest.raises(ProofFailed, match=r"only \d+ of \d+ greedy tokens"):
        prove_gguf(path, directory, exact=True)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "q8_0", "q4_0"])
def test_every_number_format_keeps_the_values_about(
    tmp_path: Path, tokenizer: EtudeTokenizer, dtype: str
) -> None:
    directory = save(tmp_path / "m", tokenizer, intermediate_size=72)
    path, kept = convert_gguf(ConvertGgufConfig(directory, dtype=dtype))  # type: ignore[arg-type]
    exact, _ = convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
    assert path.stat().st_size < 0.62 * exact.stat().st_size
    files = [gguf.GGUFReader(path) for path in (path, exact)]
    tolerance = {"f16": 1e-3, "bf16": 1e-2, "q8_0": 1e-2, "q4_0": 0.15}[dtype]
    for short, full in zip(*(file.tensors for file in files), strict=True):
        assert short.name == full.name
        values = gguf.quants.dequantize(short.data, short.tensor_type)
        error = abs(values - full.data.reshape(values.shape)).max()
        assert error <= tolerance * abs(full.data).max()
    # Rows of 72 do not divide into blocks of 32.
    assert len(kept) == (2 if dtype.startswith("q") else 0)


@pytest.mark.full
def test_the_script_says_what_it_wrote_and_how_it_was_proved(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    directory = save(tmp_path / "m", tokenizer)
    script = str(ROOT / "tool" / "convert_gguf.py")
    done = subprocess.run(
        [sys.executable, script, "--model_dir", str(directory), "--dtype", "f32"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "m.Modelfile" in done.stdout
    modelfile = (tmp_path / "m.Modelfile").read_text(encoding="utf-8")
    assert modelfile.startswith("FROM ./m.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    if is_installed():
        assert "12 hard texts, all equal" in done.stdout
    with pytest.raises(UserError, match=r"m\.gguf exists; name another file, or use --overwrite"):
        convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
    with pytest.raises(UserError, match="is a directory"):
        convert_gguf(ConvertGgufConfig(directory, output=tmp_path))
