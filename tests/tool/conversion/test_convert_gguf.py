"""A GGUF file is the model: llama.cpp reads the same ids and answers the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from config import ROOT, ModelConfig, RopeScaling, UserError
from model.chat_template import CHAT_TEMPLATE, END_OF_TEXT
from model.directory.pretrained import load_pretrained, save_pretrained, weights_of
from model.directory.storage import MANIFEST
from model.tokenizer import SPECIAL_TOKENS, EtudeTokenizer
from model.transformer import Etude
from tests.conftest import TEXTS
from tests.model.families import SHAPES, make
from tool.conversion.gguf_export import convert_gguf, gguf_path, write_modelfile
from tool.conversion.gguf_import import import_gguf
from tool.conversion.hf import convert, import_hf
from tool.conversion.hf_proof import ProofFailed
from tool.conversion.llama_cpp import HARD_TEXTS, is_installed, prove_gguf
from tool.settings import ConvertConfig, ConvertGgufConfig
from train.tokenizer.bpe import QWEN2_PATTERN

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


OF_FAMILIES = [(name, n) for name, shapes in SHAPES.items() for n in range(len(shapes))]
UNKNOWN = {
    ("llama", 3): "beta_fast is 32 and beta_slow 1",
    ("qwen3_moe", 1): "norm_topk_prob is true",
    ("qwen3_moe", 3): "every block has experts",
    ("qwen3_moe", 4): "every block has experts",
    ("smollm3", 1): "no_rope_layer_interval is 4",
    ("smollm3", 2): "no_rope_layer_interval is 4",
    ("smollm3", 3): "no_rope_layer_interval is 4",
}
"""Shapes in whose place llama.cpp would run others."""


@needs_llama_cpp
@pytest.mark.parametrize(
    "shape", [pytest.param(s, marks=[pytest.mark.full] * (s[1] > 0)) for s in OF_FAMILIES]
)
def test_llama_cpp_answers_the_same_for_every_family(
    tmp_path: Path, tokenizer: EtudeTokenizer, shape: tuple[str, int]
) -> None:
    family, number = shape
    directory = tmp_path / "m"
    directory.mkdir()
    config = replace(SHAPES[family][number], max_position_embeddings=256)
    save_pretrained(directory, make(config), tokenizer, {}, is_chat=True)
    if shape in UNKNOWN:
        with pytest.raises(UserError, match=UNKNOWN[shape]):
            convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
        assert not (tmp_path / "m.gguf").exists()
        return
    path, _ = convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
    proof = prove_gguf(path, directory, exact=True)
    assert proof.tokens_equal == proof.tokens > 0
    if not number:
        return
    if family != "mistral":  # whose window no GGUF file has
        back = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back")).output_dir
        (one, _), (other, _) = map(load_pretrained, (directory, back))
        assert other.config == one.config
        for name, weight in weights_of(one).items():
            assert torch.equal(weight, weights_of(other)[name])
    convert_gguf(ConvertGgufConfig(directory, dtype="q8_0", output=tmp_path / "q8.gguf"))
    prove_gguf(tmp_path / "q8.gguf", directory, exact=False)


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


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")


def split_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    """How the tokenizers of Qwen2 and Llama 3 split: by a pattern, then to bytes."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, PLAIN])


OWN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are of another house<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\r\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
KINDS = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "qwen2": split_by(QWEN2_PATTERN),
    "llama-bpe": split_by(LLAMA3_PATTERN),
}


def stranger(folder: Path, kind: str) -> Path:
    """A chat model with a tokenizer of another house, its template and its beginning."""
    backend = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    backend.pre_tokenizer = KINDS[kind]
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*SPECIAL_TOKENS, "<repo_name>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = [f"{n} + {n} = {2 * n}, 100 200 300 1234567890" for n in range(100, 200)]
    backend.train_from_iterator([*TEXTS * 3, *HARD_TEXTS * 2, *numbers], trainer)
    directory = save(folder, EtudeTokenizer(backend))
    (directory / MANIFEST).unlink()
    (directory / "chat_template.jinja").write_bytes(OWN_TEMPLATE.encode("utf-8"))
    stated = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    del stated["chat_template"]
    stated["bos_token"] = {"content": "<|im_start|>", "special": True, "__type": "AddedToken"}
    (directory / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_an_imported_model_goes_out_with_its_own_splits_and_template(
    tmp_path: Path, kind: str
) -> None:
    source = stranger(tmp_path / "source", kind)
    imported = import_hf(source, ConvertConfig(tmp_path / "etude"))
    assert imported.renderings > 50
    path, _ = convert_gguf(ConvertGgufConfig(tmp_path / "etude", dtype="f32"))
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.pre"].contents() == kind
    assert fields["tokenizer.chat_template"].contents() == OWN_TEMPLATE
    assert fields["tokenizer.ggml.bos_token_id"].contents() == 1
    assert not fields["tokenizer.ggml.add_bos_token"].contents()
    assert fields["tokenizer.ggml.token_type"].contents()[3] == gguf.TokenType.CONTROL
    if is_installed():
        prove_gguf(path, tmp_path / "etude", exact=True)
    modelfile = write_modelfile(ConvertGgufConfig(tmp_path / "etude"), path)
    assert "TEMPLATE" not in modelfile.read_text(encoding="utf-8")
    output, _ = convert(ConvertConfig(tmp_path / "etude"))
    auto: Any = AutoTokenizer.from_pretrained(output, local_files_only=True)
    assert (auto.chat_template, auto.bos_token) == (OWN_TEMPLATE, "<|im_start|>")
    assert import_hf(output, ConvertConfig(tmp_path / "again")).renderings > 50
    back = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    assert back.proof is None or back.proof.texts == 12
    (one, tokens), (other, same) = map(load_pretrained, (tmp_path / "etude", back.output_dir))
    assert same.chat_format == tokens.chat_format
    assert [same.encode(text) for text in HARD_TEXTS] == [tokens.encode(t) for t in HARD_TEXTS]
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name])


@pytest.mark.parametrize(
    ("pre_tokenizer", "named"),
    [
        (None, "splits text by None"),
        (pre_tokenizers.Whitespace(), "Whitespace"),
        (pre_tokenizers.Metaspace(), "Metaspace"),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), "ByteLevel, with a space before"),
        (split_by(r"\w+|\W+"), r"\w+|\W+"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(False), GPT2]), "Digits, grouped"),
    ],
)
def test_a_split_that_llama_cpp_does_not_know_is_named(
    tmp_path: Path, tokenizer: EtudeTokenizer, pre_tokenizer: Any, named: str
) -> None:
    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    backend.pre_tokenizer = pre_tokenizer
    directory = save(tmp_path / "m", EtudeTokenizer(backend))
    with pytest.raises(UserError, match=re.escape(named)):
        convert_gguf(ConvertGgufConfig(directory, dtype="f32"))
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_model_with_etudes_earlier_template_gets_the_new_one(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    directory = save(tmp_path / "m", tokenizer)
    (directory / MANIFEST).unlink()
    path = directory / "tokenizer_config.json"
    earlier = (
        "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' + "
        "(message['content'] | trim) + '<|im_end|>' + '\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    )
    stated = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stated, "chat_template": earlier, "bos_token": None}), "utf-8")
    found = EtudeTokenizer.load(directory)
    assert (found.chat_format.template, found.bos_of(True)) == (CHAT_TEMPLATE, END_OF_TEXT)
