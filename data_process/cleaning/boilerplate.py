"""Lines that are no part of a text: navigation, copyright, cookies, calls to click and share.

A line is boilerplate only as a whole and only when it is short; a sentence that speaks of cookies
stays.
"""

from __future__ import annotations

import re
from collections.abc import Container
from hashlib import blake2b

LONGEST_LINE = 160
"""Longer lines are prose, in characters."""

ENGLISH = r"""
    skip\ to\ (?:main\ )?(?:content|navigation) .{0,20}
  | (?:click|tap)\ (?:here|below|the\ link)\b (?:\ (?:to|for)\b .{0,60})?
  | (?:read|learn|see|show|view|load)\ (?:more|all|less)
      (?:\ (?:about|here|news|posts|articles|comments|results)\b.{0,40})?
  | continue\ reading\b .{0,80}
  | (?:share|tweet|pin|like|follow)\ (?:this|(?:us\ )?(?:on|via|at))\b .{0,60}
  | (?:share|tweet|email|print|reply|permalink|report|log\ ?in|log\ ?out|sign\ (?:in|up|out)
      |register|subscribe|menu|search|home|back|next|previous|close|advertisements?
      |sponsored(?:\ content)?|loading|download)
  | (?:sign\ up|subscribe)\ (?:to|for|now|today|here)\b .{0,80}
  | (?:leave|post|add|write)\ a\ (?:comment|reply|review) .{0,30}
  | \d+\ (?:comments?|shares?|likes?|views?|replies)
  | (?:all\ rights\ reserved) .{0,60}
  | (?:copyright\b|\(c\)|©) .{0,90}
  | .{0,60} \ball\ rights\ reserved\.?
  | (?:privacy|cookie)\ (?:policy|statement|settings|notice) .{0,60}
  | terms\ (?:of\ (?:use|service)|(?:and|&)\ conditions) .{0,60}
  | (?:this|our)\ (?:web)?site\ uses\ cookies .{0,100}
  | (?:we|by\ (?:using|continuing))\ .{0,60}\bcookies\b .{0,60}
  | .{0,40}\b(?:enable|requires|turn\ on)\ javascript\b .{0,60}
  | javascript\ .{0,40}\b(?:disabled|enabled|required) .{0,60}
  | (?:related|recommended|popular|recent|latest)\ (?:posts?|articles?|stories|news|reading|topics)
  | (?:you\ may|you\ might)\ also\ (?:like|enjoy|be\ interested) .{0,40}
  | powered\ by\ .{1,40}
  | (?:last\ (?:updated|modified)|posted\ (?:by|on|in)|filed\ under|tags?|categories|category
      |photo\ credit|image\ credit)\s?: .{0,90}
  | back\ to\ (?:the\ )?(?:top|home|list|main) .{0,20}
  | (?:contact|about)\ us
  | (?:add|added)\ to\ (?:cart|basket|wishlist|favou?rites)
"""
CHINESE = r"""
    (?:请|欢迎)?(?:点击|单击|点选|點擊)(?:这里|此处|此|下方|上方|链接|图片|查看|阅读|进入|下载
      |下載|观看|展开|加载|关注|「|“|【|蓝字|右上角).{0,30}
  | (?:阅读|查看|展开|閱讀|浏览)(?:全文|原文|更多|详情|剩余).{0,15}
  | 加载(?:更多|中).{0,6}
  | (?:上|下)一(?:篇|页|章|頁|条|则)(?:[:：].{0,50})?
  | (?:返回|回到|返|回)(?:首页|顶部|列表|目录|上页|上一页|首頁|頂部|主页|书页).{0,6}
  | .{0,40}(?:版权所有|版權所有|版权声明|保留所有权利|著作权归).{0,60}
  | .{0,20}(?:未经|未經)(?:.{0,10})(?:授权|许可|允许|書面授權|同意).{0,8}(?:转载|不得|禁止|严禁
      |使用).{0,40}
  | (?:转载|引用)(?:请|须|时|需)(?:注明|联系).{0,50}
  | (?:责任编辑|责编|本文编辑|编辑|编审|校对|审核|作者|来源|本文来源|文章来源|图片来源|稿源|记者
      |通讯员|原标题|发布时间|更新时间|发表于|浏览次数|阅读量|点击数|字号)\s?[:：].{0,40}
  | .{0,20}(?:关注|關注|添加|搜索)(?:我们的?|本站|下方)?.{0,10}(?:微信|公众号|公眾號|微博
      |抖音).{0,30}
  | .{0,15}(?:扫|掃)(?:一扫|描|码).{0,8}(?:二维码|二維碼|关注|下载|加入|添加).{0,25}
  | (?:分享|转发|轉發|收藏|推荐)(?:到|至|给|本文|本页|本站|此文).{0,30}
  | (?:分享|收藏|打印|举报|评论|登录|登入|注册|首页|搜索|关闭|导航|菜单|广告|更多|回复|点赞|下载
      |上一页|下一页|顶部|目录)
  | (?:打印|关闭|收藏|推荐)(?:本页|窗口|此页|页面|本站|本文).{0,10}
  | (?:联系我们|关于我们|网站地图|友情链接|法律声明|隐私政策|用户协议|免责声明|服务条款|意见反馈
      |客服中心|广告服务|招聘信息|人才招聘|设为首页|加入收藏)(?:[\s|｜·/-].{0,80})?
  | (?:相关|热门|猜你喜欢|推荐|精彩|最新)(?:阅读|文章|推荐|新闻|链接|内容|评论|资讯|专题|标签)
  | .{0,40}(?:京|沪|粤|浙|苏|鲁|川|渝|津|闽|湘|鄂|皖|豫|冀|晋|陕|辽|吉|黑|桂|琼|赣|贵|云|藏|甘
      |青|宁|新|蒙)(?:ICP备|ICP证|公网安备).{0,40}
  | (?:标签|关键词|分类|栏目|关键字|tags?)\s?[:：].{0,60}
  | 本站(?:所有|部分|提供|内容|资源|文章).{0,80}
"""
BOILERPLATE = re.compile(rf"(?:{ENGLISH}|{CHINESE})[.!。！…»>→\s]*", re.VERBOSE | re.IGNORECASE)
EDGES = '-=*#|•·►▶»>←→[]【】()（）"“” \t\u3000'
SEPARATOR = re.compile(r"\s*[|｜»›·•/>]\s*|\s{2,}|\u3000")


