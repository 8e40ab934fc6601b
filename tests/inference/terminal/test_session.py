"""A conversation remembers what fits, and tells what it forgot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config import SamplingConfig, UserError
from inference.engine.answers import CutBy, FinishReason, GenerationResult, Token
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ChatConfig
from inference.terminal.backends import EtudeBackend, OnText
from inference.terminal.console import readable
from inference.terminal.session import (
    ChatSession,
    CompletionSession,
    open_session,
    prompt_room,
    read_tools,
)
from inference.terminal.tool_calls import MOST_ROUNDS, load_functions
from model.answer_parts import Part
from model.chat import check_messages
from model.chat_template import CHAT_TEMPLATE
from model.conversation import Message, Tool, said
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude


class ScriptedBackend(EtudeBackend):
    """Gives scripted answers; a token is a character."""

    def __init__(self, answers: Sequence[str], context: int = 400, is_chat: bool = True) -> None:
        self.answers, self.context, self.is_chat = list(answers), context, is_chat
        self.title = "scripted"
        self.sampling = SamplingConfig(max_tokens=100)
        self.reason: FinishReason = "stop"
        self.prompts: list[str] = []

    @property
    def template(self) -> str:
        return CHAT_TEMPLATE

    def render_chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), options: Any = None
    ) -> list[int]:
        names = "".join(f"{tool['function']['name']};" for tool in tools)
        return self.render_text(names + "".join(f"{m['role'][0]}:{said(m)};" for m in messages))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def render_text(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def generate(self, prompt: list[int], on_text: OnText) -> GenerationResult:
        self.prompts.append("".join(map(chr, prompt)))
        answer = self.answers.pop(0)
        for character in answer:
            on_text(character)
        fits = len(prompt) + self.sampling.max_tokens < self.context
        tokens = tuple(Token(ord(character), character) for character in answer)
        cut_by: CutBy = "max_tokens" if fits else "context"
        return GenerationResult(answer, tokens, self.reason, cut_by, len(prompt))

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()


def ignore(part: Part) -> None:
    pass


def test_turns_are_remembered() -> None:
    backend = ScriptedBackend(["one", "two"])
    session = ChatSession(backend, "be kind")
    written: list[Part] = []
    assert session.ask("first", written.append).text == "one"
    assert written == [Part("content", character) for character in "one"]
    session.ask("second", ignore)
    assert backend.prompts[1] == "s:be kind;u:first;a:one;u:second;"


def test_clear_forgets_the_turns_and_keeps_the_system_prompt() -> None:
    backend = ScriptedBackend(["one", "two"])
    session = ChatSession(backend, "be kind")
    session.ask("first", ignore)
    session.clear()
    session.ask("second", ignore)
    assert backend.prompts[1] == "s:be kind;u:second;"


def test_the_oldest_turns_go_first_and_the_user_is_told_once() -> None:
    backend = ScriptedBackend(["A" * 20, "B" * 20, "C" * 5, "D" * 5], context=100)
    session = ChatSession(backend, "sys")
    session.ask("1" * 10, ignore)
    assert session.notes == []
    session.ask("2" * 10, ignore)
    assert session.notes == []
    session.ask("3" * 10, ignore)
    assert session.notes == [
        "the conversation outgrew the context: the oldest 2 messages are forgotten"
    ]
    assert backend.prompts[2] == f"s:sys;u:{'2' * 10};a:{'B' * 20};u:{'3' * 10};"
    session.ask("4", ignore)
    assert session.notes == []
    assert backend.prompts[3] == f"s:sys;u:{'2' * 10};a:{'B' * 20};u:{'3' * 10};a:{'C' * 5};u:4;"


def test_a_message_too_long_is_refused_and_the_conversation_stays() -> None:
    backend = ScriptedBackend(["one", "two"], context=100)
    session = ChatSession(backend, None)
    session.ask("first", ignore)
    with pytest.raises(UserError, match="only 75 fit: shorten it"):
        session.ask("x" * 90, ignore)
    session.ask("second", ignore)
    assert backend.prompts[-1] == "u:first;a:one;u:second;"


def test_a_stopped_answer_stays_as_far_as_it_came() -> None:
    backend = ScriptedBackend(["half an ans", "two"])
    session = ChatSession(backend, None)
    backend.reason = "cancelled"
    reply = session.ask("first", ignore)
    assert (reply.text, session.notes) == ("half an ans", ["stopped"])
    backend.reason = "stop"
    session.ask("second", ignore)
    assert backend.prompts[1] == "u:first;a:half an ans;u:second;"


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_without_an_answer_nothing_was_asked(answer: str) -> None:
    backend = ScriptedBackend([answer, "two"])
    session = ChatSession(backend, None)
    session.ask("first", ignore)
    assert session.notes == ["the model has nothing to say to this"]
    session.ask("second", ignore)
    assert backend.prompts[1] == "u:second;"


def test_a_cut_answer_says_what_cut_it() -> None:
    backend = ScriptedBackend(["one", "two"], context=100)
    backend.reason = "length"
    backend.sampling = SamplingConfig(max_tokens=10)
    session = ChatSession(backend, None)
    session.ask("x", ignore)
    assert session.notes == ["cut after --max_tokens 10"]
    backend.sampling = SamplingConfig(max_tokens=1000)
    session.ask("y", ignore)
    assert session.notes == ["cut: the context of 100 tokens is full"]


def test_completion_keeps_the_end_of_a_long_text() -> None:
    backend = ScriptedBackend(["z", "z"], context=100, is_chat=False)
    session = CompletionSession(backend)
    session.ask("short", ignore)
    assert session.notes == []
    session.ask("x" * 40 + "y" * 75, ignore)
    assert session.notes == ["the text has 115 tokens: only the last 75 were read"]
    assert backend.prompts == ["short", "y" * 75]


def test_room_is_left_for_the_answer() -> None:
    backend = ScriptedBackend([], context=512)
    for max_tokens, context, room in ((512, 512, 384), (20, 512, 492), (20, 2, 1)):
        backend.context, backend.sampling = context, SamplingConfig(max_tokens=max_tokens)
        assert prompt_room(backend) == room


def test_another_answer_takes_the_place_of_the_last_one() -> None:
    backend = ScriptedBackend(["one", "two", "2", "three"])
    session = ChatSession(backend, None)
    with pytest.raises(UserError, match="no answer yet"):
        session.regenerate(ignore)
    session.ask("first", ignore)
    session.ask("second", ignore)
    assert session.regenerate(ignore).text == "2"
    assert backend.prompts[2] == backend.prompts[1]
    session.ask("third", ignore)
    assert backend.prompts[3] == "u:first;a:one;u:second;a:2;u:third;"


def test_another_answer_that_does_not_fit_leaves_the_old_one() -> None:
    backend = ScriptedBackend(["one"], context=100)
    session = ChatSession(backend, None)
    session.ask("first", ignore)
    session.system = "x" * 100
    with pytest.raises(UserError, match="shorten it"):
        session.regenerate(ignore)
    assert session.turns[-1]["content"] == "one"


def test_a_text_is_continued_again() -> None:
    backend = ScriptedBackend(["a", "b"], is_chat=False)
    session = CompletionSession(backend)
    with pytest.raises(UserError, match="no text yet"):
        session.regenerate(ignore)
    session.ask("x", ignore)
    assert session.regenerate(ignore).text == "b"
    assert backend.prompts == ["x", "x"]


def test_system_prompt_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(UserError, match=r"--system: .* only continues texts"):
        open_session(ScriptedBackend([], is_chat=False), ChatConfig(system="be kind"))
    with pytest.raises(UserError, match="--system is empty"):
        open_session(ScriptedBackend([]), ChatConfig(system="  "))


def test_half_surrogate_pairs_become_replacement_characters() -> None:
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert readable(argument).startswith("caf\ufffd")
    assert readable("猫 🦊") == "猫 🦊"


def test_a_long_chat_never_outgrows_a_real_context(model: Etude, tokenizer: EtudeTokenizer) -> None:
    sampling = SamplingConfig(seed=1, max_tokens=30)
    loaded = LoadedModel(Engine(model, tokenizer, slots=1), tokenizer, "tiny", True, "")
    backend = EtudeBackend(loaded, sampling)
    session = ChatSession(backend, "You are kind.")
    notes = []
    reused = []
    for number in range(12):
        reply = session.ask(f"hello {number} 你好", ignore)
        notes += session.notes
        reused.append((reply.cached_tokens, reply.prompt_tokens))
    assert any("outgrew" in note for note in notes)
    ids = session.backend.render_chat([*session.messages, *ask("again")])
    assert len(ids) < 300  # far less than twelve turns have
    cached, prompt = reused[1]
    assert cached > prompt / 2  # what the first turn has read is not read again


ADD: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {}}}


def tagged(arguments: str) -> str:
    return f'<tool_call>\n{{"name": "add", "arguments": {arguments}}}\n</tool_call>'


def test_calls_wait_for_their_results_and_thoughts_are_kept() -> None:
    calls = "\n".join(map(tagged, ('{"a": 1}', '{"a": 2}')))
    first = f"<think>\nHm.\n</think>\n\nWell.\n{calls}"
    backend = ScriptedBackend([first, "Three.", "Yes."])
    session = ChatSession(backend, None, [ADD])
    shown: list[Part] = []
    session.ask("q", shown.append)
    assert [part for part in shown if part.kind == "call"] == [
        Part("call", '{"a": 1}', "add"),
        Part("call", '{"a": 2}', "add"),
    ]
    assert "".join(part.text for part in shown if part.kind == "reasoning_content") == "Hm."
    answer = session.turns[-1]
    assert (answer["content"], answer["reasoning_content"]) == ("Well.", "Hm.")
    assert session.notes == ["the next message is the result of add (/none: there is none)"]
    assert session.keep_result("1")
    assert not session.keep_result("2")
    assert session.ask("2", ignore).text == "Three."
    assert backend.prompts[1].endswith("t:1;t:2;")
    assert check_messages(session.messages) is None
    ids = [call["id"] for call in answer["tool_calls"]]
    assert [turn["tool_call_id"] for turn in session.turns if turn["role"] == "tool"] == ids
    assert session.regenerate(ignore).text == "Yes."
    assert [turn["role"][0] for turn in session.turns] == list("uatta")


def test_a_call_without_a_result_takes_its_question_with_it() -> None:
    session = ChatSession(ScriptedBackend(["a", tagged("{}"), "b"]), None, [ADD])
    session.ask("one", ignore)
    with pytest.raises(UserError, match="no call of a tool waits"):
        session.give_up_calls()
    session.ask("two", ignore)
    session.give_up_calls()
    assert [turn["content"] for turn in session.turns] == ["one", "a"]
    session.ask("three", ignore)
    assert session.backend.prompts[-1] == "add;u:one;a:a;u:three;"  # type: ignore[union-attr]


def adding(a: int, b: int = 0) -> int:
    """What a person's file may hold."""
    return a + b


