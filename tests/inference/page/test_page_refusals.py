"""What was sent and not answered goes back to where it was written; the conversation goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.inference.page.conftest import SECONDS, Visitor
from tests.inference.page.scripted_server import PageServer, Refusal

Visit = Callable[..., Visitor]

FULL = Refusal(400, "too long", "context_length_exceeded")
LONG = "word " * 800


def asked(server: PageServer) -> list[str]:
    """The messages of the last request."""
    return [message["content"] for message in server.script.requests[-1]["messages"]]


def field(visitor: Visitor) -> str:
    return visitor.page.input_value("#text")


def test_after_a_message_that_is_too_long_the_conversation_lives(
    server: PageServer, visit: Visit
) -> None:
    visitor = visit()
    visitor.says("One")
    server.script.refusals = [FULL, FULL, FULL]
    visitor.says(LONG)
    visitor.sees("#trouble span:has-text('longer than the model')")
    assert field(visitor) == LONG
    assert visitor.page.locator(".said").all_inner_texts() == ["One"]
    server.script.refusals = []
    visitor.says("Hello!")
    visitor.sees(".answer", "All right.")
    assert asked(server) == ["One", "All right.", "Hello!"]
    assert visitor.page.locator("#trouble").is_hidden()


@pytest.mark.full
@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 422, 429, 500, 502, 503])
def test_a_refused_message_goes_back_into_the_field(
    server: PageServer, visit: Visit, status: int
) -> None:
    visitor = visit()
    server.script.refusals = [Refusal(status)]
    visitor.says("About foxes")
    visitor.sees("#trouble span")
    assert field(visitor) == "About foxes"
    assert visitor.kept() == []
    visitor.sees(".overture")
    visitor.sees("#conversations li", count=0)
    visitor.page.reload()
    visitor.sees("#model b")
    assert field(visitor) == "About foxes"
    visitor.page.focus("#text")
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    visitor.sees("#title", "About foxes")
    assert field(visitor) == ""


@pytest.mark.full
@pytest.mark.parametrize("how", ["gone", "breaks", "stopped"])
def test_a_message_without_an_answer_goes_back(server: PageServer, visit: Visit, how: str) -> None:
    visitor = visit()
    visitor.says("One")
    server.script.delay = 0.5
    if how == "gone":
        server.stop()
    elif how == "breaks":
        server.script.breaks_after = 0
    server.script.answers["Two"] = ["", "", "", "", "late"]
    visitor.says("Two", wait=False)
    if how == "stopped":
        visitor.sees("#send.stop")
        visitor.presses("Escape")
    else:
        visitor.sees("#trouble span")
    visitor.sees("#send:not(.stop)")
    assert field(visitor) == "Two"
    assert visitor.page.locator(".said").all_inner_texts() == ["One"]
    if how == "gone":
        server.start(server.port)
    server.script.breaks_after, server.script.delay = None, 0
    visitor.presses("Enter")
    visitor.sees(".answer", "late")
    assert asked(server) == ["One", "All right.", "Two"]


@pytest.mark.full
def test_what_was_written_meanwhile_is_kept_too(server: PageServer, visit: Visit) -> None:
    server.script.answers["One"] = ["", "", "", "", ""]
    server.script.delay = 0.3
    visitor = visit()
    visitor.says("One", wait=False)
    visitor.sees("#send.stop")
    visitor.page.fill("#text", "Two")
    visitor.presses("Escape")
    visitor.sees("#send:not(.stop)")
    assert field(visitor) == "One\n\nTwo"


@pytest.mark.full
def test_a_refused_regeneration_leaves_the_old_answer(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("One")
    server.script.refusals = [Refusal(503)]
    visitor.clicks("[aria-label=Regenerate]")
    visitor.sees("#trouble span")
    assert visitor.answers == ["All right."]
    assert field(visitor) == ""
    server.script.otherwise = ["Again."]
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "Again.")
    assert visitor.sees(".branches").inner_text() == "2/2"


@pytest.mark.full
def test_a_refused_edit_goes_back_into_its_editor(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("One")
    visitor.says("Two")
    server.script.refusals = [Refusal(503)] * 2
    visitor.presses("ArrowUp")
    visitor.page.fill(".edit textarea", "Three")
    visitor.presses("Enter")
    visitor.sees("#trouble span")
    assert visitor.page.input_value(".edit textarea") == "Three"
    assert len(visitor.kept()[0]["messages"]) == 4
    visitor.page.fill(".edit textarea", "Four")
    visitor.clicks("#theme")  # draws the page again
    visitor.clicks("#trouble .plain")
    visitor.sees("#trouble span")
    assert visitor.page.input_value(".edit textarea") == "Four"
    visitor.clicks("#trouble .plain")
    visitor.sees(".said", "Four")
    visitor.sees(".answer", "All right.")
    assert asked(server) == ["One", "All right.", "Four"]
    server.script.refusals = [Refusal(503)]
    visitor.presses("ArrowUp")
    visitor.page.fill(".edit textarea", "Five")
    visitor.presses("Enter")
    visitor.sees("#trouble span")
    assert visitor.page.input_value(".edit textarea") == "Five"
    visitor.page.focus(".edit textarea")
    visitor.presses("Escape")
    visitor.sees(".said", "Four")


@pytest.mark.full
def test_a_message_refused_behind_another_conversation_waits_in_its_own(
    server: PageServer, visit: Visit
) -> None:
    server.script.answers["Slow"] = ["", "", ""]
    server.script.delay, server.script.breaks_after = 0.3, 2
    visitor = visit()
    visitor.says("Slow", wait=False)
    visitor.presses("Control+Shift+O")
    visitor.sees(".overture")
    visitor.sees("#trouble span")
    assert field(visitor) == ""
    visitor.page.reload()
    visitor.sees("#model b")
    visitor.clicks("#conversations .open")
    visitor.waits(lambda: field(visitor) == "Slow")
    assert field(visitor) == "Slow"


@pytest.mark.full
def test_a_question_that_was_left_can_be_asked_again(server: PageServer, visit: Visit) -> None:
    server.script.answers["Slow"] = [""] * 50
    server.script.delay = 0.1
    visitor = visit()
    visitor.says("Slow", wait=False)
    visitor.sees("#send.stop")
    visitor.page.reload()
    visitor.sees("#model b")
    assert visitor.page.locator(".nothing").count() == 0
    server.script.answers.clear()
    if visitor.page.locator(".said").count():
        visitor.clicks("#score button.plain")
    else:  # the browser ended the request before it left the page
        visitor.page.focus("#text")
        visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    visitor.sees(".said", count=1)
    assert visitor.page.locator("#score button.plain").count() == 0


@pytest.mark.full
def test_a_dead_conversation_of_before_lives_again(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.page.evaluate(
        """(text) => localStorage.setItem("etude:chat:a", JSON.stringify({
          id: "a", title: "Old", system: "", updated: 1, leaf: "m",
          messages: {m: {id: "m", role: "user", content: text, parent: null}},
        }))""",
        LONG,
    )
    visitor.page.reload()
    visitor.clicks("#conversations .open")
    server.script.refusals = [FULL]
    visitor.says("Hello!")
    visitor.sees(".answer", "All right.")
    assert asked(server) == ["Hello!"]


@pytest.mark.full
def test_a_started_text_that_is_refused_leaves_what_was_there(
    server: PageServer, visit: Visit
) -> None:
    server.script.chat = False
    visitor = visit()
    visitor.says("Once")
    visitor.sees(".manuscript", "OnceAll right.")
    server.script.refusals = [Refusal(503)]
    visitor.clicks("#send")
    visitor.sees("#trouble span")
    visitor.sees(".manuscript", "OnceAll right.")
    visitor.clicks("#trouble .plain")
    visitor.sees(".manuscript", "OnceAll right.All right.")


def drag(visitor: Visitor) -> None:
    """Moves a finger down, and so the text."""
    device = visitor.context.new_cdp_session(visitor.page)
    for kind, place in [("touchStart", 200), *(("touchMove", y) for y in range(205, 330, 5))]:
        points = [{"x": 600, "y": place}]
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        visitor.page.wait_for_timeout(16)
    device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


UPWARDS: dict[str, Callable[[Visitor], Any]] = {
    "touchpad": lambda v: [v.page.mouse.wheel(0, -12) for _ in range(60)],
    "one notch": lambda v: v.page.mouse.wheel(0, -40),
    "keyboard": lambda v: v.page.press("#scroller", "PageUp"),
    "arrow": lambda v: v.page.press("#scroller", "ArrowUp"),
    "Home": lambda v: v.page.press("#scroller", "Home"),
    "finger": drag,
    "scrollbar": lambda v: v.page.evaluate("document.querySelector('#scroller').scrollTop -= 15"),
}


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, marks=pytest.mark.full) if n else how for n, how in enumerate(UPWARDS)],
)
def test_scrolling_up_ends_the_following_until_the_end_is_reached(
    server: PageServer, visit: Visit, how: str
) -> None:
    server.script.answers["Count"] = [f"{n}\n\n" for n in range(5000)]
    server.script.delay = 0.005
    visitor = visit(has_touch=how == "finger")
    visitor.sees("#model b")
    visitor.page.fill("#text", "Count")
    visitor.clicks("#send")
    visitor.sees(".answer:has-text('60')")
    top = "document.querySelector('#scroller').scrollTop"
    end = "(({scrollHeight: h, clientHeight: c}) => h - c)(document.querySelector('#scroller'))"
    visitor.page.mouse.move(600, 300)
    UPWARDS[how](visitor)
    visitor.page.wait_for_timeout(300)  # a smooth movement takes a while
    place = visitor.page.evaluate(top)
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate(top) == place
    assert visitor.page.evaluate(end) > place + 100
    assert visitor.page.locator("#down").is_visible()
    visitor.page.evaluate(f"document.querySelector('#scroller').scrollTop = {end}")
    visitor.waits(lambda: visitor.page.evaluate(f"{end} - {top}") < 2)
    visitor.page.wait_for_timeout(500)
    assert visitor.page.evaluate(top) > place + 200
    assert visitor.page.evaluate(f"{end} - {top}") < 30
    visitor.presses("Escape")
    assert server.script.gone.wait(SECONDS)
