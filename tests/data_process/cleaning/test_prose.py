"""R23, prose is not lost: wrapped at any width, the same texts of real files are kept and dropped
for the same reasons, and hardly a line of them is taken for boilerplate."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from data_process.cleaning.boilerplate import without_boilerplate
from data_process.cleaning.normalisation import Normalisation, normalise
from data_process.cleaning.quality import QualityLimits, quality_problem
from data_process.records.jsonl import read_texts

pytestmark = pytest.mark.full
EVERY = 20
"""One text of so many is tried."""


def judged(text: str) -> tuple[str | None, int]:
    """Why a text is dropped, if it is, and how many lines it loses."""
    text, removed = without_boilerplate(normalise(text, Normalisation()))
    return quality_problem(text, QualityLimits()), len(removed)


def wrapped(text: str, width: int, language: str) -> str:
    """A text wrapped at so many columns, with a blank line between paragraphs."""
    half = width // 2
    return "\n\n".join(
        textwrap.fill(line, width, break_long_words=False)
        if language == "en"
        else "\n".join(line[at : at + half] for at in range(0, len(line), half))
        for line in text.split("\n")
    )


@pytest.mark.parametrize("width", [60, 70, 80])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_wrapped_texts_are_judged_as_flat_ones(
    shared_data: Path, language: str, width: int
) -> None:
    path = shared_data / f"pretrain_{language}.jsonl"
    texts = [text for _, text in read_texts(path)][::EVERY]
    flat = [judged(text)[0] for text in texts]
    assert [judged(wrapped(text, width, language))[0] for text in texts] == flat


@pytest.mark.parametrize("language", ["en", "zh"])
def test_stories_and_poems_lose_no_line(shared_data: Path, language: str) -> None:
    path = shared_data / "demo" / f"pretrain_demo_{language}.jsonl"
    assert sum(judged(text)[1] for _, text in read_texts(path)) == 0
