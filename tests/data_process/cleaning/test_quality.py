"""Each rule drops what it is for; good English and Chinese, poems and dialogues stay."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_process.cleaning.quality import QualityLimits, quality_problem
from data_process.records.jsonl import read_texts

LIMITS = QualityLimits()
ENGLISH = (
    "The old lighthouse keeper climbed the stairs every evening. He counted them as he went, and "
    "there were always a hundred and twelve. From the top he could see the whole bay: the boats "
    "coming home, the children waiting on the quay, and far away the first light of the city. "
    "When the lamp was lit, he made himself a pot of tea and opened the book that his daughter had "
    "sent him. It was about the stars, which he knew better than its author. Still, he liked the "
    "pictures. On clear nights he would put it down and look at the sky until the tea was cold, "
    "and then he laughed at himself, because that was what he had done for forty years."
)
CHINESE = (
    "看守灯塔的老人每天傍晚都要爬上楼梯，一边走一边数台阶，不多不少，总是一百一十二级。站在塔顶，他能"
    "望见整个海湾：归来的渔船，码头上等候的孩子，还有远处城市里最早亮起的灯火。点亮了灯，他就给自己泡"
    "一壶茶，翻开女儿寄来的书。那本书讲的是星星，而他比作者更熟悉它们，不过他喜欢里面的图画。晴朗的夜"
    "里，他会放下书，仰望天空，直到茶凉了才想起来，于是笑自己：四十年来，天天如此。"
)
POEM = (
    "Sleep, little river, sleep,\nThe moon is on the hill,\nThe fields are dark and deep,\n"
    "The mill is standing still.\n\nSleep, little river, sleep,\nThe owl is on the wing,\n"
    "The reeds your secrets keep,\nUntil the thrushes sing.\n\nSleep, little river, sleep."
)
CHINESE_POEM = "小船轻轻摇，\n月儿弯弯照。\n小船轻轻摇，\n鱼儿水中跳。\n奶奶唱着歌，\n宝宝睡着了。"
DIALOGUE = (
    "Anna:\nAre you coming?\nTom:\nYes.\nAnna:\nWhen?\nTom:\nSoon.\nAnna:\nHow soon?\nTom:\nVery.\n"
    "Anna:\nAnd your brother?\nTom:\nHe is still looking for his shoes.\nAnna:\nAgain!"
)
CHINESE_DIALOGUE = (
    "“你去吗？”\n“去。”\n“什么时候？”\n“马上。”\n“带上伞吧，外面下雨了。”\n“知道了。”"
)
TALE = (
    "The hen asked, “Who will help me plant the wheat?” “Not I,” said the dog. “Not I,” said the "
    "cat. “Not I,” said the pig. So the hen planted it herself. When the wheat was tall she asked, "
    "“Who will help me cut it?” “Not I,” said the dog. “Not I,” said the cat. “Not I,” said the "
    "pig. So the hen cut it herself, and carried it to the mill, and baked a loaf that the whole "
    "farm could smell. “Who will help me eat it?” Everyone came running, but she had ten chicks."
)
WORDS = [
    f"{a}{b}{c}" for a in ("bra", "te", "ko") for b in ("li", "mu", "sa") for c in ("n", "dor")
]


def shuffled(words: list[str], count: int) -> str:
    """Words in no order."""
    return " ".join(random.Random(1).choices(words, k=count))


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        CHINESE,
        POEM,
        CHINESE_POEM,
        DIALOGUE,
        CHINESE_DIALOGUE,
        TALE,
        ENGLISH + "\n\n" + CHINESE,
        "".join(f"Playfish {clause}，" for clause in CHINESE.split("，")) + "。",
        "道可道，非常道。名可名，非常名。",
        "- Wash the rice.\n- Boil the water.\n- Add salt and stir.\n\nServe it while it is hot.",
        "Der alte Mann stieg jeden Abend die Treppe hinauf und zählte dabei die Stufen. " * 1,
        "Старый смотритель маяка каждый вечер поднимался по лестнице и считал ступени.",
        "The formula is E = mc², where m is the mass and c the speed of light.",
        "नमस्ते दुनिया, यह एक छोटी सी कहानी है जो मैंने कल लिखी थी।",
    ],
)
def test_good_texts_stay(text: str) -> None:
    assert quality_problem(text, LIMITS) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too short", "Just five words are here."),
        ("too short", "太短了。"),
        (
            "lost characters",
            "The caf\ufffd was closed, and so was the th\ufffdatre next to it today.",
        ),
        ("lost characters", "这段文字锟斤拷里面有很多锟斤拷已经丢失的字，读起来锟斤拷很困难。"),
        ("lorem ipsum", "The page begins: Lorem ipsum dolor sit amet, and so on to the end of it."),
        ("few letters", "| 12.50 | 13.75 | 99.10 | 4 x 5 | a b c d e f g h | 77 | 12 | 55 |"),
        ("few letters", "价格：12.50 / 13.75 / 99.10 / 100.25 / 77.30 元，共计八件衣服。"),
        ("many symbols", "#sun #sea #fun we are on the beach #holiday #love #summer #happy today"),
        ("odd word length", "a b c d e f g h i j k l m n o p q r s t u v w x y z"),
        ("odd word length", "antidisestablishmentarianism " * 25),
        ("no stop words", f"{shuffled(WORDS, 130)}."),
        ("no stop words", "电脑手机键盘屏幕硬盘内存主板显卡" * 15),
        ("no end of a sentence", ENGLISH.replace(".", ",") * 2),
        ("bullet lines", "\n".join(f"• item {word} of the list" for word in WORDS[:9])),
        (
            "lines that end with an ellipsis",
            "The mayor of the town said today that the old bridge will be...\n"
            "A small dog was found on the bank of the river, and it is...\n"
            "The weather will be warm and dry until the end of this...\nMore of this on Monday.",
        ),
        ("lines without punctuation", "\n".join(f"Cheap {word} for sale" for word in WORDS[:12])),
        ("repeated lines", "Buy it now, it is good.\n" * 5 + "We sell shoes of all kinds."),
        (
            "repeated lines (by characters)",
            "A long line that stands here two times, and so fills this text with itself.\n" * 2
            + "Short one.\nAnother.\nAnd more.\nEnd.",
        ),
        (
            "one run of words again and again",
            " ".join(f"best shoes are {word} and" for word in WORDS * 3) + ".",
        ),
        ("one run of words again and again", "".join(f"便宜手机{c}的是" for c in CHINESE[:100])),
        ("repeated runs of words", f"{ENGLISH} {ENGLISH}"),
        ("repeated runs of words", CHINESE * 2),
    ],
)
def test_each_rule_drops_what_it_is_for(reason: str, text: str) -> None:
    assert quality_problem(text, LIMITS) == reason


def test_options_add_rules_and_switch_all_off() -> None:
    assert quality_problem(ENGLISH, QualityLimits(max_words=50)) == "too long"
    assert (
        quality_problem("A { is a curly bracket in C and in some other languages.", LIMITS) is None
    )
    code = quality_problem(
        "A { is a curly bracket in C and in some other languages.",
        QualityLimits(drop_curly_brackets=True),
    )
    assert code == "curly bracket"
    assert quality_problem("", QualityLimits(quality_rules=False)) is None


def test_wrong_limits_are_told() -> None:
    problems = QualityLimits(min_letters=1.5, min_words=-1).problems()
    assert len(problems) == 2
    assert not QualityLimits().problems()


@pytest.mark.parametrize(("language", "most"), [("en", 0.004), ("zh", 0.003)])
def test_hardly_any_good_text_is_dropped(shared_data: Path, language: str, most: float) -> None:
    texts = [text for _, text in read_texts(shared_data / f"pretrain_{language}.jsonl")][::20]
    dropped = [text for text in texts if quality_problem(text, LIMITS)]
    assert len(dropped) <= most * len(texts) + 1
