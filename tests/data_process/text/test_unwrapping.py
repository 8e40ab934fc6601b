"""Wrapped prose becomes one line a paragraph; verse, lists, plays and dialogues stay."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_process.text.unwrapping import unwrapped, unwrapped_blocks

ENGLISH = (
    "The keeper of the lighthouse climbed the stairs every evening, and counted them as he went; "
    "there were always a hundred and twelve. From the top he could see the whole bay: the boats "
    "that were coming home, the children on the quay, and far away the first light of the city.",
    "When the lamp was lit, he made himself a pot of tea and opened the book that his daughter had "
    "sent him. It was about the stars, which he knew better than its author.",
    "“You should come home,” she wrote in the well-known small letters, “before the winter.”",
)
GERMAN = (
    "Der alte Mann stieg jeden Abend die Treppe zum Turm hinauf und zählte dabei die Stufen. Oben "
    "sah er die ganze Bucht, die Boote der Fischer, die Kinder am Ufer und das Licht der Stadt. "
    "Wenn die Lampe brannte, kochte er sich einen Tee und schlug das Buch auf, das ihm seine "
    "Tochter geschickt hatte; es handelte von den Sternen, und die kannte er besser als alle.",
)
CHINESE = (
    "看守灯塔的老人每天傍晚都要爬上楼梯，一边走一边数台阶，不多不少，总是一百一十二级。站在塔顶，他能"
    "望见整个海湾：归来的渔船，码头上等候的孩子，还有远处城市里最早亮起的灯火。",
    "点亮了灯，他就给自己泡一壶茶，翻开女儿在1998年寄来的书。那本书讲的是星星，而他比作者更熟悉它们，"
    "不过他喜欢里面的图画，晴朗的夜里会放下书仰望天空。",
)
STAYS = (
    "Sleep, little river, sleep,\nThe moon is on the hill,\nThe fields are dark and deep,\n"
    "The mill is standing still.",
    "What shall I say of him who built the bridge and never crossed,\n"
    "Who laid the stones in winter and forgot them in the spring,\n"
    "Whose name is on no tablet and whose trowel long was lost,\n"
    "But whom the water thanks at night in every song we sing?",
    "the bridge that we crossed in the dark is gone\nand the man with the lamp\n"
    "and the mill and the long road down to the river at the end of the town\nis gone too\n"
    "and nobody asks where the water was going when we came",
    "春江潮水连海平，\n海上明月共潮生。\n滟滟随波千万里，\n何处春江无月明。",
    "ANNA:\nAre you coming down to the river with us tonight?\nTOM:\nYes.\nANNA:\nWhen?\nTOM:\n"
    "When the lamp in the tower is lit, and no earlier.",
    "- two cups of flour from the mill, and one of sugar\n- three eggs from the yellow hen, fresh\n"
    "- a spoon of salt, and no more than that, please\n- as much milk as the dough will take up",
    "1. Wash the rice under cold water until it is clear\n2. Boil the water with a spoon of salt\n"
    "3. Stir the rice into the pot, and cover it with a lid\n4. Wait until all the water is gone",
    "Dear Anna,\n\nthe boat has come in and I am well.\n\nYours,\nTom\n12 May 1877",
    "“你去吗？”\n“去。”\n“什么时候？”\n“马上。”\n“带上伞吧，外面下雨了。”\n“知道了。”",
    "for name in names:\n    print(name)\n    if name == 'Anna':\n        break\n\nreturn names",
    "",
    "\n\n",
    "One line.",
    "\n".join(
        f"2020-01-{day} 12:00:00 INFO the server in the tower has started" for day in range(10, 30)
    ),
    "\n".join(
        f"https://example.org/books/of/the/lighthouse/page-{number}" for number in range(10, 40)
    ),
    "\n".join(
        f"anna,lighthouse,anna{number}@example.org,2020-01-01,active" for number in range(10, 40)
    ),
)


def wrapped(paragraphs: tuple[str, ...], width: int, between: str) -> str:
    """Paragraphs as a program wraps them; Chinese between any two characters."""
    if paragraphs is CHINESE:
        lines = [[p[i : i + width] for i in range(0, len(p), width)] for p in paragraphs]
    else:
        lines = [textwrap.wrap(paragraph, width) for paragraph in paragraphs]
    return between.join("\n".join(of_one) for of_one in lines)


WIDTHS = [(ENGLISH, range(56, 90)), (GERMAN, range(56, 81)), (CHINESE, range(28, 45))]


@pytest.mark.parametrize(("paragraphs", "widths"), WIDTHS)
def test_wrapped_prose_is_one_line_a_paragraph(paragraphs: tuple[str, ...], widths: range) -> None:
    flat = "\n\n".join(paragraphs)
    assert unwrapped(flat) == flat
    for width in widths:
        assert unwrapped(wrapped(paragraphs, width, "\n\n")) == flat


@pytest.mark.parametrize(("paragraphs", "widths"), WIDTHS)
def test_without_blank_lines_no_line_of_a_paragraph_is_left(
    paragraphs: tuple[str, ...], widths: range
) -> None:
    for width in widths:  # a paragraph whose last line is full cannot be told from a wrap
        text = unwrapped(wrapped(paragraphs, width, "\n"))
        assert text.replace("\n", " ").replace("。 ", "。") == " ".join(paragraphs).replace(
            "。 ", "。"
        )
        assert all(line.endswith(tuple(".。”")) for line in text.split("\n"))


def test_lines_that_keep_their_space_get_no_second_one() -> None:
    text = wrapped(ENGLISH, 70, "\n\n").replace("\n", " \n").replace(" \n \n", "\n\n")
    assert unwrapped(text) == "\n\n".join(ENGLISH)


def test_a_first_line_may_be_indented() -> None:
    text = "\n".join(textwrap.fill(p, 70, initial_indent="    ") for p in ENGLISH)
    assert unwrapped(text) == "\n".join(f"    {p}" for p in ENGLISH)


@pytest.mark.parametrize("text", [*STAYS, *ENGLISH, "\n".join(ENGLISH), "\n".join(CHINESE)])
def test_what_was_not_wrapped_stays(text: str) -> None:
    assert unwrapped(text) == text
    assert unwrapped(f"\n{text}\n") == f"\n{text}\n"


@pytest.mark.parametrize("verse", STAYS[:4])
def test_verse_stays_among_wrapped_prose(verse: str) -> None:
    text = f"{wrapped(ENGLISH, 70, chr(10) * 2)}\n\n{verse}\n\n{wrapped(ENGLISH, 70, chr(10) * 2)}"
    prose = "\n\n".join(ENGLISH)
    assert unwrapped(text) == f"{prose}\n\n{verse}\n\n{prose}"


def test_a_long_text_is_unwrapped_in_blocks() -> None:
    paragraphs = tuple(f"{number}. {p}" for number in range(600) for p in ENGLISH)
    text = wrapped(paragraphs, 70, "\n\n")
    chunks = [text[at : at + 777] for at in range(0, len(text), 777)]
    assert "".join(unwrapped_blocks(chunks)) == "\n\n".join(paragraphs)
    assert "".join(unwrapped_blocks([text])) == "\n\n".join(paragraphs)
    one_line = "word " * 2_000_000
    assert "".join(unwrapped_blocks([one_line, one_line])) == one_line * 2


@settings(deadline=None, max_examples=300)
@given(st.text('aB中，." \n-1　', max_size=400))
def test_only_white_space_changes(text: str) -> None:
    assert "".join(unwrapped(text).split()) == "".join(text.split())
    assert "".join("".join(unwrapped_blocks([text])).split()) == "".join(text.split())
