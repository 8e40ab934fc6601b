"""Whatever the nesting: no crash, no markup left but what is shown as typed, time grows with the
length alone."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings

CLEANERS = [
    WikitextCleaner(WikitextSettings(), {}, "en"),
    WikitextCleaner(WikitextSettings(keep_headings=False, keep_lists=False, math="drop"), {}, "zh"),
]
LEFT = re.compile(r"\[\[|\]\]|\{\{|\}\}|</?(?:ref|br|nowiki)\b|&nbsp;|[\0-\x08]|__NOTOC__|~~~")
MARKS = re.compile(r"[\0-\x08\x0b\x0e]")
PIECES = [
    "{{",
    "}}",
    "{{{",
    "}}}",
    "[[",
    "]]",
    "[",
    "]",
    "{|",
    "|}",
    "<ref>",
    "</ref>",
    "<ref/>",
    "<ref",
    "<!--",
    "-->",
    "<gallery>",
    "</gallery>",
    "-{",
    "}-",
    "''",
    "'''",
    "'''''",
    "==",
    "=",
    "*",
    "#",
    ":",
    ";",
    "|",
    "||",
    "!",
    "(",
    ")",
    "（",
    "）",
    ",",
    ";",
    ".",
    "。",
    "《",
    "》",
    '"',
    "“",
    "”",
    "<",
    ">",
    "&nbsp;",
    "<b>",
    "<br>",
    "</p>",
    "<li>",
    "<sup>2</sup>",
    "<table>",
    "</table>",
    "__NOTOC__",
    "~~~~",
    "----",
    "{{x}}",
    "{{lang|en|",
    "{{nihongo|a|b}}",
    "{{quote|",
    "{{NoteTA|1=zh-cn:a;zh-tw:b}}",
    "{{convert|1|km}}",
    "[[File:a.jpg|thumb|",
    "[[Category:",
    "[[de:",
    "[http://a",
    "[http://a b]",
    "zh-cn:",
    "zh-hans:",
    "A|",
    "H|",
    "=>",
    "a",
    "b",
    "Foo",
    "中文",
    "1",
    "-",
    "\\",
    "_",
    "/",
    "\x00",
    "\x01",
    "\x05",
]
SPACES = [" ", "    ", "\n", "\n\n", "\t", "\u00a0", "\u3000"]
LITERALS = [
    *("<nowiki>", "</nowiki>", "<pre>", "</pre>", "<math>", "</math>", "<source>", "</source>"),
    *("<nowiki/>", "&", "&amp;", "&lt;", "&#91;", "&#123;", "&#39;", "&#42;", "&#61;", "&#38;"),
]
"""What makes a page show markup."""
ODD = {"[", "]", "{|", "|}", "-{", "}-", "{{{", "}}}", "<ref", "[http://a", "<", ">"}
"""What a page shows as it was typed where it has no partner."""
nested = st.lists(st.sampled_from([*sorted({*PIECES} - ODD), *SPACES]), max_size=25)


@settings(max_examples=700, deadline=None)
@given(nested)
def test_clean_text_has_no_markup_and_stays_as_it_is(pieces: list[str]) -> None:
    wikitext = "".join(pieces)
    for cleaner in CLEANERS:
        text = cleaner.clean(wikitext, "T")
        if "''" in text:  # of seven apostrophes, two are shown
            continue
        assert not LEFT.search(text)
        assert cleaner.clean(text, "T") == text


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *SPACES, *LITERALS]), max_size=25))
def test_no_mark_of_the_passes_is_left_and_literals_are_not_lost(pieces: list[str]) -> None:
    wikitext = "".join(pieces)
    for cleaner in CLEANERS:
        assert not MARKS.search(cleaner.clean(wikitext, "T"))
        literal = "[[a]] {{b}}  ''c''"
        text = cleaner.clean(f"x <nowiki>{literal}</nowiki>\n\n{wikitext}", "T")
        assert text.startswith(f"x {literal}") or "{{" in wikitext or "-->" in wikitext


@pytest.mark.parametrize("sign", [":", "*", "#", ";", "|", "= ", "''", "    ", " "])
def test_a_wide_space_behind_a_sign_stays_as_it_is_or_goes(sign: str) -> None:
    for cleaner in CLEANERS:
        for wikitext in (f"{sign}\u3000", f"{sign}\u3000{sign}", f"== A ==\n{sign}\u3000\n"):
            text = cleaner.clean(wikitext, "T")
            assert cleaner.clean(text, "T") == text


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_can_be_cleaned(wikitext: str) -> None:
    for cleaner in CLEANERS:
        assert not MARKS.search(cleaner.clean(wikitext, "T"))


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("{{", ""),
        ("[[", ""),
        ("<ref>", ""),
        ("<ref ", ""),
        ("\n{|\n| ", ""),
        ("<!--", ""),
        ("-{", ""),
        ("<", ""),
        ("''", ""),
        ("&amp;", ""),
        ("({{x}},", ""),
        ("{{lang|en|a ", "}}"),
        ("[[File:a.jpg|thumb|b ", "]]"),
        ("\n{|\n| ", "\n|}"),
        ("<div>", "</div>"),
        ("-{zh-cn:", "}-"),
        ("({{x}}", ")"),
    ],
)
def test_a_hundred_thousand_openings_take_a_second(opening: str, closing: str) -> None:
    depth = 100_000
    wikitext = opening * depth + " The text. " + closing * depth
    start = time.process_time()
    text = CLEANERS["zh-cn" in opening].clean(wikitext, "T")
    assert time.process_time() - start < 5  # some 0.3 s; quadratic time would be minutes
    assert not LEFT.search(text)


def test_what_follows_unclosed_markup_is_not_lost() -> None:
    sentence = "A sentence that stands after it."
    for opening in (
        "{{a|",
        "[[a|",
        "<ref>",
        "\n{|\n| a\n\n",
        "-{a ",
        "<nowiki>",
        "<math>",
        "'''",
        "(",
    ):
        for cleaner in CLEANERS:
            assert sentence in cleaner.clean(f"Before. {opening} {sentence}", "T"), opening
