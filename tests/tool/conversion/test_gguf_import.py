"""A GGUF file comes in as it is, or is refused by the name of what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from config import ModelConfig, QuantizeName, RopeScaling, UserError
from inference.engine.rounding import quantize_model
from model.directory.pretrained import load_pretrained, save_pretrained, weights_of
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion import gguf_import
from tool.conversion.gguf_export import convert_gguf
from tool.conversion.gguf_import import import_gguf
from tool.conversion.hf_proof import ProofFailed
from tool.conversion.llama_cpp import is_installed
from tool.settings import ConvertGgufConfig

needs_llama_cpp = pytest.mark.skipif(not is_installed(), reason="xllamacpp is not installed")
SCALINGS = {
    "none": RopeScaling(),
    "linear": RopeScaling("linear", 2.0),
    "llama3": RopeScaling("llama3", 4.0, 64),
    "yarn": RopeScaling("yarn", 4.0, 64),
}


def a_file(
    folder: Path, tokenizer: EtudeTokenizer, dtype: str = "f32", is_chat: bool = True, **shape: Any
) -> Path:
    """A model as a GGUF file, and beside it the directory it is from."""
    sizes = {
        "hidden_size": 256,  # K quants come in blocks of 256
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        **shape,
    }
    model = Etude(ModelConfig(vocab_size=len(tokenizer), **sizes))
    model.initialize(torch.Generator().manual_seed(1))
    folder.mkdir()
    save_pretrained(folder, model, tokenizer, {}, is_chat=is_chat)
    return convert_gguf(ConvertGgufConfig(folder, dtype=dtype))[0]  # type: ignore[arg-type]


def rewrite(path: Path, kind: gguf.GGMLQuantizationType | None = None, **changes: Any) -> Path:
    """A GGUF file with other values of metadata, or matrices of another type."""
    reader, out = gguf.GGUFReader(path), path.with_name("other.gguf")
    writer: Any = gguf.GGUFWriter(out, changes.pop("architecture", "llama"))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = changes.pop(name.rpartition(".")[2], field.contents())
        if value is not None:
            writer.add_key_value(name, value, field.types[0], field.types[-1])
    for tensor in reader.tensors:
        if kind is None or tensor.data.ndim == 1:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        # Random bits of the type: the package has no quantiser for most of them.
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows, columns = tensor.data.shape
        blocks = np.random.default_rng(1).integers(
            0, 256, (rows, columns // block * size), np.uint8
        )
        writer.add_tensor(tensor.name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert not changes
    return out


@pytest.mark.promise("R15")
@pytest.mark.parametrize(
    "scaling",
    [
        "none",
        "llama3",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("linear", "yarn")),
    ],
)
def test_out_and_in_again_is_the_same_to_the_bit(
    tmp_path: Path, tokenizer: EtudeTokenizer, scaling: str
) -> None:
    path = a_file(
        tmp_path / "m",
        tokenizer,
        rope_scaling=SCALINGS[scaling],
        tie_word_embeddings=scaling == "none",
        rope_theta=5e5 if scaling == "linear" else 1e4,
    )
    made = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    assert made.added_tokens == ()
    (one, tokens), (other, same) = map(load_pretrained, (tmp_path / "m", made.output_dir))
    assert same.fingerprint == tokens.fingerprint
    assert same.chat_format == tokens.chat_format
    assert same.end_ids(True) == tokens.end_ids(True)
    assert other.config == one.config
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name])
    if made.proof:
        assert made.proof.difference < 1e-4
        assert made.proof.tokens_equal == made.proof.tokens


@pytest.mark.parametrize(
    "dtype",
    ["q8_0", *(pytest.param(name, marks=pytest.mark.full) for name in ("f16", "bf16", "q4_0"))],
)
def test_a_quantised_file_comes_in_as_the_gguf_package_dequantises_it(
    tmp_path: Path, tokenizer: EtudeTokenizer, dtype: str
) -> None:
    path = a_file(tmp_path / "m", tokenizer, dtype)
    made = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    own = load_pretrained(made.output_dir)[0].state_dict()
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, ours in (("token_embd", "model.embed_tokens"), ("output_norm", "model.norm")):
        tensor = theirs[f"{name}.weight"]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert torch.equal(own[f"{ours}.weight"], torch.from_numpy(values.copy()))
    half = import_gguf(path, ConvertGgufConfig(output=tmp_path / "half", weights="bfloat16"))
    for name, weight in load_pretrained(half.output_dir)[0].state_dict().items():
        assert torch.equal(weight, own[name].bfloat16().float())


@pytest.mark.parametrize(("dtype", "kind"), [("q8_0", "int8"), ("q4_0", "int4")])
def test_a_rounded_file_holds_the_weights_that_quantize_computes_with(
    tmp_path: Path, tokenizer: EtudeTokenizer, dtype: str, kind: QuantizeName
) -> None:
    path = a_file(tmp_path / "m", tokenizer, dtype)
    back = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back")).output_dir
    model, other = load_pretrained(tmp_path / "m")[0], load_pretrained(back)[0]
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    for _ in range(2):  # the second time: rounding what is rounded changes nothing
        quantize_model(model, kind)
        for name, weight in other.state_dict().items():
            assert torch.equal(weight, model.state_dict()[name]), name
    again = convert_gguf(ConvertGgufConfig(back, tmp_path / "again.gguf", dtype))[0]  # type: ignore[arg-type]
    assert [t.data.tobytes() for t in gguf.GGUFReader(again).tensors] == [
        t.data.tobytes() for t in gguf.GGUFReader(path).tensors
    ]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_1", "Q5_0", "Q5_1"])
def test_k_quants_come_in_too(
    tmp_path: Path, tokenizer: EtudeTokenizer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_import, "prove_gguf_import", lambda *a: None)  # values are random
    path = rewrite(a_file(tmp_path / "m", tokenizer), gguf.GGMLQuantizationType[kind])
    made = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    own = load_pretrained(made.output_dir)[0].state_dict()
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.1.ffn_up.weight")
    values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    torch.testing.assert_close(
        own["model.layers.1.mlp.up_proj.weight"], values, atol=0, rtol=0, equal_nan=True
    )


@needs_llama_cpp
def test_rows_in_a_wrong_order_fail_the_proof(
    tmp_path: Path, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file(tmp_path / "m", tokenizer)
    monkeypatch.setattr(gguf_import, "restored", lambda name, weight, config: weight)
    with pytest.raises(ProofFailed, match=r"log-probabilities differ from llama\.cpp's"):
        import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_a_text_model_gets_the_tokens_of_the_chat_format(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    path = a_file(tmp_path / "m", tokenizer, is_chat=False)
    made = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    _, same = load_pretrained(made.output_dir)
    assert same.chat_format.is_etudes
    assert same.end_ids(False) == (0,)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "gemma3"}, "architecture 'gemma3'"),
        ({"model": "llama"}, "is a llama model"),
        ({"pre": "tekken"}, "splits text as tekken"),
        ({"merges": ["a"]}, "its tokenizer is damaged"),
        ({"block_count": 1}, r"blk\.1\.\w+\.weight is not part"),
        ({"block_count": 3}, r"blk\.2\.\w+\.weight is missing"),
        ({"head_count": 3}, "3 attention heads"),
        ({"feed_forward_length": 128}, "has the shape"),
        ({"layer_norm_rms_epsilon": None}, "epsilon is missing"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_model_of_ours_is_refused_by_name(
    tmp_path: Path, tokenizer: EtudeTokenizer, changes: dict[str, Any], named: str
) -> None:
    path = rewrite(a_file(tmp_path / "m", tokenizer), **changes)
    with pytest.raises(UserError, match=named):
        import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_a_cut_or_missing_file_and_a_full_directory_are_named(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    path = a_file(tmp_path / "m", tokenizer)
    with pytest.raises(UserError, match="not empty"):
        import_gguf(path, ConvertGgufConfig(output=tmp_path / "m"))
    with pytest.raises(UserError, match="is the model itself"):
        import_gguf(path, ConvertGgufConfig(output=path))
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(UserError, match="not a readable GGUF file"):
        import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    with pytest.raises(UserError, match="no such file"):
        import_gguf(tmp_path / "none.gguf", ConvertGgufConfig(output=tmp_path / "back"))
