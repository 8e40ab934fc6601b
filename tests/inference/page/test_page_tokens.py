"""The window on the model: each token with its probability, and what else might have come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config import ModelConfig
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import running, tiny_model
from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer, Piece, Refusal

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]
STORY: list[Piece] = ["Once", " upon", " a", "\n", b"\xe4", b"\xbd\xa0", " end"]


@pytest.fixture
def reader(server: PageServer, visit: Visit) -> Visitor:
    """Somebody who looks at the tokens of a story."""
    server.script.answers["Tell"] = STORY
    visitor = visit()
    visitor.says("Tell")
    visitor.clicks("[aria-pressed]")
    visitor.sees(".token", count=len(STORY))
    return visitor


def test_a_token_shows_its_probability_and_the_alternatives(reader: Visitor) -> None:
    reader.page.locator(".token").nth(2).hover()
    lens = reader.sees("#lens")
    assert lens.locator(".piece").inner_text() == "␣a"
    assert lens.locator(".share").inner_text() == "5.0 %"
    assert "number 2 here" in lens.locator(".how").inner_text()
    rows = [row.split("\n") for row in lens.locator("li").all_inner_texts()]
    assert rows == [["␣perhaps", "8.0 %"], ["␣a", "5.0 %"], ["‹E4 BD›", "1.8 %"]]
    widths = lens.locator("i").evaluate_all("all => all.map(bar => bar.style.width)")
    assert [float(width.rstrip("%")) for width in widths] == pytest.approx([8, 5, 1.8], abs=0.1)
    reader.page.mouse.move(5, 5)
    assert lens.is_hidden()


def test_unlikely_tokens_are_tinted(reader: Visitor) -> None:
    heat = "token => parseInt(token.style.getPropertyValue('--heat'))"
    likely, less, unlikely = (reader.page.locator(".token").nth(n).evaluate(heat) for n in range(3))
    assert likely < less < unlikely


def test_pieces_of_a_character_are_shown_as_bytes(reader: Visitor) -> None:
    shown = reader.page.locator(".token").all_inner_texts()
    assert [text.strip() for text in shown] == ["Once", "upon", "a", "↵", "E4", "你", "end"]
    reader.page.locator(".token").nth(4).click()
    assert "bytes E4, part of 你" in reader.sees("#lens .how").inner_text()


def test_a_tap_shows_the_alternatives_too(server: PageServer, visit: Visit) -> None:
    server.script.answers["Tell"] = STORY
    visitor = visit(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 700})
    visitor.sees("#model b")
    visitor.page.fill("#text", "Tell")
    visitor.page.tap("#send")
    visitor.page.locator("[aria-pressed]").tap()
    visitor.page.locator(".token").nth(1).tap()
    assert visitor.sees("#lens .piece").inner_text() == "␣upon"
    box = visitor.page.locator("#lens").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
    visitor.page.touchscreen.tap(20, 300)
    assert visitor.page.locator("#lens").is_hidden()


def test_arrows_go_from_token_to_token(reader: Visitor) -> None:
    reader.page.locator(".token").first.focus()
    reader.presses("ArrowRight", "ArrowRight")
    assert reader.sees("#lens .piece").inner_text() == "␣a"
    name = reader.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert name == "␣a, 5.0 %"
    reader.presses("Escape")
    assert reader.page.locator("#lens").is_hidden()
    assert reader.page.evaluate("document.activeElement.dataset.token") == "2"
    reader.presses("End", "Enter")
    assert reader.sees("#lens .piece").inner_text() == "␣end"


def test_a_note_on_the_staff_is_a_token(reader: Visitor) -> None:
    notes = reader.page.locator("[data-note]")
    assert notes.count() == len(STORY)
    notes.nth(1).locator("ellipse").hover()
    assert reader.sees("#lens .piece").inner_text() == "␣upon"
    heights = notes.locator("ellipse").evaluate_all(
        "all => all.map(note => +note.getAttribute('cy'))"
    )
    assert heights[0] > heights[1] > heights[2]  # the page's y grows downwards
    assert "perplexity" in reader.sees(".staffscroll").get_attribute("aria-label")


def test_probabilities_survive_a_reload_and_follow_the_growing_answer(
    server: PageServer, visit: Visit
) -> None:
    server.script.otherwise = [f"{n} " for n in range(60)]
    server.script.delay = 0.02
    visitor = visit()
    visitor.says("Tell", wait=False)
    visitor.clicks("[aria-pressed]")
    visitor.sees(".token[data-token='50']")
    visitor.sees("#send:not(.stop)")
    visitor.page.reload()
    visitor.clicks("[aria-pressed]")
    visitor.sees(".token", count=60)


def test_without_alternatives_none_are_asked_for(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.sees("#model b")
    visitor.clicks("#open-settings")
    visitor.clicks("summary")
    visitor.page.fill("#set-top_logprobs", "0")
    visitor.presses("Escape")
    visitor.says("Hi")
    assert "logprobs" not in server.script.requests[0]
    assert visitor.page.locator("[aria-pressed]").count() == 0


@pytest.fixture
def writer(server: PageServer, visit: Visit) -> Visitor:
    """Somebody who writes with a pretrained model."""
    server.script.chat = False
    server.script.answers["Once"] = [" upon", " a", " time"]
    visitor = visit()
    visitor.says("Once")
    return visitor


def test_a_pretrained_model_continues_a_text(server: PageServer, writer: Visitor) -> None:
    writer.sees(".manuscript", "Once upon a time")
    server.script.answers["Once upon a time"] = [" there", " was"]
    writer.clicks("#send")
    writer.sees(".manuscript", "Once upon a time there was")
    server.script.answers["Once upon a time there was no"] = [" fox"]
    writer.says(" no")
    writer.sees(".manuscript", "Once upon a time there was no fox")


def test_a_pretrained_model_goes_the_other_way(server: PageServer, writer: Visitor) -> None:
    server.script.answers["Once upon perhaps"] = [" never"]
    writer.clicks("[aria-pressed]")
    writer.page.locator(".token").nth(1).click()
    writer.clicks("#lens [aria-label^='Continue with ␣perhaps']")
    writer.sees(".manuscript:has-text('Once upon perhaps never')")
    assert server.script.requests[-1]["prompt"] == "Once upon perhaps"
    writer.clicks(".branches [aria-label='Previous version']")
    writer.sees(".manuscript:has-text('Once upon a time')")


def test_of_a_text_too_long_the_end_is_continued(server: PageServer, writer: Visitor) -> None:
    server.script.refusals = [Refusal(400, "too long", "context_length_exceeded")]
    writer.says(" and so on and on")
    text = "Once upon a time and so on and on"
    sent = [request["prompt"] for request in server.script.requests[-2:]]
    assert sent[0] == text
    assert sent[1] == text[9:]
    writer.sees(".note:has-text('Only the end of this text')")


@pytest.mark.parametrize("is_chat", [True, False])
def test_the_real_server_is_understood(
    visit: Visit, tokenizer: EtudeTokenizer, model_config: ModelConfig, is_chat: bool
) -> None:
    model = tiny_model(tokenizer, model_config, is_chat=is_chat)
    with running(model) as real:
        visitor = visit(real.address)
        visitor.sees("#model b", "tiny")
        visitor.clicks("#open-settings")
        visitor.page.fill("#set-max_tokens", "40")
        visitor.page.fill("#set-seed", "3")
        visitor.presses("Escape")
        visitor.says("Hello 你好")
        visitor.sees(".facts:has-text('40 tokens')")
        (answer,) = (m for m in visitor.kept()[0]["messages"].values() if m["role"] == "assistant")
        with real.client() as client:
            asked = {"seed": 3, "max_tokens": 40}
            if is_chat:
                messages = [{"role": "user", "content": "Hello 你好"}]
                reply = client.post("/v1/chat/completions", json={**asked, "messages": messages})
                expected = reply.json()["choices"][0]["message"]["content"]
            else:
                reply = client.post("/v1/completions", json={**asked, "prompt": "Hello 你好"})
                expected = reply.json()["choices"][0]["text"]
        assert answer["content"] == expected
        assert len(answer["tokens"]) == 40
        visitor.clicks("[aria-pressed]")
        visitor.sees(".token", count=40)
        visitor.page.locator(".token").nth(3).click()
        assert 5 <= visitor.page.locator("#lens li").count() <= 6
