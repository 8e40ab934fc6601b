"""Answers that were cut go on where they are; an answer can be edited, and go on from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import running, tiny_model
from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer, Refusal

Visit = Callable[..., Visitor]

CUT = {
    "max_tokens": "cut at its limit",
    "time": "out of time",
    "shutdown": "the server was stopped",
}


@pytest.mark.parametrize(
    "how", [pytest.param(h, marks=pytest.mark.full) if n else h for n, h in enumerate(CUT)]
)
def test_a_cut_answer_goes_on(server: PageServer, visit: Visit, how: str) -> None:
    server.script.answers |= {"Tell": ["One", " two \n"], "One two": [" three", "."]}
    server.script.ending = how
    visitor = visit()
    visitor.says("Tell")
    assert visitor.sees(".facts").inner_text().startswith(CUT[how])
    server.script.ending = "stop"
    visitor.clicks(".tool.go")
    visitor.sees(".answer", "One two three.")
    visitor.sees("#send:not(.stop)")
    sent = server.script.requests[-1]["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [("user", "Tell"), ("assistant", "One two")]
    assert visitor.sees(".facts").inner_text().startswith("4 tokens")
    assert visitor.page.locator(".tool.go, .branches").count() == 0
    visitor.page.reload()
    visitor.sees(".answer", "One two three.")
    visitor.clicks("[aria-pressed]")
    visitor.sees(".token", count=4)


@pytest.mark.full
def test_a_stopped_answer_goes_on_also_after_a_reload(
    server: PageServer, counting: Visitor
) -> None:
    counting.presses("Escape")
    counting.sees(".tool.go")
    counting.page.reload()
    said = counting.sees(".answer").inner_text()
    server.script.delay = 0
    server.script.otherwise = [" and so on"]
    counting.clicks(".tool.go")
    counting.sees(".answer", f"{said} and so on")


@pytest.mark.full
def test_an_answer_that_the_page_left_goes_on(server: PageServer, counting: Visitor) -> None:
    counting.page.reload()
    counting.sees(".tool.go")


@pytest.mark.full
def test_what_cannot_go_on_stays_as_it_is(server: PageServer, visit: Visit) -> None:
    server.script.answers["Tell"] = ["One", " two \n"]
    server.script.ending = "max_tokens"
    visitor = visit()
    visitor.says("Tell")
    before = visitor.kept()
    server.script.refusals = [Refusal(503), Refusal(503)]
    visitor.clicks(".tool.go")
    visitor.sees("#trouble span")
    assert visitor.answers == ["One two"]
    assert [chat["messages"] for chat in visitor.kept()] == [chat["messages"] for chat in before]
    visitor.sees(".tool.go")
    visitor.clicks("#trouble .plain")
    visitor.sees("#trouble span")
    server.script.otherwise = [" three"]
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "One two three")


@pytest.mark.full
def test_a_cut_thought_goes_on(server: PageServer, visit: Visit) -> None:
    server.script.answers["Why?"] = [{"reasoning_content": "I think "}]
    server.script.answers[""] = [{"reasoning_content": " that"}, "So."]
    server.script.ending = "max_tokens"
    visitor = visit()
    visitor.says("Why?")
    visitor.sees(".thoughts summary")
    assert visitor.page.locator(".nothing").count() == 0
    visitor.clicks(".tool.go")
    visitor.sees(".answer", "So.")
    sent = server.script.requests[-1]["messages"][-1]
    assert sent == {"role": "assistant", "content": "", "reasoning_content": "I think"}
    visitor.clicks(".thoughts summary")
    visitor.sees(".thoughts > div", "I think that")


@pytest.mark.full
def test_an_answer_is_edited_and_goes_on_from_there(server: PageServer, visit: Visit) -> None:
    server.script.answers |= {"Tell": ["One two"], "One three": [" four"]}
    visitor = visit()
    visitor.says("Tell")
    server.script.refusals = [Refusal(503)]
    visitor.clicks(".turn.assistant [aria-label=Edit]")
    visitor.page.fill(".edit textarea", "One three ")
    visitor.clicks(".edit .strong")
    visitor.sees("#trouble span")
    assert visitor.page.input_value(".edit textarea") == "One three "
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "One three four")
    visitor.clicks("[aria-pressed]")
    visitor.sees(".answer:has-text('One three four') .token", count=1)
    visitor.clicks("[aria-pressed]")
    visitor.clicks(".turn.assistant [aria-label=Edit]")
    visitor.page.fill(".edit textarea", "Zero")
    visitor.clicks(".edit .row button:nth-child(2)")
    visitor.sees(".answer", "Zero")
    assert visitor.sees(".branches").inner_text() == "3/3"
    assert len(server.script.requests) == 3
    visitor.says("And?")
    assert server.script.requests[-1]["messages"][1]["content"] == "Zero"


@pytest.mark.full
def test_the_real_server_goes_on(
    visit: Visit, tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    model = tiny_model(tokenizer, model_config)
    with running(model) as real:
        visitor = visit(real.address)
        visitor.sees("#model b", "tiny")
        visitor.clicks("#open-settings")
        visitor.page.fill("#set-max_tokens", "12")
        visitor.page.fill("#set-seed", "3")
        visitor.presses("Escape")
        visitor.says("Hello")
        visitor.sees(".facts:has-text('12 tokens')")
        (first,) = (m for m in visitor.kept()[0]["messages"].values() if m["role"] == "assistant")
        begun = first["content"].rstrip().rstrip("\ufffd").rstrip()
        visitor.clicks(".tool.go")
        visitor.sees(".facts:has-text('24 tokens')")
        (answer,) = (m for m in visitor.kept()[0]["messages"].values() if m["role"] == "assistant")
        messages = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": begun},
        ]
        with real.client() as client:
            asked = {"seed": 3, "max_tokens": 12, "messages": messages}
            reply = client.post("/v1/chat/completions", json=asked).json()
        assert answer["content"] == begun + reply["choices"][0]["message"]["content"]
