"""Web pages are read as what they show, in the encoding that they state; Markdown as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config import UserError
from data_process.pipeline.chain import find_inputs
from data_process.running.workers import Execution
from data_process.text.files import text_chunks, text_parts
from data_process.text.splitting import SplitSettings, split
from data_process.text.web import page_text

PAGE = """<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>
<html><head><title>T</title><style>a {}</style></head><body>
<header><a href="/">Home</a></header><nav><ul><li><a>A</a><li><a>B</a></ul></nav>
<div class="menu"><a>One</a> | <a>Two</a> | <a>Three</a></div>
<h1>The  old
 mill</h1><p>A <b>bold</b>,&nbsp;<i>nice</i> day &amp; night.<br>The miller&#8217;s line.</p>
<ul><li>one <a href="x">link</a></li><li><p>two</p></li></ul><ol><li>a<li>b</ol>
<pre><code>def f(x):
    return  [[x]]  # &lt;b&gt;

</code></pre>
<table><tr><th>Name<th>Age</tr><tr><td>Bob</td><td>5</td></tr></table>
<script>var x = "<p>no</p>";</script><!-- no --><button>Buy</button>
<p>See <a>a</a>, <a>b</a>, <a>c</a>.</p><footer>(c) 2020</footer></body></html>"""
TEXT = """The old mill

A bold, nice day & night.
The miller’s line.

- one link
- two

1. a
2. b

def f(x):
    return  [[x]]  # <b>

Name | Age
Bob | 5

See a, b, c."""


def test_a_page_is_its_text_without_what_surrounds_it() -> None:
    assert page_text(PAGE) == TEXT


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("", ""),
        ("plain text only", "plain text only"),
        ("<p>a<p>b", "a\n\nb"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<p>1 < 2 & 3</p>tail <b>y</b>z", "1 < 2 & 3\n\ntail yz"),
        ("<p>out</p><main><p>The story is in here.</p></main>", "The story is in here."),
        ("<p>A long story, and</p><main>x</main>", "A long story, and\n\nx"),
        ("<article>x</article><article>y</article>", "x\n\ny"),
        (
            "<table><tr><td><p>Two</p></td><td><div>columns</div></td></tr></table>",
            "Two\n\ncolumns",
        ),
        ("<ruby>字<rp>(</rp><rt>じ</rt><rp>)</rp></ruby>", "字(じ)"),
        ("<header><h1>Title</h1></header><p hidden>no</p>", "Title"),
        ("<p>\x01a\x02</p>", "a"),
        ("<pre>\n a\n\n\n  b\n</pre>c", " a\n\n\n  b\n\nc"),
    ],
)
def test_any_page_has_a_text(page: str, text: str) -> None:
    assert page_text(page) == text


def test_a_page_that_is_nested_too_deep_is_refused_by_name(tmp_path: Path) -> None:
    deep = "<html><p>First.</p>{}Deep.{}<p>Last.</p></html>"
    assert page_text(deep.format("<div>" * 1500, "</div>" * 1500)) == "First.\n\nDeep.\n\nLast."
    path = tmp_path / "deep.html"
    path.write_text(deep.format("<b>" * 3000, "</b>" * 3000), encoding="utf-8")
    with pytest.raises(UserError, match=r"deep\.html: its elements are nested too deep"):
        text_parts(path, 1 << 20)


@pytest.mark.parametrize(
    ("stated", "encoding", "word"),
    [
        ("gb2312", "gb18030", "看守灯塔的老人"),
        ("Shift_JIS", "cp932", "灯台守の老人"),
        ("iso-8859-1", "cp1252", "“café”"),
        ("windows-1255", "cp1255", "שומר המגדלור"),
        ("utf-8", "utf_8", "“café”"),
        ("gb2312", "utf_8", "看守灯塔的老人"),
        ("utf-8", "utf_16", "“café”"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_states(
    tmp_path: Path, stated: str, encoding: str, word: str
) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(f'<html><meta charset="{stated}"><p>{word}</p></html>'.encode(encoding))
    (part,) = text_parts(path, 1 << 20)
    assert "".join(text_chunks(part)) == word


def test_pages_and_markdown_are_split_as_texts_are(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.html").write_text(PAGE, encoding="utf-8")
    (folder / "b.md").write_text("# Head\n\n* one [link](x)\n", encoding="utf-8")
    (folder / "c.HTM").write_text("<p>Short.</p>", encoding="utf-8")
    (folder / "d.pdf").write_text("no", encoding="utf-8")
    inputs = find_inputs([folder])
    assert [path.name for path in inputs.texts] == ["a.html", "b.md", "c.HTM"]
    assert [path.name for path in inputs.passed_over] == ["d.pdf"]
    split([folder], SplitSettings(), tmp_path / "work", Execution(workers=1))
    (main,) = (tmp_path / "work").rglob("main*")
    texts = [json.loads(line)["text"] for line in main.read_text(encoding="utf-8").splitlines()]
    assert texts == [TEXT, "# Head\n\n* one [link](x)\n", "Short."]


def test_a_page_of_another_encoding_than_it_states_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b'<meta charset="euc-jp"><p>' + "老人".encode("gb18030") + b"\xff</p>")
    with pytest.raises(UserError, match=r"a\.html:1: not text in euc_jp"):
        text_parts(path, 1 << 20)
    for name in (b"klingon", b"hex"):  # a codec, but not of text
        path.write_bytes(b'<meta charset="%s"><p>\xe4\xf6</p>' % name)
        with pytest.raises(UserError, match="which encoding"):
            text_parts(path, 1 << 20)