def without_boilerplate(text: str, repeated: Container[str] = ()) -> tuple[str, int]:
    """A text without its boilerplate lines, and how many those were.

    Args:
        text: the text.
        repeated: `line_key` of the lines that stand in many documents.
    """
    lines = text.split("\n")
    kept = [line for line in lines if not is_boilerplate(line, repeated)]
    if len(kept) == len(lines):
        return text, 0
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")
    return joined, len(lines) - len(kept)


def is_boilerplate(line: str, repeated: Container[str] = ()) -> bool:
    """Whether a line is no part of the text it stands in."""
    if len(line) > LONGEST_LINE or not line or line.isspace():
        return False
    core = line.strip(EDGES)
    if BOILERPLATE.fullmatch(core) or is_menu(core):
        return True
    return bool(repeated) and is_countable(line) and line_key(line) in repeated


def is_countable(line: str) -> bool:
    """Whether a line that stands in many documents is boilerplate: not a short answer of a
    dialogue, nor the name of who speaks."""
    line = line.strip()
    length = len(line) if line.isascii() else 2 * len(line)
    return length >= 16 and len(line) <= LONGEST_LINE and not line.endswith((":", "："))


def is_menu(line: str) -> bool:
    """Whether a line is a row of links: `Home | News | Contact us`."""
    if not any(mark in line for mark in "|｜»›·•"):
        return False
    items = [item for item in SEPARATOR.split(line) if item]
    links = sum(BOILERPLATE.fullmatch(item) is not None for item in items)
    return len(items) >= 3 and links * 2 >= len(items)


def line_key(line: str) -> str:
    """What a line is known by when it is counted in many documents; numbers in it do not count."""
    plain = re.sub(r"\d+", "0", line.strip().lower())
    return blake2b(plain.encode("utf-8"), digest_size=8).hexdigest()
