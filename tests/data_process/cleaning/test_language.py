"""The language of a text: by its letters, then by the model, and unknown when in doubt."""

from __future__ import annotations

import re

import pytest

from config import UserError
from data_process.cleaning.language import (
    SAMPLE,
    UNKNOWN,
    check_languages,
    is_plain_english,
    language_of,
    sample_of,
)

TEXTS = {
    "en": "The old fisherman went down to the sea again and cast his net into the waves.",
    "zh": "老渔夫又一次来到海边，把渔网撒进了波浪里。",
    "ja": "年老いた漁師はまた海へ行き、波の中に網を投げました。",
    "ko": "늙은 어부는 다시 바다로 내려가 파도 속에 그물을 던졌습니다.",
    "fr": "Le vieux pêcheur descendit de nouveau vers la mer et jeta son filet dans les vagues.",
    "de": "Der alte Fischer ging wieder ans Meer hinunter und warf sein Netz in die Wellen.",
    "es": "El viejo pescador bajó otra vez al mar y echó su red entre las olas de la tarde.",
    "nl": "De oude visser was of is weer aan zee, en he, wie of wat zou hij dan nog willen vangen?",
    "ru": "Старый рыбак снова спустился к морю и забросил свою сеть в высокие волны.",
    "el": "Ο γέρος ψαράς κατέβηκε πάλι στη θάλασσα και έριξε τα δίχτυα του στα κύματα.",
    "th": "ชาวประมงชราลงไปที่ทะเลอีกครั้งและเหวี่ยงแหลงไปในคลื่น",
    "ar": "نزل الصياد العجوز إلى البحر مرة أخرى وألقى شبكته بين الأمواج العالية.",
    "hi": "बूढ़ा मछुआरा फिर से समुद्र के किनारे गया और लहरों में अपना जाल फेंका।",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_in_its_language(language: str) -> None:
    found, confidence = language_of(TEXTS[language])
    assert found == language
    assert 0.5 <= confidence <= 1.0


@pytest.mark.parametrize(
    "text", ["", "12345", "OK", "!?…", "Je ne sais pas.", "3.14 + 2 = x", "好"]
)
def test_what_is_too_short_to_tell_is_unknown(text: str) -> None:
    assert language_of(text) == (UNKNOWN, 0.0)


def test_a_short_chinese_sentence_is_told_by_its_letters() -> None:
    assert language_of("你好！")[0] == "zh"
    assert language_of("これはペンです。")[0] == "ja"


def test_the_quick_look_for_english_finds_no_other_language() -> None:
    text = "The fox and the hen said that they would not go, for it was late. What could she say?"
    assert is_plain_english(text)
    assert not any(is_plain_english(text) for language, text in TEXTS.items() if language != "en")
    assert not is_plain_english("The menu: " + "kip met appelmoes, friet, sla en brood. " * 10)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("苹果公司今天发布了新款 iPhone 和 MacBook Pro，搭载 M5 芯片。", "zh"),
        ("The word 漢字 means Chinese characters, and they are used in several languages.", "en"),
        ("他把店名写作“のり”，意思是海苔，街坊都觉得新鲜，常来光顾。", "zh"),
        ("Мы читали книгу War and Peace всю зиму, и она нам очень понравилась.", "ru"),
    ],
)
def test_words_of_another_script_do_not_change_it(text: str, language: str) -> None:
    assert language_of(text)[0] == language


def test_a_mixture_goes_to_the_larger_share() -> None:
    assert language_of(TEXTS["zh"] * 3 + TEXTS["en"])[0] == "zh"
    assert language_of(TEXTS["zh"] + TEXTS["en"] * 3)[0] == "en"


def test_of_a_long_text_begin_middle_and_end_are_looked_at() -> None:
    text = "a" * 10_000 + "m" * 1_000 + "z" * 10_000
    assert set(sample_of(text)) == set("amz\n")
    assert len(sample_of(text)) <= SAMPLE + 2
    menu = "首页 新闻 登录\n"
    assert language_of(menu + TEXTS["en"] * 500 + menu)[0] == "en"


def test_a_code_that_cannot_be_found_is_named() -> None:
    check_languages(("zh", "en"))
    check_languages(())
    with pytest.raises(UserError, match=re.escape("languages: chinese xx is not known")):
        check_languages(("zh", "chinese", "xx"))
