"""A real browser, one for each module of tests, and a person who uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.inference.page.scripted_server import PageServer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 5
"""Longest time that anything on the page may take."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as the system has it. Its event loop must end before other tests need one, so it
    lives for a module."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no chromium here; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Root, as in a container, may not have a sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A server that says what it is told to."""
    server = PageServer()
    yield server
    server.stop()


class Visitor:
    """Somebody who looks at the page."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.context = browser.new_context(
            **{"locale": "en-US", "color_scheme": "light"} | settings
        )
        self.context.set_default_timeout(SECONDS * 1000)
        self.page = self.context.new_page()
        self.mistakes: list[str] = []
        """What the browser complained about."""
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.on("console", self.hear)
        self.page.goto(address)

    def hear(self, message: Any) -> None:
        """Takes down a complaint; a refusal of the server's is none."""
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.mistakes.append(message.text)

    def sees(self, selector: str, text: str | None = None, count: int | None = None) -> Any:
        """Waits for something on the page."""
        found = self.page.locator(selector)
        if count is not None:
            sync_api.expect(found).to_have_count(count)
        elif text is not None:
            sync_api.expect(found.last).to_have_text(text)
        else:
            found.last.wait_for()
        return found.last

    def presses(self, *keys: str) -> None:
        """Presses keys."""
        for key in keys:
            self.page.keyboard.press(key)

    def clicks(self, selector: str) -> None:
        """Clicks on the last of some elements."""
        self.page.locator(selector).last.click()

    def says(self, text: str, wait: bool = True) -> None:
        """Writes a message and sends it."""
        self.sees("#model b")
        self.page.fill("#text", text)
        self.presses("Enter")
        if wait:
            self.sees("#send:not(.stop)")

    @property
    def answers(self) -> list[str]:
        """The answers on the page."""
        return self.page.locator(".answer").all_inner_texts()

    def kept(self) -> list[dict[str, Any]]:
        """The conversations in the browser's storage."""
        return self.page.evaluate(
            "Object.keys(localStorage).filter(k => k.startsWith('etude:chat:'))"
            ".map(k => JSON.parse(localStorage.getItem(k)))"
        )


@pytest.fixture
def visit(browser: Any, server: PageServer) -> Iterator[Any]:
    """Opens the page for a visitor; none has a script that failed."""
    visitors: list[Visitor] = []

    def visit(address: str | None = None, **settings: Any) -> Visitor:
        visitors.append(Visitor(browser, address or server.address, **settings))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [mistake for visitor in visitors for mistake in visitor.mistakes] == []
