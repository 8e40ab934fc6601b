"""Text that comes in pieces is the text that comes at once."""

from __future__ import annotations

import random

import pytest

from inference.engine.answers import TextStream
from model.tokenizer import EtudeTokenizer

HARD = "a🙂é中👨‍👩‍👧e\u0301 ꙮ\ufffd<|im_end|>日本\n\tfin"


def streamed(tokenizer: EtudeTokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(tokenizer, stop)
    pieces = [stream.step(token) for token in ids if not stream.stopped]
    return [*pieces, stream.finish()]


@pytest.mark.promise("R13")
def test_streamed_text_equals_the_whole(tokenizer: EtudeTokenizer) -> None:
    draw = random.Random(1)
    for _ in range(2_000):
        text = "".join(draw.choices(HARD, k=draw.randint(0, 30)))
        ids = tokenizer.encode(text)
        if draw.random() < 0.3:  # bytes that are no character
            ids = draw.choices(range(3, len(tokenizer)), k=len(ids))
        pieces = streamed(tokenizer, ids)
        assert "".join(pieces) == tokenizer.decode(ids)


@pytest.mark.promise("R13")
def test_no_piece_invents_a_replacement_character(tokenizer: EtudeTokenizer) -> None:
    draw = random.Random(2)
    for _ in range(500):
        text = "".join(draw.choices("a🙂é中👨‍👩‍👧日本", k=20))
        assert not any("\ufffd" in piece for piece in streamed(tokenizer, tokenizer.encode(text)))


@pytest.mark.promise("R13")
def test_a_stop_text_ends_it_wherever_tokens_are_cut(tokenizer: EtudeTokenizer) -> None:
    draw = random.Random(3)
    for _ in range(2_000):
        text = "".join(draw.choices("ab中🙂", k=draw.randint(1, 25)))
        stops = tuple("".join(draw.choices("ab中🙂", k=draw.randint(1, 4))) for _ in range(2))
        found = [text.index(stop) for stop in stops if stop in text]
        whole = "".join(streamed(tokenizer, tokenizer.encode(text), stops))
        # One that is found later but begins earlier was not seen when the other one ended.
        assert whole in {text[:at] for at in found} if found else whole == text
        if found:
            ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
            assert len(whole) <= min(ends)


def test_what_may_be_a_stop_text_is_held_back(tokenizer: EtudeTokenizer) -> None:
    stream = TextStream(tokenizer, ("END", "N!"))
    pieces = [stream.release(piece, at_end=False) for piece in ("aE", "N", "x", "EN", "!b")]
    assert pieces == ["a", "", "ENx", "", "E"]
    assert stream.stopped
    assert stream.finish() == ""
