"""Models with chat templates of other houses come in, are trained and served with them, and go out
with them again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from config import EtudeConfig, PathConfig, SFTConfig, UserError
from inference.engine.loading import load_model
from inference.settings import TransformersChatConfig
from inference.terminal.backends import TransformersBackend
from model.chat import render, render_prompt
from model.conversation import Conversation
from model.directory.pretrained import is_chat_model, load_pretrained, save_pretrained
from model.tokenizer import EtudeTokenizer
from tests.model.templates import KINDS, save_tokenizer
from tool.conversion.hf import convert, import_hf
from tool.settings import ConvertConfig
from tool.show_mask import conversation_lines
from train.data.batches import IGNORED
from train.data.token_files import tokenised_data
from train.distributed import World
from train.train_sft import fine_tuning

CHAT: list[Any] = [
    {"role": "user", "content": "Who are you? <|im_end|></s><end_of_turn>"},
    {"role": "assistant", "content": "I don't know."},
]


def published(folder: Path, name: str) -> Path:
    """A chat model of a kind, as its house publishes it."""
    kind = KINDS[name]
    save_tokenizer(folder, kind)
    tokenizer = EtudeTokenizer.load(folder)
    torch.manual_seed(1)
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            eos_token_id=tokenizer.backend.token_to_id(kind.eos),
        )
    )
    ends = sorted({tokenizer.backend.token_to_id(token) or 0 for token in (kind.eos, kind.end)})
    llama.generation_config.eos_token_id = ends
    llama.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_chat_model_comes_in_and_goes_out_with_its_template(tmp_path: Path, name: str) -> None:
    source = published(tmp_path / "source", name)
    imported = import_hf(source, ConvertConfig(tmp_path / "etude"))
    assert imported.renderings > 20
    assert imported.added_tokens == ()
    assert is_chat_model(tmp_path / "etude")
    loaded = load_model(tmp_path / "etude", "cpu")
    ends = [loaded.tokenizer.backend.id_to_token(token) for token in loaded.stop_ids]
    assert {KINDS[name].end, KINDS[name].eos} <= set(ends)
    output, proof = convert(ConvertConfig(tmp_path / "etude"))
    assert proof.template_renderings_equal > 0
    theirs: Any = AutoTokenizer.from_pretrained(output, local_files_only=True)
    assert theirs.chat_template == KINDS[name].template
    assert (theirs.bos_token, theirs.eos_token) == (KINDS[name].bos, KINDS[name].eos)
    backend = TransformersBackend(TransformersChatConfig(output))
    assert backend.is_chat
    assert backend.without_control_tokens(f"a{''.join(KINDS[name].special)}b") == "ab"
    if "strftime_now" not in KINDS[name].template:  # transformers writes today's date
        asked: list[Any] = [{"role": "user", "content": "Who are you?"}]
        assert backend.render_chat(asked) == render_prompt(loaded.tokenizer, asked)
    again = EtudeTokenizer.load(output)
    assert render_prompt(again, CHAT[:1]) == render_prompt(loaded.tokenizer, CHAT[:1])


@pytest.mark.parametrize("name", ["llama3", "mistral", "gemma"])
def test_fine_tuning_trains_and_keeps_the_template(tmp_path: Path, name: str) -> None:
    import_hf(published(tmp_path / "source", name), ConvertConfig(tmp_path / "etude"))
    line = json.dumps({"conversations": CHAT}) + "\n"
    (tmp_path / "a.jsonl").write_text(line * 10, encoding="utf-8")
    paths = PathConfig(
        sft_files=(tmp_path / "a.jsonl",),
        pretrained_model_dir=tmp_path / "etude",
        sft_model_dir=tmp_path / "sft",
        cache_dir=tmp_path / "cache",
    )
    sft = SFTConfig(max_length=200, validation_every=5)
    stage = fine_tuning(EtudeConfig(sft=sft, paths=paths), World())
    ids, mask = render(stage.tokenizer, CHAT)
    trained = [token for token, on in zip(ids, mask, strict=True) if on]
    labels = stage.rows.batch([0]).labels[0].tolist()
    assert [label for label in labels if label != IGNORED][: len(trained)] == trained
    (tmp_path / "sft").mkdir(exist_ok=True)
    save_pretrained(tmp_path / "sft", stage.model, stage.tokenizer, {}, is_chat=True)
    _, tokenizer = load_pretrained(tmp_path / "sft")
    assert tokenizer.chat_format.template == KINDS[name].template
    assert render(tokenizer, CHAT) == (ids, mask)
    shown = [line.text.split()[3] for line in conversation_lines(tokenizer, Conversation(CHAT))[0]]
    assert set(shown) == {"template", "user", "assistant"}


def test_the_line_that_cannot_be_trained_is_named(tmp_path: Path) -> None:
    tokenizer = EtudeTokenizer.load(save_tokenizer(tmp_path / "tokenizer", KINDS["qwen3"]))
    thought = [CHAT[0], {"role": "assistant", "content": "<think>\nhm\n</think>\n\nI do."}]
    lines = [json.dumps({"conversations": chat}) for chat in (CHAT, thought)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl:3: the model's chat template changes what is"):
        tokenised_data("sft", [path], tokenizer, 2, tmp_path / "cache")
    path.write_text(lines[0] + "\n" + lines[0].replace("know", "care") + "\n", encoding="utf-8")
    one = tokenised_data("sft", [path], tokenizer, 2, tmp_path / "cache")
    other = dataclasses.replace(tokenizer.chat_format, template=KINDS["qwen2.5"].template)
    changed = EtudeTokenizer(tokenizer.backend, other)
    two = tokenised_data("sft", [path], changed, 2, tmp_path / "cache")
    assert one.fingerprint != two.fingerprint


def test_a_template_that_prints_the_date_keeps_the_day_of_its_import(tmp_path: Path) -> None:
    source = published(tmp_path / "source", "llama3")
    import_hf(source, ConvertConfig(tmp_path / "etude"))
    path = tmp_path / "etude" / "tokenizer_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    assert stated["chat_date"] == EtudeTokenizer.load(tmp_path / "etude").chat_format.date
    path.write_text(json.dumps({**stated, "chat_date": "2025-12-24"}), encoding="utf-8")
    tokenizer = EtudeTokenizer.load(tmp_path / "etude")
    assert "24 Dec 2025" in tokenizer.decode(render_prompt(tokenizer, CHAT[:1]))


def test_a_template_that_transformers_reads_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = published(tmp_path / "source", "mistral")
    monkeypatch.setattr("tool.conversion.hf_proof.render_prompt", lambda tokenizer, chat: [1])
    with pytest.raises(UserError, match="do not agree about its chat template"):
        import_hf(source, ConvertConfig(tmp_path / "etude"))
    assert not (tmp_path / "etude").exists()
