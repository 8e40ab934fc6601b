"""What a chat can be reply to do: commands, JSON for scripts, an editor for people."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config import SamplingConfig, UserError
from inference.engine.answers import Token
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ChatConfig
from inference.terminal.backends import EtudeBackend
from inference.terminal.chat import ChatState, command_of, run_chat, run_command
from inference.terminal.console import (
    CONTROL,
    open_editor,
    padded,
    percent,
    style,
    view_tokens,
    visible,
)
from inference.terminal.session import ChatSession, CompletionSession, load_conversation
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def backend(model: Etude, tokenizer: EtudeTokenizer) -> EtudeBackend:
    loaded = LoadedModel(Engine(model, tokenizer, slots=1), tokenizer, "tiny", True, "")
    return EtudeBackend(loaded, SamplingConfig(temperature=0.0, max_tokens=8))


@pytest.fixture
def state(backend: EtudeBackend) -> ChatState:
    backend.top_logprobs = 3
    return ChatState(ChatSession(backend, None))


def run(monkeypatch: Patch, backend: EtudeBackend, lines: str = "", **flags: object) -> None:
    """Runs the chat in this process, with lines on a pipe."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    config = replace(ChatConfig(), **flags)  # type: ignore[arg-type]
    backend.top_logprobs = config.logprobs
    run_chat(backend, config)


def ask(state: ChatState, text: str) -> str:
    state.last = state.session.ask(text, lambda _: None)
    return state.last.text


def test_settings_change_what_is_said(state: ChatState, capsys: Capture) -> None:
    run_command(state, "/temperature 1.5")
    run_command(state, "/set seed 4")
    run_command(state, "/set max_tokens 5")
    sampling = state.session.backend.sampling
    assert sampling == SamplingConfig(temperature=1.5, seed=4, max_tokens=5)
    ask(state, "Hello")
    assert state.last
    assert len(state.last.tokens) == 5
    run_command(state, "/set seed none")
    assert state.session.backend.sampling.seed is None
    capsys.readouterr()
    run_command(state, "/set")
    assert "temperature = 1.5\ntop_k = 50\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temperature hot", "temperature must be a number, not 'hot'"),
        ("/temperature -1", "temperature is -1.0"),
        ("/set heat 3", "there is no setting heat: choose one of temperature, top_k"),
        ("/set top_k 1.5", "top_k must be a whole number"),
        ("/set top_k 5 6", "top_k must be a whole number, not '5 6'"),
        ("/set temperature nan", "temperature is nan: use a finite number"),
        ("/clear all", "/clear stands alone, without 'all'; /help shows the commands"),
        ("/tokens 5", "/tokens stands alone"),
        ("/regenerate please", "/regenerate stands alone"),
        ("/HELP me", "/help stands alone"),
        ("/save ~nobody-here/x.json", "there is no such home directory"),
        ("/load ~nobody-here/x.json", "there is no such home directory"),
        ("/load .", "it cannot be read"),
        ("/tokens", "there is no answer yet"),
        ("/regenerate", "no answer yet"),
        ("/save", "name a file: /save talk.json"),
        ("/save x.json", "nothing to save yet"),
        ("/load nowhere.json", r"nowhere.json: it cannot be read \(No such file"),
        ("/quite", "there is no /quite; /help shows the commands"),
    ],
)
def test_a_mistake_is_named_in_a_sentence(state: ChatState, line: str, said: str) -> None:
    before = state.session.backend.sampling
    with pytest.raises(UserError, match=said):
        run_command(state, line)
    assert state.session.backend.sampling == before


def test_every_command_is_in_the_help(state: ChatState, capsys: Capture) -> None:
    from inference.terminal.chat import COMMANDS

    run_command(state, "/help")
    text = capsys.readouterr().err
    assert all(f"{name} " in text for name in COMMANDS)


