"""Lines that belong to a page go; sentences that speak of the same things stay."""

from __future__ import annotations

import pytest

from data_process.cleaning.quality import (
    boilerplate,
    is_boilerplate,
    is_countable,
    line_key,
    without_boilerplate,
)


@pytest.mark.parametrize(
    "line",
    [
        "Skip to main content",
        "Click here to download the file",
        "Read more",
        "Read more about our history »",
        "Continue reading the rest of this story",
        "Share this on Facebook",
        "Log in",
        "Sign up",
        "Sign in",
        "Subscribe to our newsletter",
        "Leave a comment",
        "3 comments",
        "© 2019 The Daily Example. All rights reserved.",
        "Copyright 2021 Example Ltd",
        "Privacy Policy",
        "This website uses cookies to improve your experience.",
        "Please enable JavaScript to view the comments.",
        "Related articles",
        "Powered by WordPress",
        "Last updated: 3 May 2020",
        "Photo credit: Jane Doe",
        "Back to top",
        "Home | News | Contact us",
        "[ Print ]",
        "点击查看更多精彩内容",
        "阅读全文",
        "上一篇：春天的故事",
        "返回首页",
        "版权所有 © 2020 某某网站",
        "未经书面授权同意不得转载",
        "转载请注明出处",
        "责任编辑：张三",
        "来源：新华网",
        "欢迎关注我们的微信公众号",
        "扫描二维码下载客户端",
        "分享到微博",
        "联系我们 | 关于我们 | 网站地图",
        "相关阅读",
        "京ICP备12345678号",
        "标签：美食 旅游",
        "本站所有资源来自网络",
    ],
)
def test_boilerplate_lines_are_found(line: str) -> None:
    assert is_boilerplate(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "She baked cookies for the whole class, and everyone loved them.",
        "The privacy of the family was more important to her than money.",
        "He asked her to read more books and to watch less television.",
        "Copyright law protects the authors of books, and it has done so for three hundred years; "
        "before that, printers copied what they liked, and nobody paid anyone for it.",
        "Home is where the heart is.",
        "Search parties went out at dawn.",
        "“Come back to me,” she said.",
        "The menu had three kinds of soup.",
        "他关注这条河已经三十年了。",
        "她把这个故事分享给了所有的孩子。",
        "作者在书里写了自己的童年。",
        "编辑部的灯一直亮到深夜。",
        "上一次见面，还是在去年冬天。",
        "目录学是研究图书分类的学问。",
        "更多的人走上了街头。",
        "床前明月光，疑是地上霜。",
        "A | B",
        "1 | 2 | 3",
    ],
)
def test_prose_is_not_boilerplate(line: str) -> None:
    assert not is_boilerplate(line)


def test_no_pattern_matches_an_empty_line() -> None:
    assert not boilerplate().fullmatch("")


def test_lines_are_taken_out_and_counted() -> None:
    text = "Home | News | Contact us\n\nIt rained.\n\nShare this on X\n\nThen the sun came."
    assert without_boilerplate(text) == ("It rained.\n\nThen the sun came.", 2)
    assert without_boilerplate("It rained.\n\n\n\nIt stopped.") == (
        "It rained.\n\n\n\nIt stopped.",
        0,
    )


def test_repeated_lines_go_whatever_their_numbers() -> None:
    repeated = {line_key("Issue 12 of the Valley Gazette")}
    text = "Issue 13 of the Valley Gazette\nThe mayor spoke."
    assert without_boilerplate(text, repeated) == ("The mayor spoke.", 1)


def test_short_lines_and_speakers_are_not_counted() -> None:
    assert is_countable("Subscribe to the Gazette")
    assert is_countable("订阅我们的山谷日报")
    assert not is_countable("Yes, please.")
    assert not is_countable("The Queen of the Night:")
    assert not is_countable("a long line " * 20)
