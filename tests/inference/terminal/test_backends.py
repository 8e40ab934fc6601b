"""What streams is what would have come at once, never with half a character."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from config import SamplingConfig, UserError
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ChatConfig
from inference.terminal.backends import EtudeBackend
from model.tokenizer import EtudeTokenizer, StreamDecoder
from model.transformer import Etude

TEXTS = [
    "从前，有一只小狐狸住在河边。龘靐齉",
    "👩‍👩‍👧‍👦 family, 🧑🏽‍🚀 astronaut, 🇫🇷 flag, é e\u0301",
    "こんにちは 안녕하세요 Привет שלום",
    "a\u0000b\tc\r\nd  \n\n",
    "<|im_end|> <|im_start|>user",
]


def backend_of(
    model: Etude, tokenizer: EtudeTokenizer, is_chat: bool, sampling: SamplingConfig
) -> EtudeBackend:
    engine = Engine(model, tokenizer, slots=1)
    return EtudeBackend(LoadedModel(engine, tokenizer, "tiny", is_chat, ""), sampling)


def streamed(tokenizer: EtudeTokenizer, ids: list[int]) -> list[str]:
    decoder = StreamDecoder(tokenizer)
    return [*(decoder.step(token) for token in ids), decoder.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_equals_unstreamed(tokenizer: EtudeTokenizer, text: str) -> None:
    pieces = streamed(tokenizer, tokenizer.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def byte_ids(tokenizer: EtudeTokenizer, data: bytes) -> list[int]:
    """Tokens of single bytes, whatever they spell."""
    by_text = {tokenizer.backend.decode([i]): i for i in range(3, 259)}
    ids = [by_text.get(chr(byte)) if byte < 128 else None for byte in data]
    vocab = tokenizer.backend.get_vocab()
    letters = byte_letters()
    return [vocab[letters[b]] if i is None else i for b, i in zip(data, ids, strict=True)]


def byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"ok \xe4\xbd",  # cut inside a character
        b"\xe4\xbda",
        b"\xff\xff\xe4\xbd\xa0!",
        b"\x80abc\xf0\x9f\x98",
        b"\xf0\x9f\x98\x80\xe2\x80",
        b"\xed\xa0\x80x",
    ],
)
def test_invalid_bytes_stream_as_they_decode(tokenizer: EtudeTokenizer, data: bytes) -> None:
    ids = byte_ids(tokenizer, data)
    assert "".join(streamed(tokenizer, ids)) == data.decode("utf-8", "replace")


def test_random_tokens_stream_as_they_decode(tokenizer: EtudeTokenizer) -> None:
    chance = random.Random(5)
    for _ in range(300):
        ids = [chance.randrange(len(tokenizer)) for _ in range(chance.randrange(1, 40))]
        assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_written_answer_never_shows_half_a_character(
    model: Etude, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = tokenizer.encode(TEXTS[1]) + byte_ids(tokenizer, b"\xe4\xbd")  # cut inside the last

    chosen = iter(ids)
    monkeypatch.setattr("inference.engine.engine.sample", lambda *_: torch.tensor([next(chosen)]))
    pieces: list[str] = []
    sampling = SamplingConfig(max_tokens=len(ids))
    backend_of(model, tokenizer, True, sampling).generate([1], pieces.append)
    assert "".join(pieces[:-1]) == TEXTS[1]
    assert pieces[-1] == "\ufffd"  # what was held back comes at the end


def test_same_seed_same_answer(model: Etude, tokenizer: EtudeTokenizer) -> None:
    def answer(seed: int) -> str:
        sampling = SamplingConfig(temperature=1.0, seed=seed, max_tokens=40)
        pieces: list[str] = []
        backend_of(model, tokenizer, True, sampling).generate([5, 6], pieces.append)
        return "".join(pieces)

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_a_result_has_what_was_asked_for(model: Etude, tokenizer: EtudeTokenizer) -> None:
    backend = backend_of(model, tokenizer, True, SamplingConfig(max_tokens=6, temperature=0))
    plain = backend.generate([5, 6], lambda _: None)
    backend.top_logprobs = 2
    asked = backend.generate([5, 6], lambda _: None)
    assert (plain.finish_reason, [t.logprob for t in plain.tokens]) == ("length", [None] * 6)
    assert asked.cached_tokens == 1
    assert [len(token.alternatives) for token in asked.tokens] == [2] * 6
    assert [token.alternatives[0][0] for token in asked.tokens] == [t.id for t in asked.tokens]
    assert asked.tokens_per_second == 6 / asked.seconds


def test_ctrl_c_ends_an_answer_and_frees_the_engine(
    model: Etude, tokenizer: EtudeTokenizer
) -> None:
    backend = backend_of(model, tokenizer, True, SamplingConfig(temperature=0))
    pieces: list[str] = []

    def write(text: str) -> None:
        pieces.append(text)
        if len(pieces) == 4:
            raise KeyboardInterrupt

    backend.top_logprobs = 0
    result = backend.generate([5, 6], write)
    assert result.finish_reason == "cancelled"
    assert len(result.tokens) == 4
    assert not backend.engine.busy
    whole: list[str] = []
    backend.sampling = SamplingConfig(temperature=0, max_tokens=9)
    backend.generate([5, 6], whole.append)
    assert "".join(whole).startswith("".join(pieces))
    assert not backend.engine.busy


def test_a_text_begins_after_a_document_border(model: Etude, tokenizer: EtudeTokenizer) -> None:
    backend = backend_of(model, tokenizer, False, SamplingConfig())
    assert backend.render_text("<|im_end|>")[0] == tokenizer.end_of_text_id
    assert tokenizer.end_of_turn_id not in backend.render_text("<|im_end|>")
    assert backend.model.stop_ids == (tokenizer.end_of_text_id,)


def test_a_missing_model_names_the_demo(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"make demo.*--model_dir weight/demo/etude_grpo_model"):
        EtudeBackend.load(ChatConfig(model_dir=tmp_path / "none"))


def test_a_device_that_is_not_there_is_refused(model_dir: Path) -> None:
    with pytest.raises(UserError, match="--device abacus"):
        EtudeBackend.load(ChatConfig(model_dir=model_dir, device="abacus"))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"--device cuda: .* use --device cpu"):
            EtudeBackend.load(ChatConfig(model_dir=model_dir, device="cuda"))
