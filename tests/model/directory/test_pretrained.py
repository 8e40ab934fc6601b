"""A model directory comes back as it was saved, or says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from config import ModelConfig, RopeScaling, UserError
from model.directory.config_json import load_model_config
from model.directory.pretrained import (
    is_chat_model,
    load_pretrained,
    model_files,
    save_pretrained,
    weights_of,
    weights_sha256,
)
from model.directory.storage import MANIFEST, write_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling(),
        RopeScaling("linear", 3.0),
        RopeScaling("yarn", 4.0, 32, beta_fast=8.0),
        RopeScaling("llama3", 8.0, 32, high_freq_factor=6.0),
    ],
    ids=lambda scaling: scaling.rope_type,
)
def test_scaled_positions_are_saved_with_the_model_and_transformers_reads_them(
    tmp_path: Path, model_config: ModelConfig, tokenizer: EtudeTokenizer, scaling: RopeScaling
) -> None:
    model = Etude(replace(model_config, rope_scaling=scaling))
    model.initialize(torch.Generator().manual_seed(1))
    save_pretrained(tmp_path, model, tokenizer, {}, is_chat=True)
    assert load_model_config(tmp_path).rope_scaling == scaling
    llama = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    ids = torch.randint(400, (1, 128), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), llama(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_weights_are_bit_equal(
    tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer, tied: bool
) -> None:
    saved = Etude(replace(model.config, tie_word_embeddings=tied))
    saved.initialize(torch.Generator().manual_seed(2))
    directory = tmp_path / "model"
    directory.mkdir()
    save_pretrained(directory, saved, tokenizer, {"seed": 2}, is_chat=True)
    loaded, loaded_tokenizer = load_pretrained(directory)
    assert loaded.config == saved.config
    assert not loaded.training
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    text = "Once upon a time, 从前 🦊"
    assert loaded_tokenizer.encode(text) == tokenizer.encode(text)
    assert json.loads((directory / "training_summary.json").read_text(encoding="utf-8")) == {
        "seed": 2
    }


@pytest.mark.parametrize("is_chat", [True, False])
def test_a_directory_knows_whether_it_chats(
    tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer, is_chat: bool
) -> None:
    directory = tmp_path / "model"
    write_directory(directory, model_files(model.config, weights_of(model), tokenizer, {}, is_chat))
    assert is_chat_model(directory) == is_chat


def test_saving_again_gives_the_same_bytes(
    model_dir: Path, model: Etude, tokenizer: EtudeTokenizer
) -> None:
    before = {path.name: path.read_bytes() for path in model_dir.iterdir()}
    save_pretrained(model_dir, model, tokenizer, {"made_by": "a test"}, is_chat=True)
    assert {path.name: path.read_bytes() for path in model_dir.iterdir()} == before


def test_saving_leaves_other_files_alone(
    model_dir: Path, model: Etude, tokenizer: EtudeTokenizer
) -> None:
    (model_dir / "metrics.jsonl").write_text("kept", encoding="utf-8")
    save_pretrained(model_dir, model, tokenizer, {}, is_chat=True)
    assert (model_dir / "metrics.jsonl").read_text(encoding="utf-8") == "kept"
    load_pretrained(model_dir)


def one_sentence(directory: Path) -> str:
    """What loading a directory is refused with."""
    with pytest.raises(UserError) as refusal:
        load_pretrained(directory)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"]
)
def test_a_damaged_file_is_named(model_dir: Path, name: str) -> None:
    content = bytearray((model_dir / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model_dir / name).write_bytes(content)
    assert str(model_dir / name) in one_sentence(model_dir)


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_missing_or_cut_file_is_named(
    model_dir: Path, name: str, damage: str, with_manifest: bool
) -> None:
    path = model_dir / name
    if not with_manifest:  # as in a directory put together by hand
        (model_dir / MANIFEST).unlink()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"")
    sentence = one_sentence(model_dir)
    assert name in sentence
    assert str(model_dir) in sentence


def change_config(directory: Path, **changes: Any) -> None:
    """Edits config.json by hand, and takes away the manifest that would notice."""
    (directory / MANIFEST).unlink()
    path = directory / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 64, "head_dim": 16}, "has the shape"),
        ({"head_dim": 6}, "has the shape"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"num_hidden_layers": 1}, "is not part of the model"),
        ({"vocab_size": 500}, "do not belong together"),
        ({"model_type": "gpt2"}, "model_type is 'gpt2', and Etude's network is one of llama,"),
        ({"num_key_value_heads": 3}, "use one of"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"rope_theta": 500.0}, "rope_theta is 500.0, but 10000.0 in rope_parameters"),
        ({"rope_theta": "1e4"}, "rope_theta is '1e4', not a float"),
        ({"rope_parameters": [1]}, "rope_parameters is [1], not an object"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"model_type": "qwen2"}, "layers.0.self_attn.q_proj.bias is missing"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    model_dir: Path, changes: dict[str, Any], said: str
) -> None:
    change_config(model_dir, **changes)
    sentence = one_sentence(model_dir)
    assert said in sentence
    assert str(model_dir) in sentence


def test_a_renamed_weight_is_named(model_dir: Path) -> None:
    (model_dir / MANIFEST).unlink()
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.bias"] = weights.pop("model.norm.weight")
    save_file(weights, path)
    assert "model.norm.weight is missing" in one_sentence(model_dir)


def test_a_missing_directory_is_named_with_a_remedy(tmp_path: Path) -> None:
    sentence = one_sentence(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in sentence
    assert "train_pretrain.py" in sentence


def test_a_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("not a directory", encoding="utf-8")
    sentence = one_sentence(tmp_path / "model")
    assert "there is no model here (it is a file); name the directory" in sentence


def test_a_run_or_a_name_of_the_hub_in_place_of_a_model_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "(a run that is not complete); run its command" in one_sentence(tmp_path / "run")
    sentence = one_sentence(Path("somebody/a-model-of-the-hub"))
    assert "(no such directory); download one of the hub first, with hf download" in sentence


@pytest.fixture(params=["one file", "shards", "bfloat16"])
def saved_by_transformers(model_dir: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A model directory that transformers has read and saved, its tokenizer in use in between."""
    llama: Any = AutoModelForCausalLM.from_pretrained(model_dir, local_files_only=True)
    auto: Any = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    auto(["a long text", "a"], padding=True, truncation=True, max_length=4)
    saved = tmp_path / "saved"
    if request.param == "bfloat16":
        llama = llama.bfloat16()
    llama.save_pretrained(saved, max_shard_size="20KB" if request.param == "shards" else "1GB")
    auto.save_pretrained(saved)
    assert "rope_theta" not in json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert (len(list(saved.glob("*.safetensors"))) > 1) == (request.param == "shards")
    return saved


