"""Pieces end where a reader would end them, are not too long, and lose nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_process.text.files import blocks
from data_process.text.sentences import (
    clause_ends,
    is_character_border,
    paragraph_ends,
    sentence_ends,
    wide_borders,
)
from data_process.text.splitting import Piece, Splitter
from model.tokenizer import EtudeTokenizer

WORDS = (
    *("The fox ran. ", "“Stop!” he cried. ", "Mr. Fox, e.g. a fox", "\n\n", "\n", " ", "3.14 "),
    *("狐狸跑了。", "“站住！”他喊道。", "，然后", "……", "　", "\r\n", "e\u0301", "👩‍👩‍👧", "🇨🇳🇫🇷"),
    *("\ud83d\ude00", "नमस्ते। ", "各位", "a" * 70, "\u200d", "…", "?!", '"', "\t"),
)
TEXT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=60).map("".join),
    st.text(max_size=200),
)
PLAIN = st.lists(st.sampled_from([w for w in WORDS if "\ud83d" not in w]), max_size=60).map("".join)


def pieces_of(text: str, size: int, overlap: int = 0) -> list[Piece]:
    """A text cut by characters."""
    return list(Splitter(None, size, overlap).split([text]))


def join_pieces(pieces: list[Piece]) -> str:
    """The text that was cut."""
    return "".join(piece.text[piece.overlap :] for piece in pieces)


def sentences(text: str) -> list[str]:
    """A text cut at all sentence borders."""
    places = [0, *sentence_ends(text, 1, len(text) - 1), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


@settings(max_examples=150, deadline=None)
@given(TEXT, st.integers(16, 90), st.integers(0, 45))
def test_pieces_by_characters_give_the_text_back(text: str, size: int, overlap: int) -> None:
    pieces = pieces_of(text, size, min(overlap, size // 2))
    assert join_pieces(pieces) == text
    for piece in pieces:
        assert text[piece.begin : piece.begin + len(piece.text)] == piece.text
        assert piece.overlap < len(piece.text) or not text


@settings(max_examples=60, deadline=None)
@given(PLAIN, st.integers(16, 60), st.integers(0, 30))
def test_pieces_by_tokens_give_the_text_back(
    tokenizer: EtudeTokenizer, text: str, size: int, overlap: int
) -> None:
    splitter = Splitter(tokenizer, size, min(overlap, size // 2))
    pieces = list(splitter.split([text]))
    assert join_pieces(pieces) == text
    assert all(splitter.length(piece.text) <= size for piece in pieces if is_cuttable(piece.text))


def is_cuttable(text: str) -> bool:
    """Whether a text has places between its first and last character where it may be cut."""
    return sum(is_character_border(text, place) for place in range(1, len(text))) > 1


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=5), st.integers(16, 60))
def test_how_the_text_comes_in_chunks_does_not_matter(chunks: list[str], size: int) -> None:
    splitter = Splitter(None, size, size // 4)
    assert list(splitter.split(chunks)) == list(splitter.split(["".join(chunks)]))


@given(st.lists(st.text(max_size=9), max_size=9), st.integers(1, 12))
def test_blocks_are_the_text_and_the_last_is_told(chunks: list[str], size: int) -> None:
    made = list(blocks(chunks, size))
    assert "".join(block for block, _ in made) == "".join(chunks)
    assert [is_last for _, is_last in made] == [False] * (len(made) - 1) + [True]


def test_a_text_longer_than_a_block_is_cut_in_the_same_way() -> None:
    text = "".join(f"Sentence {n} is here, and it ends. 第{n}句在这里。\n" for n in range(6000))
    pieces = pieces_of(text, 200, 40)
    assert join_pieces(pieces) == text
    lengths = [len(piece.text) for piece in pieces]
    assert max(lengths) <= 200
    assert min(lengths[:-1]) > 100
    assert sum(lengths) / len(lengths) > 160
    assert all(piece.overlap for piece in pieces[1:])
    assert all(piece.text.rstrip()[-1] in ".。" for piece in pieces)


def test_pieces_are_within_the_size_and_more_than_half_full() -> None:
    text = "A short sentence stands here. " * 50
    for size in (40, 64, 100, 333):
        lengths = [len(piece.text) for piece in pieces_of(text, size)]
        assert max(lengths) <= size
        assert min(lengths[:-1]) >= size // 2


def test_the_last_two_pieces_share_what_is_left() -> None:
    text = "One two three four. " * 11  # 220 characters
    lengths = [len(piece.text) for piece in pieces_of(text, 200)]
    assert sorted(lengths) == [100, 120]


def test_a_text_that_fits_is_one_piece_and_an_empty_one_is_none() -> None:
    assert [piece.text for piece in pieces_of("Short.", 16)] == ["Short."]
    assert pieces_of("", 16) == []


def test_overlap_is_whole_sentences_of_the_piece_before() -> None:
    text = "".join(f"This is sentence {n:03}. " for n in range(30))
    pieces = pieces_of(text, 120, 50)
    for before, piece in itertools.pairwise(pieces):
        repeated = piece.text[: piece.overlap]
        assert before.text.endswith(repeated)
        assert repeated.startswith("This is")
        assert 0 < len(repeated) <= 50


def test_paragraphs_are_better_than_sentences_and_these_than_clauses() -> None:
    first = "One thing happened. Then another one.\n\n"
    assert pieces_of(first + "And now, as we know, the third thing came.", 60)[0].text == first
    text = "One thing happened, then another. And now, as we know, the third thing came here"
    assert pieces_of(text, 60)[0].text == "One thing happened, then another. "
    text = "one thing happened and then another one, and now we know the third thing came here"
    assert pieces_of(text, 60)[0].text == "one thing happened and then another one, "


@pytest.mark.parametrize(
    "whole",
    [
        ["He came. ", "She left! ", "Why? ", "Nobody knows."],
        ["他来了。", "她走了！", "为什么？", "没有人知道。"],
        ["“他来了。”", "大家都站了起来。"],
        ["“Come in!” ", "The door opened."],
        ['"Come in!" ', "The door opened."],
        ["(It was late.) ", "They went home."],
        ["「走吧。」", "大家都站了起来。"],
        ["It cost $3.50 in 1999. ", "Now it costs 4.25 euros."],
        ["See www.example.com for more. ", "It is free."],
        ["Really?! ", "Yes."],
        ["真的吗？！", "是的。"],
        ["今天3.5度。", "明天更冷。"],
        ["वह आया। ", "वह गई।"],
        ["It was I. ", "Nobody else was there."],
        ["He lives in the U.S. ", "The house is small."],
        ["We met at 5 p.m. ", "It was dark."],
        ["他说 OK。", "She said 好。", "Done."],
        ["One line without a mark.\n", "Another line."],
    ],
)
def test_sentences_end_at_their_marks(whole: list[str]) -> None:
    assert sentences("".join(whole)) == whole


@pytest.mark.parametrize(
    "one",
    [
        "Mr. Smith met Dr. Jones and Prof. Lee on St. Mary's Rd. at noon.",
        "J. R. R. Tolkien wrote it.",
        "Apples, pears, e.g. Conference, i.e. Fruit.",
        "It was Fig. 3 in vol. 2, no. 7, pp. 10 ff.",
        "The value is 3.14159 and v2.0.1 is out.",
        "Well... perhaps not.",
        "Well… perhaps.",
        "我……不知道。",
        "“站住！”他喊道。",
        "“Stop!” he cried.",
        "“Stop!” Anna said.",
        "“你来了！”妈妈笑着说。",
        "The U.S. Army came.",
        "3. Stir the soup.",
        "Acme Inc. and Foo Co. Ltd. merged.",
        "On Jan. 5 it snowed.",
        "etc. and so on",
    ],
)
def test_what_is_no_sentence_end_is_passed_over(one: str) -> None:
    assert sentences(one) == [one]


def test_headings_stay_with_their_paragraph() -> None:
    text = "The first chapter\n\nIt was a dark night. The wind blew.\n\nMorning came."
    ends = list(paragraph_ends(text, 1, len(text) - 1))
    assert [text[place:][:7] for place in ends] == ["Morning"]


def test_clauses_end_after_commas_but_not_in_numbers() -> None:
    text = "first, 1,000 and 10:30; 然后，再说——好 — end"
    ends = [0, *clause_ends(text, 1, len(text) - 1), len(text)]
    parts = [text[begin:end] for begin, end in itertools.pairwise(ends)]
    assert parts == ["first, ", "1,000 and 10:30; ", "然后，", "再说——", "好 — ", "end"]


def test_a_character_of_many_tokens_gets_a_piece_of_its_own(tokenizer: EtudeTokenizer) -> None:
    splitter = Splitter(tokenizer, 22, 11)
    family = "👩‍👩‍👧"  # one character, 18 tokens
    text = f"The fox ran. {family} 3.14 {family}!"
    pieces = list(splitter.split([text]))
    assert join_pieces(pieces) == text
    assert max(splitter.length(piece.text) for piece in pieces) <= 22


def test_chinese_punctuation_begins_no_piece() -> None:
    text = "他说「你好」，就走了"
    places = list(wide_borders(text, 1, len(text) - 1))
    assert not any(text[place] in "」，" or text[place - 1] == "「" for place in places)
    assert text.index("你") - 1 in places


@pytest.mark.parametrize(
    "whole", ["e\u0301", "👩‍👩‍👧", "🇨🇳", "👍🏽", "\r\n", "각", "क्ष", "\ud83d\ude00"]
)
def test_no_character_is_cut(whole: str) -> None:
    text = f"ab{whole}cd"
    inside = range(3, 2 + len(whole))
    assert not any(is_character_border(text, place) for place in inside)
    assert is_character_border(text, 2)
    assert is_character_border(text, 2 + len(whole))


def test_a_letter_with_endless_marks_does_not_grow_a_piece_without_end() -> None:
    text = "a" + "\u0301" * 50_000
    pieces = pieces_of(text, 100)
    assert join_pieces(pieces) == text
    assert max(len(piece.text) for piece in pieces) <= 1_100
