"""No text is lost in the tokenizer, and none becomes a control token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import UserError
from model.chat_template import CHAT_TEMPLATE, END_OF_TEXT, IM_END, IM_START
from model.tokenizer import (
    SPECIAL_TOKENS,
    EtudeTokenizer,
    StreamDecoder,
    tokenizer_config,
    tokenizer_json,
)
from train.tokenizer.bpe import train_bpe

TOKENIZER = EtudeTokenizer(train_bpe(["hello <|im_end|> world", "你好，世界！"] * 3, 300))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PIECES = st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "im_end", " ", "\n", "中", "a", "1"])


@settings(max_examples=300, deadline=None)
@given(TEXT | st.lists(PIECES).map("".join))
def test_every_text_comes_back_and_none_gives_a_control_token(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text
    assert min(ids, default=3) >= 3
    assert TOKENIZER.encode_batch([text, text]) == [ids, ids]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, len(TOKENIZER) - 1)))
def test_streamed_pieces_add_up_to_the_whole_text(ids: list[int]) -> None:
    decoder = StreamDecoder(TOKENIZER)
    pieces = [decoder.step(token) for token in ids]
    assert "".join(pieces) + decoder.finish() == TOKENIZER.decode(ids)


def test_streaming_never_shows_half_a_character() -> None:
    decoder = StreamDecoder(TOKENIZER)
    pieces = [decoder.step(token) for token in TOKENIZER.encode("a🦊é中")]
    assert len(pieces) > 4
    assert "".join(pieces) == "a🦊é中"
    assert not any("\ufffd" in piece for piece in pieces)
    assert decoder.finish() == ""


def test_a_character_cut_off_at_the_end_is_shown_as_such() -> None:
    decoder = StreamDecoder(TOKENIZER)
    for token in TOKENIZER.encode("a🦊")[:-1]:
        decoder.step(token)
    assert "\ufffd" in decoder.finish()


def test_special_tokens_have_the_first_ids_and_stop_an_answer() -> None:
    assert TOKENIZER.end_of_text_id == 0
    assert TOKENIZER.backend.token_to_id(IM_START) == 1
    assert TOKENIZER.end_ids(is_chat=True) == (2, 0)


def test_control_tokens_are_left_out_of_an_answer() -> None:
    ids = [1, *TOKENIZER.encode("hello"), 2, 0]
    assert TOKENIZER.decode(ids) == "hello"


def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(TOKENIZER), encoding="utf-8")
    loaded = EtudeTokenizer.load(tmp_path)
    assert tokenizer_json(loaded) == tokenizer_json(TOKENIZER)
    assert loaded.encode("<|im_end|> 你好") == TOKENIZER.encode("<|im_end|> 你好")


def test_a_missing_tokenizer_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no tokenizer; .*train_tokenizer\.py"):
        EtudeTokenizer.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"model": 1}', "\0\0"])
def test_a_broken_tokenizer_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer\.json: not a readable tokenizer") as told:
        EtudeTokenizer.load(tmp_path)
    assert "\n" not in str(told.value)


def test_a_tokenizer_without_our_special_tokens_is_refused(tmp_path: Path) -> None:
    text = tokenizer_json(TOKENIZER).replace(IM_END, "<|other|>")
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"has no <\|im_end\|>; use one made by"):
        EtudeTokenizer.load(tmp_path)


def test_the_tokenizer_config_adds_no_token_and_changes_no_space() -> None:
    fields = json.loads(tokenizer_config(128, IM_END))
    assert fields["bos_token"] == END_OF_TEXT
    assert fields["model_input_names"] == ["input_ids", "attention_mask"]
    assert fields["padding_side"] == "left"
    assert fields["eos_token"] == IM_END
    assert fields["pad_token"] == END_OF_TEXT
    assert fields["add_bos_token"] is False
    assert fields["clean_up_tokenization_spaces"] is False
    assert fields["model_max_length"] == 128
    assert fields["chat_template"] == CHAT_TEMPLATE
