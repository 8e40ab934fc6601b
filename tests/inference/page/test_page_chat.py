"""The web page in a real browser: what is said arrives whole, and stays what it is, text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.inference.page.conftest import SECONDS, Visitor
from tests.inference.page.scripted_server import PageServer, Refusal

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
    server.script.bytes_at_once = 5
    visitor = visit()
    visitor.says("讲个故事")
    assert visitor.answers == [CHINESE]
    assert visitor.kept()[0]["messages"].values()
    assert visitor.sees(".facts").inner_text().startswith(f"{len(bytewise(CHINESE))} tokens")


def test_an_answer_grows_while_it_is_made(server: PageServer, visit: Visit) -> None:
    server.script.answers["Hi"] = [f"{n} " for n in range(400)]
    server.script.delay = 0.02
    visitor = visit()
    visitor.says("Hi", wait=False)
    visitor.sees(".answer:has-text('5')")
    assert "390" not in visitor.answers[0]
    assert visitor.page.locator("[aria-busy=true] .caret").count() == 1


@pytest.mark.parametrize("how", ["Escape", "#send"])
def test_a_stop_in_mid_answer_ends_the_request(server: PageServer, visit: Visit, how: str) -> None:
    server.script.answers["Hi"] = [f"{n} " for n in range(1000)]
    server.script.delay = 0.02
    visitor = visit()
    visitor.says("Hi", wait=False)
    visitor.sees(".answer:has-text('5')")
    if how == "Escape":
        visitor.presses(how)
    else:
        visitor.clicks(how)
    assert server.script.gone.wait(SECONDS)
    visitor.sees("#send:not(.stop)")
    said = visitor.answers[0]
    assert said.startswith("0 1 2 3 4")
    assert visitor.sees(".facts").inner_text().startswith("stopped")
    server.script.delay = 0
    visitor.says("And now?")
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


def test_conversations_survive_a_reload(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("About foxes")
    visitor.presses("Control+Shift+O")
    visitor.sees(".overture")
    visitor.says("About rivers")
    visitor.page.reload()
    visitor.sees(".said", "About rivers")
    titles = visitor.page.locator("#conversations .open")
    assert titles.all_inner_texts() == ["About rivers", "About foxes"]
    titles.last.click()
    visitor.sees(".said", "About foxes")
    assert visitor.answers == ["All right."]


def test_an_unfinished_answer_survives_a_reload(server: PageServer, visit: Visit) -> None:
    server.script.answers["Hi"] = [f"{n} " for n in range(1000)]
    server.script.delay = 0.02
    visitor = visit()
    visitor.says("Hi", wait=False)
    visitor.sees(".answer:has-text('5')")
    visitor.page.reload()
    assert visitor.sees(".answer").inner_text().startswith("0 1 2 3 4")


def test_conversations_are_renamed_exported_deleted_and_brought_back(
    server: PageServer, visit: Visit
) -> None:
    visitor = visit()
    visitor.page.evaluate("localStorage.setItem('etude:settings', '{\"system\": \"Be kind.\"}')")
    visitor.page.reload()
    visitor.says("About foxes")
    visitor.page.hover("#conversations li")
    visitor.clicks("#conversations [aria-label=Rename]")
    visitor.page.fill("#conversations input", "Foxes")
    visitor.presses("Enter")
    visitor.sees("#conversations .open", "Foxes")
    visitor.page.hover("#conversations li")
    with visitor.page.expect_download() as download:
        visitor.clicks("#conversations [aria-label^=Export]")
    exported = download.value.path().read_text(encoding="utf-8")
    assert json.loads(exported)["conversations"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "About foxes"},
        {"role": "assistant", "content": "All right."},
    ]
    visitor.clicks("#conversations [aria-label=Delete]")
    visitor.sees("#conversations li", count=0)
    assert visitor.kept() == []
    visitor.clicks("#toast button")
    visitor.sees(".said", "About foxes")
    assert visitor.kept()[0]["title"] == "Foxes"


def test_an_exported_conversation_can_be_brought_in(server: PageServer, visit: Visit) -> None:
    turns = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
    file = {"name": "old_talk.json", "mimeType": "application/json"}
    visitor = visit()
    data = json.dumps({"conversations": turns}).encode()
    visitor.page.set_input_files("#file", {**file, "buffer": data})
    visitor.sees(".answer", "乙")
    visitor.sees("#title", "old talk")
    visitor.page.set_input_files("#file", {**file, "buffer": b"[1, 2]"})
    visitor.sees("#toast", "This file holds no conversation.")


def test_full_storage_costs_old_probabilities_and_no_words(
    server: PageServer, visit: Visit
) -> None:
    visitor = visit()
    visitor.says("Old")
    visitor.page.evaluate(
        """() => {
          const name = Object.keys(localStorage).find((key) => key.startsWith("etude:chat:"));
          const chat = JSON.parse(localStorage.getItem(name));
          const answer = Object.values(chat.messages).find((m) => m.role === "assistant");
          let size = 5_200_000;
          for (; size > 0; size -= 20_000) {
            answer.tokens = ["x".repeat(size)];
            try { localStorage.setItem(name, JSON.stringify(chat)); return; } catch {}
          }
        }"""
    )
    visitor.page.reload()
    visitor.clicks("#new")
    server.script.otherwise = ["long " * 9000]
    visitor.says("New")
    kept = {chat["title"]: list(chat["messages"].values())[-1] for chat in visitor.kept()}
    assert kept["New"]["content"] == "long " * 9000
    assert kept["Old"]["content"] == "All right."
    assert "tokens" not in kept["Old"]


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


HOSTILE = [">", "*", "_a", "[", "`a", "``a`", "- ", "|-", "**a ", "![](", "1. ", "  - a\n", "~~a"]


def test_hostile_markdown_is_drawn_at_once(visit: Visit) -> None:
    milliseconds = visit().page.evaluate(
        """(signs) => signs.map((sign) => {
          const start = performance.now();
          paintMarkdown(document.createElement("div"), `${sign.repeat(4000)}\\n`.repeat(2));
          return performance.now() - start;
        })""",
        HOSTILE,
    )
    assert max(milliseconds) < 1000, dict(zip(HOSTILE, milliseconds, strict=True))


def test_a_busy_server_is_tried_again_on_demand(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    server.script.refusals = [Refusal(503, retry_after=2)]
    visitor.says("Hi")
    visitor.sees("#trouble span", "The server is busy; it expects to be free in 2 s.")
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "All right.")
    assert visitor.page.locator("#trouble").is_hidden()
    assert visitor.page.locator(".said").count() == 1


def test_a_server_with_a_key_is_given_it(server: PageServer, visit: Visit) -> None:
    server.script.key = "secret"
    visitor = visit()
    visitor.sees("#trouble span", "This server asks for a key.")
    visitor.page.fill("#trouble input", "secret")
    visitor.presses("Enter")
    visitor.says("Hi")
    visitor.sees(".answer", "All right.")
    visitor.page.reload()
    visitor.sees("#model b")


def test_a_server_that_went_away_is_tried_again(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.sees("#model b")
    server.stop()
    visitor.says("Hi")
    visitor.sees("#trouble span", "The server cannot be reached. Is it running?")
    server.start(server.port)
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "All right.")


def test_a_connection_that_breaks_leaves_what_came(server: PageServer, visit: Visit) -> None:
    server.script.breaks_after = 2
    visitor = visit()
    visitor.says("Hi")
    visitor.sees("#trouble span", "The connection broke off.")
    assert visitor.answers == ["All right"]
    server.script.breaks_after = None
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "All right.")


def test_the_oldest_messages_go_when_the_context_is_full(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("One")
    visitor.says("Two")
    full = Refusal(400, "too long", "context_length_exceeded")
    server.script.refusals = [full]
    visitor.says("Three")
    visitor.sees(".answer", "All right.")
    said = [m["content"] for m in server.script.requests[-1]["messages"]]
    assert said == ["Two", "All right.", "Three"]
    assert "oldest 2 messages" in visitor.sees(".note").inner_text()
    server.script.refusals = [full, full, full]
    visitor.says("Four")
    visitor.sees("#trouble span:has-text('longer than the model')")


def test_a_slow_answer_goes_on_behind_another_conversation(
    server: PageServer, visit: Visit
) -> None:
    server.script.answers["Slow"] = [f"{n} " for n in range(40)]
    server.script.delay = 0.02
    visitor = visit()
    visitor.says("Slow", wait=False)
    visitor.sees(".answer:has-text('3')")
    visitor.presses("Control+Shift+O")
    visitor.sees(".overture")
    time.sleep(1.2)
    visitor.clicks("#conversations .open")
    visitor.sees(".answer:has-text('39')")
