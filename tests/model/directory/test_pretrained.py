"""A model directory comes back as it was saved, or says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from config import ModelConfig, RopeScaling, UserError
from model.directory.pretrained import (
    is_chat_model,
    load_model_config,
    load_pretrained,
    model_files,
    save_pretrained,
    weights_of,
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
        ({"hidden_size": 64}, "has the shape"),
        ({"num_hidden_layers": 3}, "model.layers.2"),
        ({"num_hidden_layers": 1}, "is not part of the model"),
        ({"vocab_size": 500}, "do not belong together"),
        ({"model_type": "gpt2"}, "not a Llama model"),
        ({"num_key_value_heads": 3}, "use one of"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"rope_theta": None}, "rope_theta"),
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
    assert "there is no model here" in one_sentence(tmp_path / "model")
