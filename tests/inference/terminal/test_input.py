"""What people and pipes type: at any moment, in any encoding, with or without a mistake."""

from __future__ import annotations

import codecs
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config import SamplingConfig
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ChatConfig
from inference.terminal.backends import EtudeBackend
from inference.terminal.chat import run_chat
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.inference.terminal.conftest import ENVIRONMENT, SCRIPT, Person, run

FLAGS = ("--temperature", "0", "--max_tokens", "8")
TOO_LONG = "much " * 300


def piped(
    backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch, data: bytes, as_json: bool = False
) -> int:
    """Runs the chat in this process, with bytes on a pipe; its exit code."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    return run_chat(backend, replace(ChatConfig(), json=as_json))


@pytest.fixture
def backend(model: Etude, tokenizer: EtudeTokenizer) -> EtudeBackend:
    loaded = LoadedModel(Engine(model, tokenizer, slots=1), tokenizer, "tiny", True, "")
    return EtudeBackend(loaded, SamplingConfig(temperature=0.0, max_tokens=8))


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-8"),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_are_no_text(
    backend: EtudeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mark: bytes,
    encoding: str,
) -> None:
    assert piped(backend, monkeypatch, "Hello 你好\nBye".encode()) == 0
    plain = capsys.readouterr()
    lines = "Hello 你好\r\nBye\r\n/exit now\r\nHello\r\n"
    assert piped(backend, monkeypatch, mark + lines.encode(encoding)) == 0
    assert capsys.readouterr() == plain
    assert plain.err.count("cut after") == 2


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (f"{TOO_LONG}\n", 2),
        (f"Hello\n{TOO_LONG}\nHello\n", 2),
        ("Hello\n/quite\n", 2),
        ("\n \t \n\u3000\n", 0),
        ("Hello", 0),
        ("", 0),
    ],
)
def test_the_exit_code_says_whether_a_line_of_a_pipe_was_refused(
    backend: EtudeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    code: int,
) -> None:
    assert piped(backend, monkeypatch, lines.encode(), as_json=True) == code
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("error" in answer for answer in answers) == (code == 2)
    assert sum("text" in answer for answer in answers) == lines.count("Hello")


def test_a_script_sees_the_code_of_its_only_message(model_dir: Path, tmp_path: Path) -> None:
    result = run(SCRIPT, "--model_dir", str(model_dir), cwd=tmp_path, text=TOO_LONG)
    assert (result.returncode, result.stdout) == (2, "")
    assert "shorten it" in result.stderr


@pytest.mark.full
def test_a_closed_input_is_named(model_dir: Path) -> None:
    closing = f'"{sys.executable}" "{SCRIPT}" --model_dir "{model_dir}" <&-'
    result = subprocess.run(
        ["sh", "-c", closing], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: standard input cannot be read")
    assert "--prompt" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_keys_pressed_during_an_answer_wait_for_the_next_prompt(
    endless_dir: Path, start: Callable[..., Person]
) -> None:
    person = start(
        SCRIPT, "--model_dir", str(endless_dir), "--temperature", "0", "--max_tokens", "50000"
    )
    person.sees("leaves.*> ")
    person.types("Hello\r")
    person.sees(r"Hello\s+.{30}")
    person.types("/system plugh")
    person.types("\x03")
    person.sees("stopped")
    assert "plugh" not in person.seen.partition("stopped")[0]
    person.sees("> /system plugh")
    person.types("\r")
    person.sees("system prompt: plugh.*> ")
    person.types("/exit please\r")
    assert person.exit_code() == 0


@pytest.mark.full
def test_lines_pressed_ahead_are_answered_in_turn(
    model_dir: Path, start: Callable[..., Person]
) -> None:
    person = start(SCRIPT, "--model_dir", str(model_dir), *FLAGS)
    person.sees("leaves.*> ")
    person.types("/system one\r/system two\r/exit\r")
    person.sees("prompt: one.*prompt: two.*/exit")
    assert person.exit_code() == 0


@pytest.mark.full
def test_a_paste_of_several_lines_is_one_message(
    model_dir: Path, start: Callable[..., Person]
) -> None:
    person = start(SCRIPT, "--model_dir", str(model_dir), *FLAGS, TERM="xterm")
    person.sees("leaves.*>")
    person.types("\x1b[200~one\r\ntwo\nthree\n\x1b[201~")
    person.sees("one.*… two.*… three")
    person.types("\r")
    person.sees("cut after --max_tokens 8")
    assert person.seen.count("cut after") == 1


@pytest.mark.full
def test_a_line_that_the_terminal_wraps_has_no_mark(
    model_dir: Path, start: Callable[..., Person]
) -> None:
    person = start(SCRIPT, "--model_dir", str(model_dir), *FLAGS, TERM="xterm")
    person.sees("leaves.*>")
    person.types("word " * 40 + "end")
    person.sees("end")
    assert "…" not in person.seen


@pytest.mark.full
def test_typed_bytes_that_are_not_text_end_nothing(
    model_dir: Path, start: Callable[..., Person]
) -> None:
    person = start(SCRIPT, "--model_dir", str(model_dir), *FLAGS, TERM="xterm")
    person.sees("leaves.*>")
    person.types(b"caf\xe9 \xff\r")
    person.sees("cut after --max_tokens 8")
    assert "Traceback" not in person.seen


@pytest.mark.full
@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(
    model_dir: Path, start: Callable[..., Person], variable: str, value: str
) -> None:
    person = start(
        SCRIPT, "--model_dir", str(model_dir), *FLAGS, **{"TERM": "xterm", variable: value}
    )
    person.sees("leaves.*>")
    assert variable != "TERM" or "\x1b" not in person.seen
    person.types("Hello\r")
    person.sees("cut after --max_tokens 8")
    assert "\x1b[2m" not in person.seen
    assert "\x1b[3" not in person.seen
