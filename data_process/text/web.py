"""The text of a web page: paragraphs, headings, lists, tables and code, without what surrounds
them on the page."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from lxml import etree, html

ENDINGS = (".html", ".htm", ".xhtml")
DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
CHARSET = re.compile(
    rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE
)
AS_BROWSERS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "gb2312": "gb18030",
    "gbk": "gb18030", "shift_jis": "cp932", "x-sjis": "cp932", "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949", "iso-8859-9": "cp1254", "tis-620": "cp874", "big5": "big5hkscs",
}  # fmt: skip
"""What browsers read for names that pages state, as the WHATWG's Encoding Standard says."""
NO_TEXT = (
    "//head|//script|//style|//noscript|//template|//nav|//aside|//footer|//form|//button|//select|"
    "//iframe|//object|//svg|//canvas|//audio|//video|//map|//*[@hidden]|//*[@aria-hidden='true']|"
    "//header[not(.//h1)]|//*[@role='navigation' or @role='banner' or @role='contentinfo' or "
    "@role='search' or @role='complementary']"
)
MENUS = frozenset(("ul", "ol", "div", "p", "table", "section"))
LINKS_OF_MENU, SHARE_OF_MENU = 3, 0.8
"""Links of a menu, and the share of its letters that is in them."""
SENTENCE_END = re.compile(r"[.!?。！？…]")
PLACE_SHARE = 0.25
"""Of the letters of a page, in the element that is said to be its article."""
BLOCKS = frozenset(
    (
        *("address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div"),
        *("dl", "fieldset", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hr", "html", "main", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot"),
        *("thead", "ul"),
    )
)
LINES = frozenset(("br", "tr", "dt"))
CODE = ("pre", "textarea")
WHITE = re.compile(r"[ \t\r\n\f]+")

AS_TYPED = {9: "\x01", 10: "\x02", 32: "\x03"}
"""What stands for the white space of code until the rest is tidy."""
TYPED = {1: "\t", 2: "\n", 3: " "}


def is_page(path: Path) -> bool:
    """Whether a file is a web page, by its name."""
    return path.suffix.lower() in ENDINGS


def declared_encoding(head: bytes) -> str:
    """The name of an encoding that a page states in its beginning; empty when it states none."""
    found = CHARSET.search(head[:2048])
    name = found[1].decode("ascii").lower() if found else ""
    return AS_BROWSERS.get(name, name)


def page_text(page: str) -> str:
    """The text of a page in HTML.

    Raises:
        ValueError: its elements are nested so deep that the parser ends there.
    """
    page = DECLARATION.sub("", page.translate(dict.fromkeys(TYPED)))
    if not page.strip():
        return ""
    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    root = html.document_fromstring(page, parser=parser)
    if parser.error_log.filter_types(etree.ErrorTypes.ERR_RESOURCE_LIMIT):
        raise ValueError("its elements are nested too deep, so its text would end there")
    for element in root.xpath(NO_TEXT):
        if element.getparent() is not None:
            element.drop_tree()
    drop_menus(root)
    text = "".join(pieces(article_of(root))).replace("\xa0", " ")
    text = re.sub(" *\n *", "\n", re.sub("  +", " ", text))
    text = re.sub(r"(?m)^(-|\d+\.)\s+", r"\1 ", re.sub("\n{3,}", "\n\n", text))
    return re.sub("\n\x02+|\x02+\n", "\n", f"\n{text}\n").strip("\n ").translate(TYPED)


def drop_menus(root: html.HtmlElement) -> None:
    """Drops the elements that are lists of links and no prose."""
    found: list[html.HtmlElement] = []
    facts: dict[html.HtmlElement, Counter[str]] = defaultdict(Counter)
    for _, element in etree.iterwalk(root, events=("end",)):
        inside = facts.pop(element, Counter())
        inside.update(facts_of(element.text))
        if element.tag == "a":
            inside.update(links=1, linked=inside["letters"])
        many = inside["links"] >= LINKS_OF_MENU and not inside["sentences"]
        if many and element.tag in MENUS and inside["linked"] > SHARE_OF_MENU * inside["letters"]:
            found.append(element)
        if (parent := element.getparent()) is not None:
            facts[parent].update(inside)
            facts[parent].update(facts_of(element.tail))
    for element in found:
        element.drop_tree()


def facts_of(text: str | None) -> dict[str, int]:
    """Letters and ends of sentences."""
    text = (text or "").strip()
    return {"letters": len(text), "sentences": len(SENTENCE_END.findall(text))} if text else {}


def article_of(root: html.HtmlElement) -> html.HtmlElement:
    """The element that is said to be the article of a page, if much of its text is in there."""
    enough = PLACE_SHARE * len(root.text_content())
    for name in ("main", "article"):
        found: list[html.HtmlElement] = list(root.iter(name))
        if len(found) == 1 and len(found[0].text_content()) > enough:
            return found[0]
    return root


def pieces(root: html.HtmlElement) -> Iterator[str]:
    """The text of an element, with line ends where its blocks begin and end."""
    code = 0
    numbers: dict[html.HtmlElement, int] = {}
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = element.tag
        if event == "start":
            code += name in CODE
            yield opening(element, numbers)
            yield shown(element.text, code)
            continue
        code -= name in CODE
        yield "\n\n" if name in BLOCKS else ""
        if element is not root:
            yield shown(element.tail, code)


def opening(element: html.HtmlElement, numbers: dict[html.HtmlElement, int]) -> str:
    """What stands before the text of an element."""
    name, parent = element.tag, element.getparent()
    if name == "li":
        if parent is None or parent.tag != "ol":
            return "\n- "
        numbers[parent] = numbers.get(parent, 0) + 1
        return f"\n{numbers[parent]}. "
    if name in ("td", "th"):
        has_blocks = any(child.tag in BLOCKS for child in element)
        return "\n" if has_blocks else " | " if element.getprevious() is not None else ""
    return "\n\n" if name in BLOCKS else "\n" if name in LINES else ""


def shown(text: str | None, code: int) -> str:
    """Text as a page shows it: white space is one space, but in code."""
    return (text or "").translate(AS_TYPED) if code else WHITE.sub(" ", text or "")
