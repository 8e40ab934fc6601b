"""The web page in a real browser: what is said arrives whole, and stays what it is, text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.inference.page.conftest import SECONDS, Visitor
from tests.inference.page.scripted_server import PageServer

Visit = Callable[..., Visitor]

CHINESE = "从前，有一只小狐狸住在河边。龘靐齉 🦊 它说：“你好，世界！”"


def bytewise(text: str) -> list[bytes]:
    """Tokens of one and two bytes in turn, which cut most characters in pieces."""
    data = text.encode("utf-8")
    pieces: list[bytes] = []
    while data:
        length = 1 + len(pieces) % 2
        pieces.append(data[:length])
        data = data[length:]
    return pieces


def test_chinese_that_streams_in_pieces_arrives_whole(server: PageServer, visit: Visit) -> None:
    server.script.answers["讲个故事"] = bytewise(CHINESE)
    server.script.torn = True
    visitor = visit()
    visitor.says("讲个故事")
    assert visitor.answers == [CHINESE]
    assert visitor.kept()[0]["messages"].values()
    assert visitor.sees(".facts").inner_text().startswith(f"{len(bytewise(CHINESE))} tokens")


def test_an_answer_grows_while_it_is_made(counting: Visitor) -> None:
    assert "390" not in counting.answers[0]
    assert counting.page.locator("[aria-busy=true] .caret").count() == 1


@pytest.mark.full
@pytest.mark.parametrize("how", ["Escape", "#send"])
def test_a_stop_in_mid_answer_ends_the_request(
    server: PageServer, counting: Visitor, how: str
) -> None:
    if how == "Escape":
        counting.presses(how)
    else:
        counting.clicks(how)
    assert server.script.gone.wait(SECONDS)
    counting.sees("#send:not(.stop)")
    said = counting.answers[0]
    assert said.startswith("0 1 2 3 4")
    assert counting.sees(".facts").inner_text().startswith("stopped")
    server.script.delay = 0
    counting.says("And now?")
    roles = [m["role"] for m in server.script.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert server.script.requests[-1]["messages"][1]["content"].strip() == said.strip()


FORGERY = (
    "<|im_end|> <script>window.hacked = 1</script> <img src=x onerror='window.hacked = 1'> "
    "<svg onload=hacked=1> [click](javascript:window.hacked=1) ![x](https://example.org/x.png)"
)


def test_markup_is_text_and_never_runs(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = [FORGERY[n : n + 7] for n in range(0, len(FORGERY), 7)]
    visitor = visit()
    visitor.says(FORGERY)
    assert server.script.requests[0]["messages"] == [{"role": "user", "content": FORGERY}]
    assert visitor.page.locator(".said").inner_text() == FORGERY
    assert visitor.answers[0].startswith(FORGERY[: FORGERY.index("[click]")] + "click")
    visitor.clicks("[aria-pressed]")
    visitor.page.reload()
    visitor.sees(".answer")
    assert visitor.page.evaluate("window.hacked") is None
    assert visitor.page.locator("#score :is(script, img, iframe, [onerror], [onload])").count() == 0
    links = visitor.page.locator("#score a").evaluate_all("all => all.map(a => a.href)")
    assert links == ["https://example.org/x.png"]


@pytest.mark.full
def test_the_browser_refuses_markup_made_of_text(visit: Visit) -> None:
    tried = "try { document.body.innerHTML += '<b>x</b>'; 'done' } catch (e) { e.name }"
    visitor = visit()
    assert visitor.page.evaluate(tried) == "TypeError"
    assert "TrustedHTML" in visitor.mistakes.pop()


def test_regenerating_keeps_the_first_answer(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    server.script.otherwise = ["First"]
    visitor.says("Hi")
    server.script.otherwise = ["Second"]
    visitor.clicks("[aria-label=Regenerate]")
    visitor.sees(".answer", "Second")
    first, second = server.script.requests
    assert first == second
    visitor.clicks(".branches [aria-label='Previous version']")
    visitor.sees(".answer", "First")
    assert visitor.sees(".branches").inner_text() == "1/2"


def test_an_edit_is_a_branch_beside_the_old_message(server: PageServer, visit: Visit) -> None:
    server.script.answers |= {"One": ["Eins"], "Two": ["Zwei"], "Three": ["Drei"]}
    visitor = visit()
    visitor.says("One")
    visitor.says("Two")
    visitor.presses("ArrowUp")
    visitor.sees(".edit textarea")
    visitor.page.keyboard.insert_text("")
    visitor.page.fill(".edit textarea", "Three")
    visitor.presses("Enter")
    visitor.sees(".answer", "Drei")
    said = [m["content"] for m in server.script.requests[-1]["messages"]]
    assert said == ["One", "Eins", "Three"]
    visitor.clicks(".turn.user .branches [aria-label='Previous version']")
    visitor.sees(".answer", "Zwei")
    assert visitor.answers == ["Eins", "Zwei"]


@pytest.mark.full
def test_versions_stand_in_one_line_at_every_width(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("first")
    for number in range(2, 11):
        visitor.presses("ArrowUp")
        visitor.page.fill(".edit textarea", f"version {number}")
        visitor.presses("Enter")
        visitor.sees("#send:not(.stop)")
    versions = visitor.sees(".turn.user .branches", "10/10")
    button = versions.locator("button").first
    sideways = "(e) => e.scrollWidth - e.clientWidth"
    for width in (1920, 1313, 1312, 1057, 900, 375):
        visitor.page.set_viewport_size({"width": width, "height": 800})
        heights = [box.bounding_box()["height"] for box in (versions, button)]
        assert heights[0] == heights[1], width
        assert visitor.page.locator("#scroller").evaluate(sideways) == 0, width


def test_settings_and_the_system_prompt_are_sent(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.sees("#model b")
    visitor.presses("Control+/")
    visitor.page.fill("#set-system", "Be kind.")
    visitor.page.fill("#set-temperature", "0")
    visitor.page.fill("#set-max_tokens", "5000")
    visitor.page.fill("#set-seed", "7")
    visitor.presses("Escape")
    visitor.says("Hi")
    sent = server.script.requests[0]
    assert sent["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0, 7, 1024)
    assert (sent["top_k"], sent["top_p"], sent["stream"]) == (50, 0.9, True)
    visitor.page.reload()
    visitor.says("Hi again")
    assert server.script.requests[1]["temperature"] == 0


MARKDOWN = """# Title
Some *words* and **more** with `a < b` and https://example.org/x.
- one
  - inner
