"""Records that hold the text of evaluation files are found, and common phrases are no reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_process.dedup.decontamination import (
    Decontamination,
    NgramFinder,
    contaminated,
    read_ngrams,
    strings_of,
)
from data_process.dedup.fingerprints import LONGEST, Comparable, ends_of_long_turns
from data_process.dedup.shingles import units_of
from tests.data_process.dedup.test_dedup_jsonl import chinese, dedup, prose, talk
from tests.data_process.jsonl_command import read, write

QUESTION = "Which of the seven bridges over the river Lant was built before the great flood?"
POEM = "山前一夜春风到，门外千枝柳色新，老翁不问城中事，独坐溪边钓暮云。"


def finder(tmp_path: Path, *texts: str) -> NgramFinder:
    """What looks for evaluation texts."""
    path = write(tmp_path / "eval.jsonl", [{"q": text} for text in texts])
    return NgramFinder(read_ngrams([path], Decontamination())[0])


def holds(found: NgramFinder, text: str) -> bool:
    """Whether a text holds something of the evaluation texts."""
    return len(found.find(units_of([text]))) > 0


def test_records_with_evaluation_text_are_dropped_and_the_place_is_told(tmp_path: Path) -> None:
    nested = {"id": 7, "item": {"choices": ["no", POEM], "n": [1, None, True]}}
    against = write(tmp_path / "eval.jsonl", [{"question": QUESTION}, nested])
    records = [
        {"text": prose(1)},
        {"text": f"{prose(2)}. {QUESTION.upper()} {prose(3)}"},
        talk("写一首诗。", f"{chinese(4)}。{POEM}"),
        {"text": chinese(5)},
    ]
    source, rejected = write(tmp_path / "in.jsonl", records), tmp_path / "rejected.jsonl"
    output = tmp_path / "out.jsonl"
    ran = dedup(source, "--output", output, "--rejected", rejected, "--against", against)
    assert ran.code == 0, ran.err
    assert read(output) == [records[0], records[3]]
    found = [(record["reason"], record["found_in"]) for record in read(rejected)]
    assert found == [
        ("in an evaluation file", {"file": str(against), "line": line}) for line in (1, 2)
    ]
    assert "2  dropped: in an evaluation file" in ran.out
    assert "1 texts have fewer than 8 words" in ran.out


def test_thirteen_words_or_twenty_chinese_characters_are_enough(tmp_path: Path) -> None:
    long, poem = prose(1, 40), chinese(1, 60)
    found = finder(tmp_path, long, poem)
    words = long.split()
    assert holds(found, " ".join(words[5:18]))
    assert not holds(found, " ".join(words[5:17]))
    assert holds(found, poem[7:27])
    assert not holds(found, poem[7:26])


def test_a_shorter_text_must_be_there_whole_and_a_very_short_one_is_passed_over(
    tmp_path: Path,
) -> None:
    words = prose(1, 9).split()
    texts = (" ".join(words), "yes of course", chinese(2, 12), chinese(3, 11))
    found = finder(tmp_path, *texts)
    assert holds(found, f"x {' '.join(words)} y")
    assert not holds(found, " ".join(words[:8]))
    assert not holds(found, "yes of course")
    assert holds(found, chinese(2, 12))
    assert not holds(found, chinese(3, 11))
    assert read_ngrams([tmp_path / "eval.jsonl"], Decontamination())[1] == 2


def test_a_phrase_that_many_records_hold_is_no_reason() -> None:
    matches = np.array([(n, 0) for n in range(11)] + [(3, 1), (22, 1), (24, 2)])
    matches = np.unique(matches, axis=0)
    nothing_dropped = np.zeros(40, dtype=np.bool_)
    ngram, common = contaminated(matches, nothing_dropped, common=10)
    assert np.flatnonzero(ngram >= 0).tolist() == [3, 22, 24]
    assert ngram[[3, 22, 24]].tolist() == [1, 1, 2]
    assert common == 1
    assert (contaminated(matches, nothing_dropped, common=0)[0] >= 0).sum() == 13


def test_copies_of_a_record_do_not_make_its_text_common() -> None:
    matches = np.array([(n, 0) for n in range(30)])
    ngram, _ = contaminated(matches, np.arange(30) > 0, common=10)
    assert np.flatnonzero(ngram >= 0).tolist() == [0]


@pytest.mark.parametrize("place", [0, LONGEST - 40, 2 * LONGEST + 5])
def test_a_very_long_text_is_searched_to_its_end(tmp_path: Path, place: int) -> None:
    found = finder(tmp_path, QUESTION)
    filler = "word " * (place // 5)
    text = f"{filler}{QUESTION} {'word ' * 50}"
    batch = [Comparable(0, 1, [(0, "A short turn.")]), Comparable(9, 2, [(0, text)])]
    units = units_of([content[:LONGEST] for _, content in batch[0].turns + batch[1].turns])
    matches = found.matches(np.array([0, 1]), units, ends_of_long_turns(batch))
    assert set(matches[:, 0].tolist()) == {1}
    assert all(len(piece) <= LONGEST + 1000 for _, piece in ends_of_long_turns(batch))


def test_all_strings_of_a_record_are_read_in_their_order() -> None:
    record = {"a": "1", "b": ["2", {"c": "3", "d": 4}], "e": None, "f": "5"}
    assert list(strings_of(record)) == ["1", "2", "3", "5"]
    deep: object = "end"
    for _ in range(100_000):
        deep = [deep]
    assert list(strings_of(deep)) == ["end"]
