"""Texts are compared by units: words, single Chinese characters, and symbols that mean
something."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_process.dedup.shingles import Units, band_keys, bands_for, units_of


def same(one: str, other: str) -> bool:
    """Whether two texts have the same units."""
    units = units_of([one, other])
    middle = units.borders[1]
    return np.array_equal(units.hashes[:middle], units.hashes[middle:])


def count(text: str) -> int:
    """How many units a text has."""
    return int(units_of([text]).lengths[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The fox, he said, RAN.", "the fox he  said\nran"),
        ("他说：“好的，１２３！”", "他说好的123"),
        ("ｆｕｌｌ ﬁre", "full fire"),
        ("cafe\u0301", "café"),
        ("co\u00adoperate \ufeffnow", "cooperate now"),
        ("ﾊﾟﾝ", "パン"),
    ],
)
def test_case_punctuation_space_and_width_make_no_difference(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 + 8", "3 - 8"),
        ("3 * 8", "3 / 8"),
        ("a b", "ab"),
        ("1.5", "15"),
        ("他来了", "来他了"),
        ("a < b", "a > b"),
        ("good 😀", "good 😢"),
    ],
)
def test_what_means_something_makes_a_difference(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("one two", 2),
        ("我爱北京", 4),
        ("我爱 Python 编程", 5),
        ("東京タワー", 5),
        ("", 0),
        ("…！", 0),
    ],
)
def test_a_mixed_text_is_cut_into_words_and_characters(text: str, units: int) -> None:
    assert count(text) == units


@given(st.lists(st.text(), max_size=5))
def test_texts_of_a_batch_do_not_touch_one_another(texts: list[str]) -> None:
    together = units_of(texts)
    assert len(together.borders) == len(texts) + 1
    for number, text in enumerate(texts):
        alone = units_of([text])
        here = together.hashes[together.borders[number] : together.borders[number + 1]]
        assert np.array_equal(here, alone.hashes)


@given(st.text())
def test_the_compatible_form_of_a_text_has_the_same_units(text: str) -> None:
    assert same(text, unicodedata.normalize("NFKC", text))


def shingles(text: str, n: int) -> set[int]:
    """The hashes of a text's n-grams."""
    hashes, _ = units_of([text]).shingles(n)
    return set(hashes.tolist())


def test_shingles_are_the_runs_of_n_units_wherever_they_stand() -> None:
    assert len(shingles("a b c d e f", 5)) == 2
    assert shingles("a b c d e", 5) < shingles("x y a b c d e z", 5)
    assert shingles("a b c", 5) == shingles("A, b: c", 5) != shingles("a b c d", 5)
    assert shingles("a b c d e", 5) != shingles("e d c b a", 5)
    assert shingles("", 5) == set()


def test_shingles_do_not_cross_from_one_text_to_the_next() -> None:
    hashes, places = units_of(["a b c", "d e f g"]).shingles(3)
    assert sorted(places.tolist()) == [0, 3, 4]
    assert set(hashes.tolist()) == shingles("a b c", 3) | shingles("d e f g", 3)


def probability(shape: tuple[int, int], similarity: float) -> float:
    """That two texts of this similarity are compared, by the formula."""
    bands, rows = shape
    return float(1 - (1 - similarity**rows) ** bands)


def test_the_keys_of_a_band_agree_as_often_as_the_formula_says() -> None:
    chance = np.random.default_rng(5)
    shape, similarity, trials = (20, 2), 0.5, 400
    sets = []
    for _ in range(trials):  # 60 shared elements of 120 in all
        elements = chance.integers(0, 1 << 32, 120, dtype=np.uint32)
        sets += [elements[:90], np.concatenate((elements[:60], elements[90:]))]
    keys = band_keys(np.concatenate(sets), np.full(2 * trials, 90), shape, seed=1)
    agree = keys[:, 0::2] == keys[:, 1::2]
    assert abs(agree.mean() - similarity**2) < 0.03
    compared = agree.any(axis=0).mean()
    assert abs(compared - probability(shape, similarity)) < 0.03


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_miss_hardly_any_pair_at_the_threshold(threshold: float) -> None:
    shape = bands_for(threshold)
    assert shape[0] * shape[1] <= 128
    assert probability(shape, threshold) >= 0.979
    assert threshold < 0.3 or probability(shape, threshold / 3) < 0.5


def test_the_default_threshold_has_the_bands_that_the_docstring_names() -> None:
    shape = bands_for(0.7)
    assert shape == (22, 5)
    chances = [round(probability(shape, s), 4) for s in (0.8, 0.5, 0.3, 0.1)]
    assert chances == [0.9998, 0.5027, 0.0521, 0.0002]


def test_hashes_of_units_do_not_collide() -> None:
    chance = random.Random(1)
    words = {"".join(chance.choices("abc", k=chance.randint(1, 12))) for _ in range(20_000)}
    units: Units = units_of([" ".join(sorted(words))])
    assert len(set(units.hashes.tolist())) == len(words)