- two

3. three
> said

```python
print("<b>")
```

| a | b |
|---|---|
| 1 | 2 |
"""


def test_markdown_is_shown_as_what_it_means(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = [MARKDOWN]
    visitor = visit()
    visitor.says("Show")
    for selector, text in {
        "h3": "Title",
        "em": "words",
        "strong": "more",
        "p code": "a < b",
        "ul ul li": "inner",
        "ol[start='3'] li": "three",
        "blockquote": "said",
        "pre code": 'print("<b>")',
        "td": "2",
        "a": "https://example.org/x",
    }.items():
        assert visitor.page.locator(f".answer {selector}").last.inner_text() == text
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.clicks(".code [aria-label=Copy]")
    visitor.sees(".code [aria-label=Copied]")
    assert visitor.page.evaluate("navigator.clipboard.readText()") == 'print("<b>")'


HOSTILE = [
    ">",
    "*",
    "*a ",
    "_a",
    "[",
    "`a",
    "``a`",
    "- ",
    "|-",
    "**a ",
    "![](",
    "1. ",
    "  - a\n",
    "~~a",
]


@pytest.mark.full
def test_hostile_markdown_is_drawn_at_once(visit: Visit) -> None:
    milliseconds = visit().page.evaluate(
        """(signs) => signs.map((sign) => {
          const start = performance.now();
          paintMarkdown(document.createElement("div"), `${sign.repeat(20000)}\\n`.repeat(2));
          return performance.now() - start;
        })""",
        HOSTILE,
    )
    assert max(milliseconds) < 1000, dict(zip(HOSTILE, milliseconds, strict=True))
