"""Where a server has several models, each conversation has its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]


def test_a_conversation_keeps_its_model(server: PageServer, visit: Visit) -> None:
    server.script.models = ("poet", "cook", "base")
    visitor = visit()
    visitor.sees("#pick")
    visitor.page.fill("#text", "One")
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    visitor.presses("Control+Shift+O")
    visitor.page.select_option("#pick", "cook")
    visitor.page.fill("#text", "Two")
    visitor.page.focus("#text")
    visitor.presses("Enter")
    visitor.sees(".said", "Two")
    visitor.sees("#send:not(.stop)")
    visitor.page.reload()
    visitor.sees("#pick")
    assert visitor.page.input_value("#pick") == "cook"
    visitor.clicks("#conversations li:last-child .open")
    assert visitor.page.input_value("#pick") == "poet"
    assert [request["model"] for request in server.script.requests] == ["poet", "cook"]


def test_a_model_that_is_gone_is_replaced_with_a_sentence(server: PageServer, visit: Visit) -> None:
    server.script.models = ("poet", "cook")
    visitor = visit()
    visitor.sees("#pick")
    visitor.page.focus("#pick")
    visitor.page.select_option("#pick", "cook")
    assert visitor.page.evaluate("document.activeElement.id") == "pick"
    visitor.page.fill("#text", "One")
    visitor.page.focus("#text")
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    server.script.models = ("poet",)
    visitor.page.reload()
    visitor.sees("#toast", "The model cook is not here; poet answers instead.")
    visitor.says("Two")
    visitor.sees("#send:not(.stop)")
    assert server.script.requests[-1]["model"] == "poet"
    visitor.clicks("#toast")
    visitor.page.evaluate("document.querySelector('#toast').hidden = true")
    visitor.presses("Control+Shift+O")
    visitor.says("Three")
    assert visitor.page.locator("#toast").is_hidden()
