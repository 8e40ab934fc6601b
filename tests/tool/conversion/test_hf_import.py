"""A Llama directory comes in as it is, or is refused by the name of what it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from config import ROOT, UserError
from model.directory.pretrained import is_chat_model, load_pretrained, weights_of
from tool.conversion.hf import convert, import_hf
from tool.settings import ConvertConfig

YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}


def a_llama(folder: Path, **changes: Any) -> Path:
    """A stranger's Llama, with a byte-level tokenizer that knows nothing of chats."""
    settings: dict[str, Any] = {
        "vocab_size": 272,  # padded: the tokenizer has 257 tokens
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        **changes,
    }
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder, max_shard_size="20KB")
    letters = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.promise("R15")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True, "num_key_value_heads": 4},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    ],
    ids=["plain", "tied", "scaled"],
)
def test_a_strangers_llama_computes_the_same_here(tmp_path: Path, changes: dict[str, Any]) -> None:
    source = a_llama(tmp_path / "llama", **changes)
    assert len(list(source.glob("model-*.safetensors"))) > 1
    target = tmp_path / "etude"
    imported = import_hf(source, ConvertConfig(target))
    assert imported.added_tokens == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    model, tokenizer = load_pretrained(target)
    assert len(tokenizer) == 260
    assert not is_chat_model(target)
    llama: Any = AutoModelForCausalLM.from_pretrained(source, local_files_only=True)
    ids = torch.tensor([tokenizer.encode("Hello, 世界!")])
    with torch.no_grad():
        expected = llama(ids).logits[..., :257]
        torch.testing.assert_close(model(ids)[..., :257], expected, atol=1e-5, rtol=0)
    theirs = llama.state_dict()
    for name, weight in weights_of(model).items():
        rows = 257 if "embed" in name or "lm_head" in name else None
        assert torch.equal(weight[:rows], theirs[name][:rows])


@pytest.mark.promise("R15")
@pytest.mark.parametrize("max_shard_mb", [None, 1])
def test_out_and_in_again_is_the_same_to_the_bit(
    tmp_path: Path, model_dir: Path, max_shard_mb: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if max_shard_mb:  # the model is smaller than a megabyte

        def save_in_pieces(weights: Any, folder: Path, max_shard_size: int) -> None:
            save_torch_state_dict(weights, folder, max_shard_size=max_shard_size // 50)

        monkeypatch.setattr("tool.conversion.hf.save_torch_state_dict", save_in_pieces)
    output, _ = convert(ConvertConfig(model_dir, max_shard_mb=max_shard_mb))
    files = len(list(output.glob("*.safetensors")))
    assert files > 1 if max_shard_mb else files == 1
    back = import_hf(output, ConvertConfig(tmp_path / "back"))
    assert back.added_tokens == ()
    assert is_chat_model(back.output_dir)
    (one, tokens), (other, same_tokens) = map(load_pretrained, (model_dir, back.output_dir))
    assert tokens.fingerprint == same_tokens.fingerprint
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"head_dim": 16}, "has the shape"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type 'longrope'"),
        ({"rope_scaling": YARN | {"attention_factor": 1.5}}, "yarn scaling has the attention_f"),
        ({"rope_scaling": YARN | {"truncate": False}}, "yarn scaling has the truncate False"),
        ({"model_type": "gpt2"}, "model_type is .gpt2., and Etude.s network is one of"),
        ({"num_hidden_layers": 3}, "layers.2"),
        ({"intermediate_size": 50}, "has the shape"),
        ({"hidden_size": None}, "hidden_size is missing"),
    ],
)
def test_what_is_no_llama_of_ours_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    source = a_llama(tmp_path / "llama")
    path = source / "config.json"
    fields = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(UserError, match=named):
        import_hf(source, ConvertConfig(tmp_path / "etude"))
    assert not (tmp_path / "etude").exists()


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    source = a_llama(tmp_path / "llama")
    shard = next(source.glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(UserError, match=shard.name):
        import_hf(source, ConvertConfig(tmp_path / "etude"))
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard.name} is missing"):
        import_hf(source, ConvertConfig(tmp_path / "etude"))
    (source / "tokenizer.json").unlink()
    a_llama(tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        import_hf(tmp_path / "other", ConvertConfig(tmp_path / "etude"))


def test_a_directory_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    source = a_llama(tmp_path / "llama")
    target = tmp_path / "etude"
    target.mkdir()
    (target / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="not empty"):
        import_hf(source, ConvertConfig(target))
    import_hf(source, ConvertConfig(target, overwrite=True))
    assert (target / "mine.txt").exists()


@pytest.mark.full
def test_the_script_brings_a_model_in_and_says_how_to_go_on(tmp_path: Path) -> None:
    source = a_llama(tmp_path / "llama")
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tool" / "convert_hf.py"),
            f"--from_hf={source}",
            f"--output_dir={tmp_path / 'etude'}",
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the tokenizer got <|endoftext|>" in done.stdout
    assert "train_sft.py --preset adapter --pretrained_model_dir" in done.stdout
