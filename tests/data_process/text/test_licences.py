"""The licence of Project Gutenberg goes with its header, and nothing of the book."""

from __future__ import annotations

import pytest

from data_process.text.licences import licence_apart, licence_lines

HEADER = (
    "The Project Gutenberg eBook of The Lighthouse\n\nThis ebook is for the use of anyone.\n\n"
    "Title: The Lighthouse\n\nRelease date: May 3, 2020\n\nLanguage: English\n\n"
)
BOOK = "CHAPTER I.\n\nThe keeper climbed the stairs.\n\nHe counted them.\n\nTHE END\n"
FOOTER = (
    "\nUpdated editions will replace the previous one.\n\nSTART: FULL LICENSE\n\n"
    + "You agree to the terms of the Project Gutenberg License.\n" * 300
)
BEGINNINGS = (
    "*** START OF THE PROJECT GUTENBERG EBOOK THE LIGHTHOUSE ***\n",
    "*** START OF THIS PROJECT GUTENBERG EBOOK THE LIGHTHOUSE ***\n\n\n",
    "***START OF THE PROJECT GUTENBERG EBOOK THE LIGHTHOUSE***\n\n",
    "*** START OF THE PROJECT GUTENBERG EBOOK THE LIGHTHOUSE, OR THE\nKEEPER OF THE LAMP ***\n",
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n",
    "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n\nProduced by Jane Doe\nand the others\n\n",
    "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nE-text prepared by Jane Doe\n\n",
)
ENDS = (
    "*** END OF THE PROJECT GUTENBERG EBOOK THE LIGHTHOUSE ***\n",
    "*** END OF THIS PROJECT GUTENBERG EBOOK THE LIGHTHOUSE ***\n",
    "End of Project Gutenberg's The Lighthouse, by Jane Doe\n\n"
    "*** END OF THIS PROJECT GUTENBERG EBOOK THE LIGHTHOUSE ***\n",
    "End of the Project Gutenberg EBook of The Lighthouse, by Jane Doe\n",
)


def kept(text: str, chunk: int = 10**9) -> str:
    """What is no licence; all pieces together are the text."""
    pieces = list(licence_apart(text[at : at + chunk] for at in range(0, len(text), chunk)))
    assert "".join(piece for piece, _ in pieces) == text
    return "".join(piece for piece, is_licence in pieces if not is_licence)


@pytest.mark.parametrize("chunk", [1_000, 10**9])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("end", ENDS)
def test_the_book_stays_and_nothing_else(beginning: str, end: str, chunk: int) -> None:
    for book in (BOOK, BOOK * 3_000):
        text = HEADER + beginning + book + end + FOOTER
        assert kept(text, chunk).strip("\n") == book.strip("\n")
        assert kept(text + text, chunk).replace("\n", "") == (book * 2).replace("\n", "")


def test_lines_are_numbered() -> None:
    text = HEADER + BEGINNINGS[0] + BOOK + ENDS[0] + FOOTER
    numbers = set(licence_lines(text))
    left = [line for n, line in enumerate(text.split("\n")) if n not in numbers]
    assert left == BOOK.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        BOOK,
        "He read the Project Gutenberg eBook of it.\n" + BOOK,
        "The history of Project Gutenberg began in 1971.\n\n" + BOOK * 2_000,
        "*** START OF THE RACE ***\n" + BOOK,
        "The end of Project Gutenberg's server room was near.\n" + BOOK,
        "",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert kept(text) == text
    assert not list(licence_lines(text))


def test_the_first_words_of_a_book_are_no_credits() -> None:
    book = "Produced by the same hand, the lamps were all alike.\n" + BOOK
    for text in (BEGINNINGS[0] + book, BEGINNINGS[0] + "\n" + book.replace("\n", " ")):
        assert "Produced by the same hand" in kept(text)


def test_a_text_that_goes_on_after_an_end_stays() -> None:
    book = "The keeper climbed the stairs and counted them.\n" * 300
    assert kept(book + ENDS[0] + book) == book + book
