"""What a browser keeps may be anything, and so may a file that is brought in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer

pytestmark = pytest.mark.full

Visit = Callable[..., Visitor]

OPENAI = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
SHAREGPT = [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "乙"}]
PARTS = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "甲"}]},
    {"role": "assistant", "content": [{"type": "output_text", "text": "乙"}], "refusal": None},
]
NODES = {
    "a": {"message": None, "parent": None},
    "b": {"message": {"author": {"role": "user"}, "content": {"parts": ["甲"]}}, "parent": "a"},
    "x": {"message": {"author": {"role": "user"}, "content": {"parts": ["no"]}}, "parent": "a"},
    "c": {
        "message": {"author": {"role": "assistant"}, "content": {"parts": ["乙"]}},
        "parent": "b",
    },
}


def bring(visitor: Visitor, content: Any, name: str = "old_talk.json") -> None:
    """Brings in a file: bytes, a text, or something as JSON."""
    text = content if isinstance(content, str | bytes) else json.dumps(content, ensure_ascii=False)
    data = text.encode() if isinstance(text, str) else text
    file = {"name": name, "mimeType": "application/json", "buffer": data}
    visitor.page.set_input_files("#file", file)


@pytest.mark.parametrize(
    "content",
    [
        {"conversations": OPENAI},
        {"messages": OPENAI},
        {"messages": PARTS},
        OPENAI,
        "\ufeff" + json.dumps({"messages": OPENAI}),
        {"conversations": SHAREGPT},
        [{"id": "1", "conversations": SHAREGPT}],
        SHAREGPT,
        {"conversations": [OPENAI[0], {"role": "assistant", "content": None}, OPENAI[1]]},
        "\n".join(json.dumps(message) for message in OPENAI) + "\r\n\r\n",
        [{"chat": {"messages": OPENAI}}],
        [{"mapping": NODES, "current_node": "c"}],
    ],
)
def test_a_conversation_of_another_program_is_read(
    server: PageServer, visit: Visit, content: Any
) -> None:
    visitor = visit()
    bring(visitor, content)
    visitor.sees(".answer", "乙")
    visitor.sees("#title", "old talk")
    assert visitor.page.locator(".said").all_inner_texts() == ["甲"]
    visitor.says("丙")
    sent = [m["content"] for m in server.script.requests[-1]["messages"]]
    assert sent[-3:] == ["甲", "乙", "丙"]
    assert sent[:-3] == (["Be kind."] if "Be kind." in json.dumps(content) else [])


def test_lines_of_conversations_are_brought_in_together(visit: Visit) -> None:
    visitor = visit()
    lines = [{"messages": [{"role": "user", "content": f"Number {n}"}, OPENAI[1]]} for n in (1, 2)]
    bring(visitor, "\n".join(map(json.dumps, lines)), "many.jsonl")
    visitor.sees("#title", "Number 1")
    titles = visitor.page.locator("#conversations .open")
    assert set(titles.all_inner_texts()) == {"Number 1", "Number 2"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "This file holds no conversation."),
        ("", "This file holds no conversation."),
        ("null", "This file holds no conversation."),
        ({"conversations": []}, "This file holds no conversation."),
        ({"messages": {"role": "user"}}, "This file holds no conversation."),
        ({"messages": [{"role": "user", "content": " "}]}, "This file holds no conversation."),
        ('{"messages": [', "This is no JSON (looked at in line 1)."),
        (b"\x89PNG\r\n\x1a\n", "This is no JSON (looked at in line 1)."),
        (json.dumps({"messages": OPENAI}) + "\n{", "This is no JSON (looked at in line 2)."),
        (
            {"messages": [OPENAI[0], {"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "Message 2 is no text or call of a user, assistant, system or tool.",
        ),
        (
            {"messages": [OPENAI[0], {"from": "function_call", "value": '{"name": "f"'}]},
            "Message 2 is no text or call of a user, assistant, system or tool.",
        ),
        (
            {"messages": OPENAI, "tools": [{"description": "no name"}]},
            'Tool 1 must be {"name": ..., "parameters": {...}}, alone or under "function".',
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "Message 1 is no text or call of a user, assistant, system or tool.",
        ),
        (
            {"messages": [*OPENAI, None]},
            "Message 3 is no text or call of a user, assistant, system or tool.",
        ),
        ([{"messages": OPENAI}] * 1001, "1001 conversations are too many: 1000 at a time."),
        ([{"messages": OPENAI}, {"other": 1}], "This file holds no conversation."),
        (
            [{"mapping": {"a": {"parent": "a"}}, "current_node": "a"}],
            "This file holds no conversation.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(
    visit: Visit, content: Any, said: str
) -> None:
    visitor = visit()
    bring(visitor, content, "broken.json")
    visitor.sees("#toast", f"broken.json: {said}")
    assert visitor.kept() == []


@pytest.mark.parametrize(
    "kept",
    [
        "{broken",
        "null",
        "7",
        '"abc"',
        "[1]",
        '{"language": "tlh", "theme": "neon", "sampling": null, "system": 7}',
        '{"language": "constructor", "theme": "toString", "sampling": [1], "system": null}',
        '{"sampling": {"temperature": "hot", "top_p": 9, "max_tokens": 2.5, "seed": {}, "x": 1}}',
    ],
)
def test_settings_that_are_not_understood_are_the_defaults(
    server: PageServer, visit: Visit, kept: str
) -> None:
    visitor = visit()
    visitor.page.evaluate("(kept) => localStorage.setItem('etude:settings', kept)", kept)
    visitor.page.reload()
    visitor.says("Hi")
    visitor.sees(".answer", "All right.")
    sent = server.script.requests[-1]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.7, 0.9, 512)
    assert [m["role"] for m in sent["messages"]] == ["user"]
    visitor.clicks("#language")
    visitor.clicks("#theme")
    visitor.page.reload()
    assert visitor.page.evaluate("document.documentElement.lang") == "zh-CN"
    assert visitor.page.evaluate("document.documentElement.dataset.theme") == "light"


CHATS = [
    {"id": "a", "messages": {}},
    {"id": "a", "messages": {"m": {"id": "m", "role": "user", "content": "x", "parent": "m"}}},
    {"id": "a", "messages": {"m": {"id": "m", "role": "user", "content": "x"}}, "leaf": "zz"},
    {
        "id": "a", "title": {}, "system": [], "updated": "x", "leaf": "m",
        "messages": {
            "m": {"id": "m", "role": "assistant", "content": "x", "tokens": 7, "usage": 3},
        },
    },
    {"id": "a", "messages": {"m": {"id": "n", "role": "user", "content": "x"}}},
    {
        "id": "a", "tools": [7], "format": "tlh", "schema": None, "thinking": "x", "model": {},
        "messages": {
            "m": {
                "id": "m", "role": "assistant", "content": "x", "tool_calls": [{"id": 7}],
                "reasoning_content": "y", "thinking": 7, "format": "x", "usage": 7, "end": 7,
            },
            "n": {"id": "n", "role": "tool", "content": "x", "parent": "m", "name": {}},
        },
    },
    {"id": 7, "messages": []},
    {"id": "a", "messages": {"m": None}},
    7,
]  # fmt: skip


@pytest.mark.parametrize("chat", CHATS)
def test_a_damaged_conversation_never_blanks_the_page(
    server: PageServer, visit: Visit, chat: Any
) -> None:
    visitor = visit()
    visitor.page.evaluate(
        """(chat) => {
          localStorage.setItem("etude:chat:a", chat);
          localStorage.setItem("etude:current", '"a"');
          localStorage.setItem("etude:key", "{}");
        }""",
        json.dumps(chat),
    )
    visitor.page.reload()
    visitor.says("Hi")
    visitor.sees(".answer", "All right.")
    assert server.script.requests[-1]["messages"][-1]["content"].endswith("Hi")


def test_without_storage_everything_else_works(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = ["All", " right", "."]
    visitor = visit()
    visitor.context.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(
          window, name, {get() { throw new DOMException("no", "SecurityError"); }})"""
    )
    visitor.page.reload()
    visitor.says("Hi")
    visitor.sees(".answer", "All right.")
    visitor.sees("#toast:has-text('storage is full or off')")
    visitor.clicks("[aria-pressed]")
    visitor.sees(".token", count=3)
    visitor.presses("Control+Shift+O")
    visitor.says("Again")
    visitor.sees("#conversations li", count=2)
    assert visitor.page.locator("#toast").inner_text().count("storage") == 1