def test_what_is_a_command() -> None:
    assert command_of("/help")
    assert command_of("/system You are kind.")
    assert command_of("/exit now") == command_of("/EXIT") == "/exit"
    assert command_of("/exit\tnow") == "/exit"
    assert not command_of("")
    assert not command_of("/usr/bin is a folder")
    assert not command_of("/ or not")
    assert not command_of("/system is a word\nin two lines")


def test_the_system_prompt_counts_from_the_next_answer_on(state: ChatState) -> None:
    chat = state.session
    assert isinstance(chat, ChatSession)
    run_command(state, "/system You are  kind. 你很善良。")
    ask(state, "Hello")
    assert chat.messages[0] == {"role": "system", "content": "You are  kind. 你很善良。"}
    run_command(state, "/system none")
    assert [m["role"] for m in chat.messages] == ["user", "assistant"]


def test_regenerate_replaces_the_last_answer(state: ChatState, capsys: Capture) -> None:
    chat = state.session
    assert isinstance(chat, ChatSession)
    first = ask(state, "Hello")
    run_command(state, "/temperature 5")
    run_command(state, "/set seed 4")  # without one, an answer may be empty now and then
    run_command(state, "/regenerate")
    assert state.last
    assert state.last.text != first
    assert capsys.readouterr().out == state.last.text + "\n"
    assert chat.turns == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": state.last.text},
    ]


def test_a_saved_conversation_goes_on_where_it_was(state: ChatState, tmp_path: Path) -> None:
    chat = state.session
    assert isinstance(chat, ChatSession)
    run_command(state, "/system 你很善良。")
    ask(state, "Hello 你好")
    path = tmp_path / "my talk.json"
    run_command(state, f"/save {path}")
    kept = chat.messages
    assert json.loads(path.read_text(encoding="utf-8")) == {"conversations": kept}
    ask(state, "more")
    run_command(state, f"/save {path}")  # its own file
    following = chat.messages[-1]
    run_command(state, "/clear")
    run_command(state, "/system none")
    ask(state, "Hi")
    with pytest.raises(UserError, match="is there already"):
        run_command(state, f"/save {path}")
    run_command(state, f"/load {path}")
    assert chat.messages[: len(kept)] == kept
    assert chat.messages[-1] == following
    run_command(state, "/regenerate")
    assert chat.messages[-1] == following  # the same context gives the same greedy answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be a non-empty list"),
        ('{"conversations": [{"role": "user"}]}', "needs a content"),
        ("not json", "this is no conversation in JSON"),
        ("[" * 100_000, "this is no conversation in JSON"),
    ],
)
def test_a_file_that_is_no_conversation_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        load_conversation(path)


def test_a_question_without_an_answer_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = json.dumps({"conversations": [*turns, {"role": "user", "content": "c"}]})
    for encoding in ("utf-8", "utf-8-sig"):  # with a byte-order mark, as some editors write it
        path.write_text(text, encoding=encoding)
        assert load_conversation(path) == turns