def test_calls_that_can_be_run_are_run() -> None:
    calls = "\n".join(map(tagged, ('{"a": 1}', '{"a": 2, "b": 3}')))
    backend = ScriptedBackend([calls, tagged('{"c": 1}'), "Done."])
    session = ChatSession(backend, None, [ADD], {}, {"add": adding})
    shown: list[Part] = []
    assert session.ask("q", shown.append).text == "Done."
    results = [part.text for part in shown if part.kind == "result"]
    assert results[:2] == ["1", "5"]
    assert results[2].startswith("error: ")  # the model made up an argument
    assert backend.prompts[1].endswith("t:1;t:5;")
    assert [turn["role"][0] for turn in session.turns] == list("uattata")
    assert check_messages(session.messages) is None
    assert session.waiting == []


def test_a_model_that_only_calls_is_stopped() -> None:
    backend = ScriptedBackend([tagged('{"a": 1}')] * 20, context=10_000)
    session = ChatSession(backend, None, [ADD], {}, {"add": adding})
    session.ask("q", ignore)
    assert len(backend.prompts) == 1 + MOST_ROUNDS
    assert session.waiting  # for the user


def test_a_stopped_answer_calls_nothing() -> None:
    backend = ScriptedBackend([tagged('{"a": 1}')])
    backend.reason = "cancelled"
    session = ChatSession(backend, None, [ADD], {}, {"add": adding})
    session.ask("q", ignore)
    assert len(backend.prompts) == 1


