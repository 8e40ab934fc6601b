"""Wrongly decoded text is mended, what nobody sees goes, and good writing stays as it is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_process.cleaning.normalisation import Normalisation, normalise

PLAIN = Normalisation()
CHINESE = "看守灯塔的老人每天傍晚都要爬上楼梯，每次都会数一数台阶。“还是一百一十二级。”他说。"


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("I donâ€™t know", "I don’t know"),
        ("â€œYesâ€\x9d, she said", "“Yes”, she said"),
        ("le cafÃ© est fermÃ©", "le café est fermé"),
        ("Ã¼ber MÃ¼nchen", "über München"),
        ("Good text.\nIt isnâ€™t.", "Good text.\nIt isn’t."),
        (CHINESE.encode().decode("latin-1"), CHINESE),
        ("Привет, мир".encode().decode("cp1251", "replace"), "Привет, мир"),
    ],
)
def test_wrongly_decoded_text_is_mended(broken: str, mended: str) -> None:
    assert normalise(broken, PLAIN) == mended


def test_chinese_read_as_gbk_is_mended_but_for_what_was_lost() -> None:
    broken = CHINESE.encode().decode("gb18030", "replace")
    text = normalise(broken, PLAIN)
    assert sum(c in CHINESE for c in text) > 0.6 * len(text)
    assert text.startswith("看守灯塔的")
    assert "每天傍晚都要爬上楼梯，每次都会数" in text


def test_mojibake_can_be_kept() -> None:
    assert normalise("I donâ€™t", Normalisation(keep_mojibake=True)) == "I donâ€™t"


@pytest.mark.parametrize(
    "text",
    [
        CHINESE,
        "你好，世界！（全角：ＡＢＣ１２３）「引号」、顿号；",
        "Ça ira, où êtes-vous ? Ærø, naïve, Ångström, ½ – €",
        "Привет, как дела? Γειά σου Κόσμε",
        "日本語のテキスト、カタカナ・ひらがな。",
        "नमस्ते क्‍ष می‌خواهم",  # joiners that mean something
        "👩‍👩‍👧 and 🇨🇳",
        "if a < b and b > c: return a & b",
        "x² + y² ≠ z³, ①②③, ﬁne",
        "def f():\n    return 1\n\tx",
        "　　从前有一座山，\n　　山上有一座庙。",
        "a\n\nb",
        "鐎是一种古代的炊具，浠水是湖北的一条河，锛是木工的工具，鈥、銆、绗都是字。",
    ],
)
def test_good_writing_stays(text: str) -> None:
    assert normalise(text, PLAIN) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("zero\u200bwidth\ufeff and\u2060 soft\u00adhyphen", "zerowidth and softhyphen"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\u202eb\u200fc", "abc"),
        ("stray\u200djoiner 中\u200d文", "strayjoiner 中文"),
        ("private \ue000 use \ud800", "private use"),
        ("one\r\ntwo\rthree\u2028four\x85five", "one\ntwo\nthree\nfour\nfive"),
        ("no\u00a0break\u2003em", "no break em"),
        ("two  spaces and\ttab", "two spaces and tab"),
        ("end   \nof line\t\n", "end\nof line"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("Tom &amp; Jerry &quot;run&quot;&nbsp;&#8212; &eacute;", 'Tom &amp; Jerry "run" — é'),
        ("e\u0301 \u1100\u1161", "é 가"),
    ],
)
def test_what_nobody_sees_goes(text: str, clean: str) -> None:
    assert normalise(text, PLAIN) == clean


def test_nfkc_and_narrow_letters_are_options() -> None:
    text = "ＡＢＣ１２３，ﬁ①"
    assert normalise(text, Normalisation(unicode_form="NFKC")) == "ABC123,fi1"
    assert normalise(text, Normalisation(narrow_letters=True)) == "ABC123，ﬁ①"
    assert normalise("e\u0301", Normalisation(unicode_form="none")) == "e\u0301"
    assert normalise("a  b\n\n\n\nc", Normalisation(keep_spaces=True)) == "a  b\n\n\n\nc"


@settings(max_examples=200, deadline=None)
@example("&amp;amp; &#38;lt;")
@example("Ã\u00a0 Ãƒ\u00a0")
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    "Ã©",
                    "â€™",
                    "锟",
                    "&amp;",
                    "&#38;",
                    "\u200d",
                    " ",
                    "\t",
                    "\n",
                    "　",
                    "é",
                    "中文",
                    "lt;",
                ]
            ),
            max_size=25,
        ).map("".join),
    )
)
def test_normalising_again_changes_nothing(text: str) -> None:
    # But for wraps: what is joined may look wrapped itself, in texts that are no language.
    as_lines = dataclasses.replace(PLAIN, keep_wrapping=True)
    once = normalise(text, as_lines)
    assert normalise(once, as_lines) == once