@pytest.mark.parametrize("name", [".", "/", "nowhere/x.json", f"{'x' * 300}.json"])
def test_a_conversation_that_cannot_be_saved_is_not_lost(
    state: ChatState, monkeypatch: Patch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ask(state, "Hello")
    with pytest.raises(UserError, match=r"cannot be written|is there already"):
        run_command(state, f"/save {name}")
    run_command(state, "/save x.json")
    assert load_conversation(tmp_path / "x.json")[0]["content"] == "Hello"


def test_a_pretrained_model_has_no_conversation(backend: EtudeBackend) -> None:
    state = ChatState(CompletionSession(backend))
    for line in ("/system x", "/save x.json", "/load x.json"):
        with pytest.raises(UserError, match="only continues texts"):
            run_command(state, line)


def test_tokens_show_what_else_might_have_come(state: ChatState, capsys: Capture) -> None:
    ask(state, "Hello")
    run_command(state, "/tokens")
    assert state.last
    lines = capsys.readouterr().err.splitlines()
    assert "\n".join(lines).startswith(state.last.text.translate(CONTROL))
    rows = [line for line in lines if " %" in line]
    assert len(rows) == 8
    for token, row in zip(state.last.tokens, rows, strict=True):
        assert row.startswith(f"{percent(token.logprob or 0):>6}")
        assert visible(state.session.backend.token_bytes(token.id)) in row
        assert row.count(" %") == 3
    assert lines[-1].startswith("8 tokens, ")


def test_tokens_are_shown_as_they_are() -> None:
    assert visible(b" a\n\x1b") == "␣a↵\ufffd"
    assert visible(b"\xe4\xbd") == "<E4 BD>"
    assert padded("你好", 6) == "你好  "
    assert [percent(x) for x in (0.0, -0.7, -3.0, -12.0)] == ["100 %", "50 %", "5.0 %", "<0.1 %"]
    assert [style(x) for x in (0.0, -1.0, -3.0, -9.0)] == ["", "36", "33", "31"]
    lines = list(view_tokens([Token(1, "a\nb", -0.1, ((1, -0.1), (2, -3.0)))], lambda i: b"%d" % i))
    assert lines[:3] == ["a", "b", ""]
    assert lines[3].split() == ["90", "%", "▇" * 9, "1", "2", "5.0", "%"]


def test_json_is_a_line_an_answer(
    backend: EtudeBackend, monkeypatch: Patch, capsys: Capture
) -> None:
    run(monkeypatch, backend, "Hello\n你好\n" + "much " * 200 + "\n", json=True, logprobs=2)
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    usage = first["usage"]
    assert usage["completion_tokens"] == len(first["tokens"]) == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8
    assert first["finish_reason"] == "length"
    assert first["tokens_per_second"] > 0
    text = b"".join(bytes(token["bytes"]) for token in first["tokens"]).decode("utf-8", "replace")
    assert text == first["text"]
    token = first["tokens"][0]
    assert token["logprob"] == token["top_logprobs"][0]["logprob"]
    assert len(token["top_logprobs"]) == 2
    assert second["usage"]["cached_tokens"] > usage["prompt_tokens"]
    assert "shorten it" in third["error"]


def test_json_has_no_tokens_unless_asked(
    backend: EtudeBackend, monkeypatch: Patch, capsys: Capture
) -> None:
    run(monkeypatch, backend, prompt="Hello", json=True)
    reply = json.loads(capsys.readouterr().out)
    assert "tokens" not in reply
    assert reply["text"]


def test_logprobs_are_for_json() -> None:
    assert ChatConfig(logprobs=3).problems() == [
        "logprobs is only for --json; in a chat, /tokens shows them"
    ]
    assert ChatConfig(logprobs=21, json=True).problems() == [
        "logprobs is 21: use a value at least 0 and at most 20"
    ]


@pytest.fixture
def typed(tmp_path: Path) -> Callable[[str], list[str | None]]:
    """Types into the editor; what it gives."""
    toolkit = pytest.importorskip("prompt_toolkit")
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input

    def type_into(keys: str) -> list[str | None]:
        with (
            create_pipe_input() as pipe,
            create_app_session(input=pipe, output=toolkit.output.DummyOutput()),
        ):
            pipe.send_text(keys)
            read = open_editor(tmp_path / "state" / "history")
            found: list[str | None] = []
            while not found or found[-1] is not None:
                found.append(read())
            return found

    return type_into


def test_a_message_may_have_several_lines(typed: Callable[[str], list[str | None]]) -> None:
    assert typed("one\x1b\rtwo\r三\r\x04") == ["one\ntwo", "三", None]


def test_what_was_typed_can_be_had_again_by_its_writer_alone(
    typed: Callable[[str], list[str | None]], tmp_path: Path
) -> None:
    typed("first\rsecond\r\x04")
    assert typed("\x1b[A\x1b[A\r\x04") == ["first", None]
    mode = (tmp_path / "state" / "history").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