def test_a_file_of_functions_must_have_those_of_the_tools(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Sum:\n    a: int\n"
        "def add(a): return Sum(a).a\nother = 3\n",
        encoding="utf-8",
    )
    assert load_functions(path, [ADD])["add"](a=4) == 4
    other = {"type": "function", "function": {"name": "other"}}
    with pytest.raises(UserError, match=r"own\.py: it has no function other"):
        load_functions(path, [ADD, other])
    with pytest.raises(UserError, match=r"none\.py: there is no such file"):
        load_functions(tmp_path / "none.py", [ADD])
    assert ChatConfig(tool_file=path).conflicts()


def test_without_tools_a_call_is_text() -> None:
    session = ChatSession(ScriptedBackend([tagged("{}")]), None)
    session.ask("q", ignore)
    assert session.turns[-1] == {"role": "assistant", "content": tagged("{}")}


def test_the_oldest_exchange_goes_with_its_calls() -> None:
    session = ChatSession(ScriptedBackend([tagged("{}"), "b", "c"], context=300), None, [ADD])
    session.ask("1" * 40, ignore)
    session.ask("2" * 40, ignore)
    session.ask("3" * 100, ignore)
    assert [turn["role"] for turn in session.turns] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "this is no list of tools in JSON"), ("3", "tools must be a list"), ("[{}]", "tool 1")],
)
def test_a_file_of_tools_is_checked(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"{path.name}: {sentence}"):
        read_tools(path)
    path.write_text(json.dumps([ADD]), encoding="utf-8")
    assert read_tools(path) == [ADD]


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]
