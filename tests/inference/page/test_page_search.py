"""Conversations are found by what was said in them, and saved all together; code has colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer
from tests.inference.page.test_page_storage import bring

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]

TALKS = [
    {
        "title": title,
        "conversations": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }
    for title, question, answer in [
        ("Foxes", "Where does it live?", "By the *RIVER*, in a den. Oxford (1.5) [x]"),
        ("狐狸", "它住在哪里？", "一只小狐狸住在河边。"),
        ("Rivers", "How long?", "Long. Straße.\n\n```py\n# 100 km\n```"),
    ]
]


@pytest.fixture
def reader(visit: Visit) -> Visitor:
    """Somebody with three conversations."""
    visitor = visit()
    visitor.sees("#model b")
    bring(visitor, "\n".join(map(json.dumps, TALKS)), "all.jsonl")
    visitor.sees("#conversations li", count=3)
    return visitor


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("river", {"Foxes", "Rivers"}),
        ("小狐狸", {"狐狸"}),
        ("(1.5) [x]", {"Foxes"}),
        ("STRASSE", set()),
        ("straße", {"Rivers"}),
        ("nothing like it", set()),
        ("  ", {"Foxes", "狐狸", "Rivers"}),
        ("\\", set()),
    ],
)
def test_conversations_are_found(reader: Visitor, query: str, titles: set[str]) -> None:
    reader.page.fill("#search", query)
    found = reader.page.locator("#conversations .open > span")
    assert set(found.all_inner_texts()) == titles
    said = f"{len(titles)} found" if query.strip() else ""
    assert reader.page.locator("#found").inner_text() == said
    marks = reader.page.locator("#conversations mark").all_inner_texts()
    assert {mark.lower() for mark in marks} == ({query.lower()} if said and titles else set())


def test_a_search_by_keyboard_shows_the_hit(reader: Visitor) -> None:
    reader.presses("Control+k")
    reader.page.keyboard.type("den")
    reader.sees("#conversations li", count=1)
    reader.presses("ArrowDown", "Enter")
    reader.sees("#title", "Foxes")
    hits = (
        "[...(CSS.highlights.get('hits') ?? [])].map(r => r.startContainer.data.slice("
        "r.startOffset, r.endOffset))"
    )
    assert reader.page.evaluate(hits) == ["den"]
    assert "den" in reader.answers[0]
    reader.presses("Control+k", "Escape")
    reader.sees("#conversations li", count=3)
    assert reader.page.evaluate(hits) == []
    reader.presses("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp")
    assert reader.page.evaluate("document.activeElement.id") == "search"


def test_a_hit_on_another_branch_is_shown(server: PageServer, visit: Visit) -> None:
    server.script.answers |= {"One": ["Eins"], "Two": ["Zwei"]}
    visitor = visit()
    visitor.says("One")
    visitor.presses("ArrowUp")
    visitor.page.fill(".edit textarea", "Two")
    visitor.presses("Enter")
    visitor.sees(".answer", "Zwei")
    visitor.page.fill("#search", "eins")
    visitor.page.focus("#search")
    visitor.presses("Enter")
    visitor.sees(".answer", "Eins")


def test_all_conversations_are_saved_and_brought_in_again(
    reader: Visitor, visit: Visit, tmp_path: Path
) -> None:
    reader.clicks("#export-all")
    with reader.page.expect_download() as download:
        reader.clicks("#export-data")
    download.value.save_as(tmp_path / "all.jsonl")
    lines = (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(map(json.loads, lines), key=str) == sorted(TALKS, key=str)
    other = visit()
    bring(other, "\n".join(lines), "all.jsonl")
    other.sees("#conversations li", count=3)
    assert {chat["title"] for chat in other.kept()} == {talk["title"] for talk in TALKS}
    reader.clicks("#export-all")
    with reader.page.expect_download() as download:
        reader.clicks("#export-text")
    text = download.value.path().read_text(encoding="utf-8")
    assert "# 狐狸\n\n## System\n\nBe kind.\n\n## User\n\n它住在哪里？\n\n## Assistant\n\n" in text


CODE = {
    "python": ("def f(x):\n  # says \"no\"\n  return '''a\n# b''' + \"c\\\"\" + 1.5e3 + define",
               ["def", '# says "no"', "return", "'''a\n# b'''", '"c\\""', "1.5e3"]),
    "js": ("const a = `x ${1}\n`; // 中文\n/* open", ["const", "`x ${1}\n`", "// 中文", "/* open"]),
    "c": ("#include <a.h>\nint x = 'c'; /* 1 */ iffy", ["#include", "int", "'c'", "/* 1 */"]),
    "bash": ('if [ $# -gt 1 ]; then echo "a\nb" # done\nfi', ["if", "1", "then", "echo", '"a\nb"',
             "# done", "fi"]),
    "json": ('{"a": [1, true, "b', ['"a"', "1", "true", '"b']),
    "constructor": ("def f", []),
    "": ("def f", []),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_colours_change_no_text(visit: Visit, name: str) -> None:
    code, expected = CODE[name]
    whole, found = visit().page.evaluate(
        """([code, name]) => {
          const home = coloured(code, name);
          return [home.textContent, [...home.children].map((one) => one.textContent)];
        }""",
        [code, name],
    )
    assert whole == code
    assert found == expected


def test_colours_take_a_time_that_grows_with_the_text(visit: Visit) -> None:
    signs = ['"', "'", "`", "/*", "//", "#", '"""', "'''", "\\", "a", "1", '"\\', "@", "{", "}"]
    milliseconds = visit().page.evaluate(
        """(signs) => signs.flatMap((sign) => Object.keys(GRAMMARS).map((name) => {
          const start = performance.now();
          const code = sign.repeat(40000);
          const same = coloured(code, name).textContent === code;
          prettyJson(`{${code}`);
          return same ? performance.now() - start : 1e9;
        }))""",
        signs,
    )
    assert max(milliseconds) < 1500
