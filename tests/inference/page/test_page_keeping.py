"""Conversations stay in the browser; trouble is one line with what can be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.terminal.session import load_conversation
from tests.inference.page.conftest import SECONDS, Visitor
from tests.inference.page.scripted_server import PageServer, Refusal

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]


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


def test_an_unfinished_answer_survives_a_reload(counting: Visitor) -> None:
    counting.page.reload()
    assert counting.sees(".answer").inner_text().startswith("0 1 2 3 4")


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
        visitor.clicks("#export-data")
    exported = download.value.path().read_text(encoding="utf-8")
    assert json.loads(exported)["conversations"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "About foxes"},
        {"role": "assistant", "content": "All right."},
    ]
    assert visitor.page.evaluate("document.activeElement.className") == "open"
    visitor.clicks("#conversations [aria-label=Delete]")
    visitor.sees("#conversations li", count=0)
    assert visitor.kept() == []
    visitor.clicks("#toast button")
    visitor.sees(".said", "About foxes")
    assert visitor.kept()[0]["title"] == "Foxes"


def test_what_is_exported_can_be_loaded_though_an_answer_failed(
    server: PageServer, visit: Visit, tmp_path: Path
) -> None:
    server.script.refusals = [Refusal(503)]
    visitor = visit()
    visitor.says("About foxes")
    visitor.sees("#trouble span")
    visitor.says("And bears?")
    visitor.sees(".answer", "All right.")
    visitor.page.hover("#conversations li")
    with visitor.page.expect_download() as download:
        visitor.clicks("#conversations [aria-label^=Export]")
        visitor.clicks("#export-data")
    download.value.save_as(tmp_path / "talk.json")
    assert load_conversation(tmp_path / "talk.json") == [
        {"role": "user", "content": "And bears?"},
        {"role": "assistant", "content": "All right."},
    ]


def test_what_is_deleted_in_mid_answer_does_not_come_back(
    server: PageServer, counting: Visitor
) -> None:
    counting.page.hover("#conversations li")
    counting.clicks("#conversations [aria-label=Delete]")
    assert server.script.gone.wait(SECONDS)
    counting.page.reload()
    counting.sees(".overture")
    assert counting.kept() == []


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


def test_a_key_that_cannot_be_sent_is_asked_for_again(server: PageServer, visit: Visit) -> None:
    server.script.key = "secret"
    visitor = visit()
    for key in ("钥匙", "secret"):
        visitor.sees("#trouble span", "This server asks for a key.")
        visitor.page.fill("#trouble input", key)
        visitor.presses("Enter")
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
    assert visitor.sees(".facts").inner_text().startswith("broken off")
    server.script.breaks_after = None
    server.script.answers["All right"] = [" then", "."]
    visitor.sees("#trouble .plain", "Continue")
    visitor.clicks("#trouble .plain")
    visitor.sees(".answer", "All right then.")
    assert visitor.page.locator(".branches").count() == 0


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
    server.script.refusals = [full, full, full, full]
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
    visitor.sees("#spoken:has-text('39')")
    visitor.clicks("#conversations .open")
    visitor.sees(".answer:has-text('39')")
