"""An answer is the same parts however it comes, and nothing of it is lost."""

from __future__ import annotations

from itertools import groupby

import pytest

from model.answer_parts import AnswerParser, CallForm, Part

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "</think> 世"}}\n</tool_call>'
ARGUMENTS = '{"a": 1, "b": "</think> 世"}'
BARE = '{"name": "add", "parameters": {"a": 1}}'
ANSWERS: dict[str, tuple[CallForm | None, str, list[Part]]] = {
    "text": ("tagged", " 5 < 6 <tool and more \n", [Part("content", " 5 < 6 <tool and more \n")]),
    "a call": ("tagged", CALL, [Part("call", ARGUMENTS, "add")]),
    "text and calls": (
        "tagged",
        f"Let me see.\n{CALL}\n{CALL}",
        [Part("content", "Let me see."), *[Part("call", ARGUMENTS, "add")] * 2],
    ),
    "a call and text": (
        "tagged",
        f"{CALL}\n done ",
        [Part("call", ARGUMENTS, "add"), Part("content", "done ")],
    ),
    "an unclosed call": ("tagged", CALL[:-12], [Part("call", ARGUMENTS, "add")]),
    "half a call": ("tagged", CALL[:20], [Part("content", CALL[:20])]),
    "no JSON": (
        "tagged",
        "<tool_call>add</tool_call>",
        [Part("content", "<tool_call>add</tool_call>")],
    ),
    "no such tool": (
        "tagged",
        CALL.replace("add", "sub"),
        [Part("content", CALL.replace("add", "sub"))],
    ),
    "no tools": (None, CALL, [Part("content", CALL)]),
    "thoughts": (
        "tagged",
        f"<think>\n so {CALL[:11]} \n\n it is\n</think>\n\nYes.\n{CALL}",
        [
            Part("reasoning_content", f"so {CALL[:11]} \n\n it is"),
            Part("content", "Yes."),
            Part("call", ARGUMENTS, "add"),
        ],
    ),
    "no thoughts": ("tagged", " <thin air </think> ", [Part("content", " <thin air </think> ")]),
    "thoughts alone": ("tagged", "<think>\nso", [Part("reasoning_content", "so")]),
    "empty thoughts": ("tagged", "<think>\n\n</think>\n\nYes.", [Part("content", "Yes.")]),
    "bare": ("bare", BARE, [Part("call", '{"a": 1}', "add")]),
    "bare ones": ("bare", f"[{BARE}, {BARE}]", [Part("call", '{"a": 1}', "add")] * 2),
    "bare, but text": ("bare", '{"name": "Karo"}', [Part("content", '{"name": "Karo"}')]),
    "a bare number": ("bare", "[1] is a source", [Part("content", "[1] is a source")]),
    "thoughts, then bare": (
        "bare",
        f"<think>so</think>{BARE}",
        [Part("reasoning_content", "so"), Part("call", '{"a": 1}', "add")],
    ),
    "nothing": ("tagged", "", []),
}


def parts(parser: AnswerParser, pieces: list[str]) -> list[Part]:
    """All parts, neighbours that are text of one kind as one."""
    found = [part for piece in pieces for part in parser.step(piece)] + list(parser.finish())
    assert all(part.text for part in found)
    joined: list[Part] = []
    for kind, run in groupby(found, lambda part: part.kind):
        if kind == "call":
            joined += run
        else:
            joined.append(Part(kind, "".join(part.text for part in run)))
    return joined


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", ANSWERS)
def test_parts_of_an_answer(name: str, size: int) -> None:
    form, text, expected = ANSWERS[name]
    parser = AnswerParser(form, {"add"}, thinks="think" in text)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert parts(parser, pieces) == expected


def test_a_prompt_may_have_begun_the_thoughts() -> None:
    parser = AnswerParser("tagged", {"add"}, thinks=True, is_thought=True)
    expected = [Part("reasoning_content", "so"), Part("content", "Yes.")]
    assert parts(parser, ["\nso", "\n</think>", "\n\nYes."]) == expected


def test_text_comes_at_once() -> None:
    parser = AnswerParser("tagged", {"add"}, thinks=True)
    assert list(parser.step("Hello")) == [Part("content", "Hello")]
    assert list(parser.step(", you <")) == [Part("content", ", you")]
    assert list(parser.step("3")) == [Part("content", " <3")]