def test_what_transformers_saves_is_read(saved_by_transformers: Path, model_dir: Path) -> None:
    (ours, tokens), (theirs, same_tokens) = map(load_pretrained, (model_dir, saved_by_transformers))
    assert theirs.config == ours.config
    assert is_chat_model(saved_by_transformers)
    text = "Once upon a time, 从前 🦊 <|im_end|>"
    assert same_tokens.encode_batch([text, "a"]) == tokens.encode_batch([text, "a"])
    for name, weight in weights_of(ours).items():
        found = weights_of(theirs)[name]
        assert torch.equal(found, weight) or torch.equal(found, weight.bfloat16().float())
    digest = weights_sha256(saved_by_transformers)
    path = next(saved_by_transformers.glob("*.safetensors"))
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    assert weights_sha256(saved_by_transformers) != digest


@pytest.mark.parametrize(
    ("changes", "is_chat"),
    [
        ({"rope_theta": 10_000.0, "rope_scaling": None, "rope_parameters": None}, True),  # 4.57
        ({"rope_parameters": None}, True),  # the first Llamas named no base
        ({"torch_dtype": "float32", "dtype": None, "num_key_value_heads": 2}, True),
        ({"rms_norm_eps": 1e-5, "initializer_range": None, "head_dim": None}, True),
        ({"eos_token_id": [2, 0]}, True),
        ({"eos_token_id": [0]}, True),  # transformers goes by generation_config.json
        ({"eos_token_id": None}, True),  # generation_config.json has it
    ],
)
def test_other_ways_to_write_a_config_are_read(
    model_dir: Path, model: Etude, changes: dict[str, Any], is_chat: bool
) -> None:
    change_config(model_dir, **changes)
    path = model_dir / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}), "utf-8")
    loaded, _ = load_pretrained(model_dir)
    assert loaded.config == model.config
    assert is_chat_model(model_dir) == is_chat
    if changes.get("eos_token_id", 1) is None:
        (model_dir / "generation_config.json").unlink()
        assert not is_chat_model(model_dir)


def test_an_output_layer_is_tied_where_the_config_says_so_alone(
    model_dir: Path, model: Etude
) -> None:
    (model_dir / MANIFEST).unlink()
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    embedding = weights["model.embed_tokens.weight"]
    save_file({**weights, "lm_head.weight": embedding.clone()}, path)  # saved twice, by some
    loaded, _ = load_pretrained(model_dir)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    fields = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    del fields["tie_word_embeddings"]
    (model_dir / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    save_file({**weights, "lm_head.weight": embedding + 1}, path)
    loaded, _ = load_pretrained(model_dir)
    assert torch.equal(loaded.lm_head.weight, embedding + 1)


def test_a_llama_that_must_be_brought_in_is_named_with_the_command(model_dir: Path) -> None:
    (model_dir / MANIFEST).unlink()
    path = model_dir / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|im_end|>", "</s>"), "utf-8")
    command = f"convert_hf.py --from_hf {model_dir} --output_dir {model_dir}_etude`"
    assert command in one_sentence(model_dir)
    path.unlink()
    assert "copy the one that belongs to the model" in one_sentence(model_dir)


def test_a_padded_vocabulary_is_named_with_the_command(model_dir: Path) -> None:
    change_config(model_dir, vocab_size=448)
    assert f"convert_hf.py --from_hf {model_dir} " in one_sentence(model_dir)
