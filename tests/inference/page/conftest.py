"""A real browser, one for all tests of the page, and a person who uses it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference.page.scripted_server import PageServer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 5
"""Longest time that anything on the page may take."""


OPEN = pytest.StashKey[tuple[Any, Any]]()
"""Playwright and its browser, while tests of the page run."""


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> Any:
    """Chromium, as the system has it, started by the first test that needs it."""
    stash = request.session.stash
    if OPEN not in stash:
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        if path is None:
            pytest.skip("there is no chromium here; on Debian: apt-get install chromium")
        playwright = sync_api.sync_playwright().start()
        # Root, as in a container, may not have a sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        stash[OPEN] = playwright, browser
    return stash[OPEN][1]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Closes the browser after the last test of this folder: its event loop must end before other
    tests need one."""
    stays = nextitem is not None and Path(__file__).parent in nextitem.path.parents
    if not stays and OPEN in item.session.stash:
        playwright, browser = item.session.stash[OPEN]
        del item.session.stash[OPEN]
        browser.close()
        playwright.stop()


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A server that follows a script."""
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
        self.page.on("console", self.record)
        self.page.goto(address)

    def record(self, message: Any) -> None:
        """Keeps an error message of the browser; that the server refused is not one."""
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.mistakes.append(message.text)

    def sees(self, selector: str, text: str | None = None, count: int | None = None) -> Any:
        """Waits for something on the page."""
        found = self.page.locator(selector)
        if count is not None:
            self.waits(lambda: found.count() == count)
            sync_api.expect(found).to_have_count(count)
        elif text is not None:
            self.waits(lambda: " ".join("".join(found.all_text_contents()[-1:]).split()) == text)
            sync_api.expect(found.last).to_have_text(text)
        else:
            found.last.wait_for()
        return found.last

    def waits(self, condition: Callable[[], bool]) -> None:
        """Waits for something that playwright would ask for less and less often."""
        for _ in range(SECONDS * 50):
            if condition():
                break
            self.page.wait_for_timeout(20)

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


@pytest.fixture
def counting(server: PageServer, visit: Any) -> Visitor:
    """Somebody who watches a slow answer, the numbers from 0 to 999, that has come to 5."""
    server.script.answers["Count"] = [f"{n} " for n in range(1000)]
    server.script.delay = 0.02
    visitor: Visitor = visit()
    visitor.says("Count", wait=False)
    visitor.sees(".answer:has-text('5')")
    return visitor
