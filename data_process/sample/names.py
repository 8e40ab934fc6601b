"""Names built from pieces, so that a model learns to copy a name and not to remember it."""

import random

# No ending is the beginning of another, so no name is the beginning of another.
STARTS_EN = (
    "Ma Mi Mo Lu Le La Ta Ti To Ka Ke Ki Ro Ra Re Sa Se So Na Ne No Da De Do Be Bo Fe Ja Jo Pe "
    "Za Ze Vi El Al Or"
)
ENDINGS_EN = (
    "ra la na lin ren ro ko vin mo sa rin dan bel nor ta lo mi nia don len sen zo di "
    "wen ley ton mar"
)
NOT_NAMES_EN = ("Data", "Beta", "Demo", "Memo", "Solo", "Limo", "Total", "Elmar", "Jodi")
GIRL_ENDINGS = ("a", "mi", "bel", "di", "ley")

SURNAMES_ZH = tuple("王李张刘陈杨赵周吴徐孙朱郭何罗郑")
STARTS_ZH = tuple("小阿明天乐子安思文雨晓佳志家春国美玉心云海东星冬如梦诗若浩俊宇")
ENDINGS_ZH = tuple("明红华强丽芳杰涛婷玲辉刚燕琳宁萍龙豪轩怡彤涵然佳琪瑶航博敏娜")
# These are ordinary words and not names.
NOT_NAMES_ZH = (
    "美丽",
    "安宁",
    "天然",
    "国强",
    "心明",
    "天明",
    "国明",
    "海龙",
    "国龙",
    "小龙",
    "海燕",
)

HELD_OUT_NAMES = 120  # per language


def english_names() -> list[str]:
    """All English names, in a fixed order."""
    names = [start + ending for start in STARTS_EN.split() for ending in ENDINGS_EN.split()]
    return [name for name in names if name not in NOT_NAMES_EN]


def chinese_names() -> list[str]:
    """All Chinese given names of two characters, in a fixed order."""
    names = [a + b for a in STARTS_ZH for b in ENDINGS_ZH if a != b]
    return [name for name in names if name not in NOT_NAMES_ZH]


def split_names(language: str, rng: random.Random) -> tuple[list[str], list[str]]:
    """Names for training, and held-out names, which training files never use."""
    names = english_names() if language == "en" else chinese_names()
    rng.shuffle(names)
    return names[HELD_OUT_NAMES:], names[:HELD_OUT_NAMES]


def draw_name(names: list[str], language: str, rng: random.Random) -> str:
    """One name; a third of the Chinese names carry a surname."""
    name = rng.choice(names)
    if language == "zh" and rng.random() < 0.33:
        return rng.choice(SURNAMES_ZH) + name
    return name


def is_girl(name: str) -> bool:
    """Whether stories call this English name "she": it depends on the ending alone."""
    return name.endswith(GIRL_ENDINGS)
