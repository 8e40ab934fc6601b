"""The page for everyone: keyboard, screen reader, contrast, phone, two languages, two themes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from inference.api.routes import FOLDER
from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
WIDE = f"```\n{'wide ' * 60}\n```\n| {'a | ' * 30}\n|{'---|' * 30}\n{'x' * 300} {'宽' * 200}"

COLOURS = """(selectors) => selectors.map((selector) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const paint = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const element = document.querySelector(selector);
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.unshift(getComputedStyle(e).backgroundColor);
  const ground = layers.map(paint).at(-1);
  return [ground, paint(getComputedStyle(element).color)];
})"""
"""The ground under an element, all layers on one another, and its text upon it."""


def luminance(colour: list[int]) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [value / 255 for value in colour[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: list[int], second: list[int]) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(server: PageServer, visit: Visit, scheme: str) -> None:
    code = "```py\nif 'a':  # says\n  1\n```"
    server.script.otherwise = [f"A [link](https://example.org) and `code`.\n\n> said\n\n{code}"]
    visitor = visit(color_scheme=scheme)
    visitor.says("Hi")
    server.stop()
    visitor.says("Hi")
    visitor.sees("#trouble span")
    visitor.page.locator("[aria-pressed]").first.click()
    visitor.page.evaluate(
        "document.querySelector('.token').style.setProperty('--heat', '62%')"  # the most there is
    )
    selectors = [
        *("body", "#title", "#model .context", "#conversations .open", ".new", ".bar", ".said"),
        *(".tools .tool", ".facts", "#room", "#trouble span", "#trouble .plain", "#hint"),
        *("#send.stop, #send", ".token", ".caption"),
    ]
    check_contrast(visitor, selectors)
    visitor.page.locator("[aria-pressed]").first.click()
    check_contrast(visitor, [".answer", ".answer a", ".answer code", "blockquote"])
    check_contrast(
        visitor, [f".code .{kind}" for kind in ("comment", "string", "number", "keyword")]
    )
    visitor.page.fill("#search", "link")
    check_contrast(visitor, ["#search", "#found", "#conversations mark", "#conversations small"])
    edge = "getComputedStyle(document.querySelector('#composer')).borderTopColor"
    parts = visitor.page.evaluate(edge).strip("rgb()").split(",")
    ground, _ = visitor.page.evaluate(COLOURS, ["#composer"])[0]
    assert contrast([int(float(part)) for part in parts], ground) >= 3


def check_contrast(visitor: Visitor, selectors: list[str]) -> None:
    """Small texts need a contrast of 4.5 (WCAG 2.2, AA)."""
    for selector, colours in zip(selectors, visitor.page.evaluate(COLOURS, selectors), strict=True):
        assert contrast(*colours) >= 4.5, (selector, colours)


NAMELESS = """() => [...document.querySelectorAll(
    "button, input, textarea, select, summary, a, [role=button]")]
  .filter((e) => e.checkVisibility())
  .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() ||
    (e.id && document.querySelector(`label[for="${e.id}"]`)?.textContent.trim())))
  .map((e) => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_everything_has_a_name(server: PageServer, visit: Visit, locale: str) -> None:
    visitor = visit(locale=locale)
    visitor.says("Hi")
    visitor.clicks("[aria-pressed]")
    assert visitor.page.evaluate(NAMELESS) == []
    visitor.clicks("#open-settings")
    visitor.clicks("summary")
    assert visitor.page.evaluate(NAMELESS) == []
    for role in ("main", "navigation", "dialog"):
        assert visitor.page.get_by_role(role).count() == 1
    assert visitor.page.locator("h1").count() == 1
    assert visitor.page.evaluate("document.documentElement.lang") == locale.replace("-US", "")
    ids = visitor.page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_an_answer_is_read_out_once_and_trouble_at_once(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    assert visitor.page.locator("#spoken").get_attribute("aria-live") == "polite"
    visitor.says("Hi")
    assert visitor.page.locator("#spoken").inner_text() == "The model answered: All right."
    assert visitor.page.locator("#trouble").get_attribute("role") == "alert"


def test_the_keyboard_is_enough(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.sees("#model b")
    visitor.page.keyboard.type("One")
    visitor.presses("Shift+Enter")
    visitor.page.keyboard.type("two")
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    assert server.script.requests[0]["messages"][0]["content"] == "One\ntwo"
    assert focused(visitor)["id"] == "text"
    visitor.presses("Control+Shift+Enter")
    visitor.sees(".branches")
    visitor.sees("#send:not(.stop)")
    visitor.presses("Control+.")
    visitor.sees(".token")
    visitor.presses("Tab")
    for _ in range(30):
        if "token" in focused(visitor)["class"]:
            break
        visitor.presses("Shift+Tab")
    assert "token" in focused(visitor)["class"]
    visitor.presses("Escape", "Control+/")
    assert visitor.sees("#settings[open]")
    visitor.presses("Escape")
    assert not visitor.page.locator("#settings").is_visible()


def focused(visitor: Visitor) -> dict[str, str]:
    """What has the focus."""
    return visitor.page.evaluate(
        "({id: document.activeElement.id, class: document.activeElement.className ?? ''})"
    )


def test_the_focus_can_be_seen_on_every_stop(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    visitor.says("Hi")
    seen = set()
    for _ in range(25):
        visitor.presses("Tab")
        outline = visitor.page.evaluate(
            "(e => [e.tagName + e.id + e.className, getComputedStyle(e).outlineStyle,"
            " getComputedStyle(e.closest('form') ?? e).boxShadow])(document.activeElement)"
        )
        if outline[0].startswith(("BODY", "HTML")):
            continue
        seen.add(outline[0])
        assert outline[1] != "none" or outline[2] != "none", outline
    assert len(seen) > 8


def test_enter_while_an_input_method_composes_does_not_send(
    server: PageServer, visit: Visit
) -> None:
    visitor = visit()
    visitor.sees("#model b")
    session = visitor.context.new_cdp_session(visitor.page)
    composed = {"selectionStart": 2, "selectionEnd": 2, "text": "ni"}
    session.send("Input.imeSetComposition", composed)
    key: dict[str, Any] = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **key})
    session.send("Input.insertText", {"text": "你"})
    assert visitor.page.input_value("#text") == "你"
    assert server.script.requests == []
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")


def test_a_phone_never_scrolls_sideways(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = [WIDE]
    visitor = visit(**PHONE)
    visitor.sees("#model b")
    visitor.page.fill("#text", "长" * 120)
    visitor.page.tap("#send")
    visitor.sees("#send:not(.stop)")
    assert overflow(visitor) == []
    visitor.page.locator("[aria-pressed]").tap()
    assert overflow(visitor) == []
    visitor.page.tap("#open-settings")
    assert overflow(visitor) == []
    visitor.page.locator("#settings [aria-label=Close]").tap()
    small = visitor.page.locator("button:visible").evaluate_all(
        "all => all.filter(b => !b.closest('li') && Math.min(b.offsetWidth, b.offsetHeight) < 36)"
        ".map(b => b.outerHTML)"
    )
    assert small == []


def overflow(visitor: Visitor) -> list[str]:
    """What is wider than the window, outside the boxes that scroll by themselves."""
    return visitor.page.evaluate(
        """() => [document.documentElement, document.body, ...document.querySelectorAll(
            "#scroller, #score, #foot, #head, .turn, .answer, #settings")]
          .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)
          .map((e) => `${e.tagName}#${e.id}.${e.className} ${e.scrollWidth} ${e.clientWidth}`)"""
    )


def test_on_a_phone_the_conversations_are_behind_a_button(server: PageServer, visit: Visit) -> None:
    visitor = visit(**PHONE)
    assert not visitor.page.locator("#new").is_visible()
    visitor.page.tap("#menu")
    visitor.sees("#new")
    assert visitor.page.locator("#menu").get_attribute("aria-expanded") == "true"
    visitor.presses("Escape")
    visitor.page.locator("#new").wait_for(state="hidden")
    assert focused(visitor)["id"] == "menu"


def test_enter_on_a_touch_keyboard_begins_a_line(server: PageServer, visit: Visit) -> None:
    visitor = visit(**PHONE)
    visitor.sees("#model b")
    visitor.page.fill("#text", "One")
    visitor.page.focus("#text")
    visitor.presses("End", "Enter")
    assert visitor.page.input_value("#text") == "One\n"
    assert server.script.requests == []


def test_the_theme_follows_the_system_until_it_is_chosen(visit: Visit) -> None:
    def paper(visitor: Visitor) -> str:
        return visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")

    visitor = visit(color_scheme="dark")
    dark = paper(visitor)
    visitor.page.emulate_media(color_scheme="light")
    light = paper(visitor)
    assert dark != light
    visitor.clicks("#theme")
    visitor.clicks("#theme")
    assert paper(visitor) == dark
    visitor.page.reload()
    assert paper(visitor) == dark
    assert visitor.page.get_attribute("#theme", "aria-label") == "Theme: dark"


def test_the_language_can_be_chosen(server: PageServer, visit: Visit) -> None:
    visitor = visit(locale="zh-CN")
    visitor.says("你好")
    assert visitor.page.get_attribute("#text", "placeholder") == "写点什么"
    visitor.clicks("#language")
    assert visitor.page.get_attribute("#text", "placeholder") == "Write a message"
    visitor.page.reload()
    assert visitor.page.get_attribute("#text", "placeholder") == "Write a message"


def test_both_languages_say_the_same_things(visit: Visit) -> None:
    unlike = """() => Object.entries(TEXTS)
      .map(([name, texts]) => [name, texts.map((text) => text.match(/{\\d}/g)?.sort().join())])
      .filter(([, found]) => found.length !== 2 || found[0] !== found[1])"""
    page = visit().page
    assert page.evaluate("Object.values(TEXTS).flat().every((text) => text.trim())")
    assert page.evaluate(unlike) == []


def test_motion_is_reduced_on_request(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = [f"{n} " for n in range(400)]
    server.script.delay = 0.02
    visitor = visit(reduced_motion="reduce")
    visitor.says("Hi", wait=False)
    visitor.sees(".caret")
    name = "getComputedStyle(document.querySelector('.caret')).animationName"
    assert visitor.page.evaluate(name) == "none"


def test_nothing_is_fetched_from_elsewhere(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.reload()
    visitor.says("Hi")
    assert asked
    assert all(url.startswith(server.address) for url in asked)


def test_the_browser_understands_every_style(visit: Visit) -> None:
    """A line that was broken in the middle of a word is passed over without a complaint."""
    source = (FOLDER / "chat.css").read_text(encoding="utf-8")
    rules = re.findall(r"\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL))
    declarations = [line.split(":", 1) for rule in rules for line in rule.split(";") if ":" in line]
    written = [[n.strip(), v.removesuffix("!important").strip()] for n, v in declarations]
    assert len(written) > 400
    refused = "(written) => written.filter(([name, value]) => !CSS.supports(name, value))"
    unknown = visit().page.evaluate(refused, written)
    # WebKit's own names are for other browsers.
    assert [name for name, _ in unknown if not name.startswith("-webkit-")] == []
