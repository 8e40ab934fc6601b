"""Lines that belong to a page go; prose that speaks of the same, or in as few words, stays."""

from __future__ import annotations

import pytest

from data_process.cleaning.boilerplate import (
    PLACES,
    is_countable,
    line_key,
    rule_of,
    rules,
    without_boilerplate,
)

STORIES = (
    ("It rained all day, and the children read.", "Then the sun came out, and they ran."),
    ("那天下了一整天的雨，孩子们在看书。", "后来太阳出来了，大家都跑了出去。"),
)
ANYWHERE = """\
Skip to main content
Click here to download the file
Read more about our history »
Share this on Facebook
Follow us on Instagram
Subscribe to our newsletter
Sign up for our weekly newsletter!
© 2019 The Daily Example. All rights reserved.
© Example Press
Copyright 2021 Example Ltd
All rights reserved.
This website uses cookies to improve your experience.
We use cookies to give you the best experience on our website.
By continuing to use this site you agree to our use of cookies.
Please enable JavaScript to view the comments.
Powered by WordPress
Photo credit: Jane Doe
Home | News | Contact us
About us | Contact us | Privacy Policy
点击查看更多精彩内容
请点击这里下载客户端
上一章 目录 下一章
版权所有 © 2020 某某网站
本网站版权所有，未经许可不得转载。
未经书面授权同意不得转载
转载请注明出处
著作权归作者所有。商业转载请联系作者获得授权。
欢迎关注我们的微信公众号
扫描二维码下载客户端
分享到微博
联系我们 | 关于我们 | 网站地图
京ICP备12345678号
本站所有资源来自网络，如有侵权请联系我们。
（本章完）
【未完待续】
求推荐票！
求收藏，求月票，求推荐！！！
跪求各位书友的月票支持
PS：今天两更送上，求月票，求打赏！
PS: 感谢盟主“山谷”的支持
第二更送到！
感谢书友“小河”打赏的五百起点币
天才一秒记住本站地址
喜欢山谷的人请大家收藏：山谷的人更新速度最快。""".splitlines()
AT_THE_END = """\
Read more
Continue reading the rest of this story
Leave a comment
Related articles
Back to top
Privacy Policy
Last updated: 3 May 2020
Tags: river, mill
阅读全文
上一篇：春天的故事
返回首页
相关阅读
责任编辑：张三
来源：新华网
标签：美食 旅游""".splitlines()
IN_A_BLOCK = (
    "Home\nNews\nSearch",
    "Log in\nSign up\nSubscribe",
    "Share\n\nTweet\n\n3 comments",
    "Home\nThe Valley\nSports\nContact us\nSubscribe",
    "首页\n登录\n注册",
    "分享\n收藏\n打印\n关闭",
)
PROSE = """\
Continue reading until the lamp goes out
感谢武林盟主的救命之恩
附：历代武林盟主名录
Home.
Home
home
Next!
“Next!”
Back.
Close the door.
Search parties went out at dawn.
Print
Menu: soup, fish, pie
Menu
The menu had three kinds of soup.
ADVERTISEMENT
Download
Log in
We ate all the cookies that Grandma had made.
We use cookies to decorate the tree.
By using this lane you save an hour, and the cookies are still warm.
Our website was down all day.
She baked cookies for the whole class, and everyone loved them.
Follow this road until you come to the mill.
Share this with your brother, and do not fight.
Share this bread with us.
Like this one, the next house had no roof.
Pin this note to the door.
Read more books and watch less television.
Read more.
Learn more about the stars from your uncle.
See all the pretty horses
Show more courage than he did.
Back to the mountains we went.
Back to the list of things she had to do
Subscribe to the idea that all men are equal.
Sign up for the choir before Friday.
Sign in, please, said the porter.
Contact us if the baby comes early.
You may also like the cheese, said the mouse.
Powered by steam
Powered by love, she ran on.
Copyright is a right of authors.
Copyright by itself does not protect an idea.
© is the sign of copyright.
He kept all rights reserved.
(c) 2010
Tags: the red ones cost two coins!
Tap here to hear the water behind the wall.
Click below the stone, and you hear water.
Skip to my Lou, my darling
Leave a reply with the maid.
Continue reading, said the teacher.
3 comments were all he made.
- 12 -
12 May 1877
Chapter 3
ROMEO:
ROMEO: Home.
JULIET: Reply!
Dear Anna,
Yours, Tom
2 cups of flour
1. Print the form.
* * *
P.S. Bring the letter with you.
JavaScript is a language.
Recent news from the village
Terms of endearment
Loading the cart took an hour.
A | B
1 | 2 | 3
Date | Home | Report
记者：村里人怎么看？
记者：你好
作者：没有。
编辑：这稿子不行。
作者：鲁迅
来源：水是生命之源。
分享
分享给大家一个好消息。
评论
首页
目录
目录学是研究图书分类的学问。
更多的人走上了街头。
登录月球是人类的梦想。
点击右上角的按钮，然后选择设置。
关注微信公众号的人越来越多。
他关注这条河已经三十年了。
请关注微信群里的通知。
他用手机扫描二维码，门就开了。
本站所有列车均已停运。
未经许可，不得使用这间屋子。
一些网站未经授权转载了他的文章。
这本书的版权所有人是他的女儿。
他说他保留所有权利。
上一次见面，还是在去年冬天。
下一章会更精彩吗？
返回首页的路很长。
回到顶部的时候，天已经亮了。
推荐信我已经寄出了。
求收藏家转让这幅画。
求月票的人排成了长队。
求你了！
“求推荐票！”他学着作者的口气说。
PS：记得带上推荐信。
感谢大家的帮助。
第三更，打更人走过小巷。
未完待续的故事最动人。
标签：红的两块，蓝的三块。
阅读全文后，请回答下列问题。
手机用户越来越多。
喜欢的人请大家收藏好回忆。
罗密欧：回复！
发布时间到了，大家都很紧张。
2020年5月3日
第一回""".splitlines()
BLOCKS_OF_PROSE = (
    "Home\nis where\nthe river\nsleeps",
    "“Home?”\n“Back?”\n“Next?”",
    "Home.\nBack.\nSearch.",
    "The page has a menu with these entries:\nHome\nSearch\nContact us",
    "小河\n小桥\n回复\n小船",
    "记者：你好\n作者：你好\n记者：谢谢\n编辑：再见",
    "Anna:\nHome\nTom:\nHome\nAnna:\nBack",
)


def with_line(line: str, place: str) -> list[str]:
    """Stories in English and Chinese with a line at their beginning, in the middle, at the end."""
    orders = {"start": "{2}\n\n{0}\n{1}", "middle": "{0}\n{2}\n{1}", "end": "{0}\n{1}\n\n{2}"}
    return [orders[place].format(*story, line) for story in STORIES]


@pytest.mark.parametrize("line", ANYWHERE)
def test_lines_of_one_meaning_go_wherever_they_stand(line: str) -> None:
    for place in ("start", "middle", "end"):
        for text in with_line(line, place):
            left, removed = without_boilerplate(text)
            assert [found.line for found in removed] == [line]
            assert line not in left


@pytest.mark.parametrize("line", AT_THE_END)
def test_footers_go_at_the_end_only(line: str) -> None:
    for text in with_line(line, "end"):
        assert [found.line for found in without_boilerplate(text)[1]] == [line]
    for text in (*with_line(line, "middle"), *with_line(line, "start")):
        assert without_boilerplate(text) == (text, ())


@pytest.mark.parametrize("block", IN_A_BLOCK)
def test_words_of_menus_go_in_a_block(block: str) -> None:
    for place in ("start", "middle", "end"):
        for text in with_line(block, place):
            removed = {found.line for found in without_boilerplate(text)[1]}
            assert removed == {line for line in block.split("\n") if line} - {
                "The Valley",
                "Sports",
            }


@pytest.mark.parametrize("line", [*PROSE, *BLOCKS_OF_PROSE])
def test_prose_stays_wherever_it_stands(line: str) -> None:
    for place in ("start", "middle", "end"):
        for text in with_line(line, place):
            assert without_boilerplate(text) == (text, ())


def test_bylines_go_with_a_footer_only() -> None:
    footer = "作者：张三\n责任编辑：李四"
    assert without_boilerplate(f"{STORIES[1][0]}\n{footer}")[0] == STORIES[1][0]
    assert without_boilerplate(f"{STORIES[1][0]}\n作者：张三")[1] == ()


def test_patterns_can_be_edited_and_none_matches_an_empty_line() -> None:
    pattern, in_order = rules()
    assert {rule.place for rule in in_order} == set(PLACES)
    assert not pattern.fullmatch("")
    assert rule_of("") is None


def test_lines_are_taken_out_with_number_and_rule() -> None:
    text = "Home | News | Contact us\n\nIt rained.\n\nShare this on X\n\nThen the sun came."
    left, removed = without_boilerplate(text)
    assert left == "It rained.\n\nThen the sun came."
    assert [tuple(line) for line in removed] == [
        (1, "Home | News | Contact us", "navigation"),
        (5, "Share this on X", "sharing"),
    ]
    untouched = "It rained.\n\n\n\nIt stopped."
    assert without_boilerplate(untouched) == (untouched, ())


def test_repeated_lines_go_whatever_their_numbers() -> None:
    repeated = {line_key("Issue 12 of the Valley Gazette")}
    text = "Issue 13 of the Valley Gazette\nThe mayor spoke."
    left, removed = without_boilerplate(text, repeated)
    assert left == "The mayor spoke."
    assert [line.rule for line in removed] == ["in many documents"]


def test_short_lines_and_speakers_are_not_counted() -> None:
    assert is_countable("Subscribe to the Gazette")
    assert is_countable("订阅我们的山谷日报")
    assert not is_countable("Yes, please.")
    assert not is_countable("The Queen of the Night:")
    assert not is_countable("a long line " * 20)
