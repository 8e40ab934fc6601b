"""The terminal chat, as a person and as a pipe meet it."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from config import ROOT, SamplingConfig, UserError
from inference.engine.engine import Engine
from inference.engine.loading import LoadedModel
from inference.settings import ChatConfig
from inference.terminal.backends import EtudeBackend
from inference.terminal.chat import run_chat
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.inference.terminal.conftest import ENVIRONMENT, SCRIPT, Person, run

CTRL_C, CTRL_D = "\x03", "\x04"


def chat(
    monkeypatch: pytest.MonkeyPatch, backend: EtudeBackend, lines: str, **flags: object
) -> None:
    """Runs the chat in this process, with lines on a pipe."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    config = replace(ChatConfig(), **flags)  # type: ignore[arg-type]
    run_chat(backend, config)


@pytest.fixture
def backend(model: Etude, tokenizer: EtudeTokenizer) -> EtudeBackend:
    return backend_of(model, tokenizer, True)


def backend_of(model: Etude, tokenizer: EtudeTokenizer, is_chat: bool) -> EtudeBackend:
    loaded = LoadedModel(Engine(model, tokenizer, slots=1), tokenizer, "tiny", is_chat, "")
    return EtudeBackend(loaded, SamplingConfig(temperature=0.0, max_tokens=8))


def test_one_shot_prints_only_the_answer_from_any_folder(tmp_path: Path, model_dir: Path) -> None:
    flags = ("--model_dir", "etude_sft_model", "--temperature", "0", "--max_tokens", "9")
    result = run(SCRIPT, *flags, "--prompt", "Hello 你好", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    backend = EtudeBackend.load(
        ChatConfig(model_dir, sampling=SamplingConfig(temperature=0.0, max_tokens=9))
    )
    pieces: list[str] = []
    backend.generate(
        backend.render_chat([{"role": "user", "content": "Hello 你好"}]), pieces.append
    )
    assert result.stdout == "".join(pieces) + "\n"
    assert result.stderr == "cut after --max_tokens 9\n"


def test_piped_lines_are_answered_one_by_one(
    backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(monkeypatch, backend, "Hello\n\n   \nHello\n/clear\nHello\n/exit\nHello\n")
    out = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(out) == 3
    assert out[0] == out[2]  # after /clear the same question has the same answer
    assert out[0] != out[1]  # while a second turn knows the first


def test_piped_bytes_that_are_not_text_do_not_end_the_chat(model_dir: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "inference.inference"]
    process = subprocess.run(
        [*command, "--model_dir", str(model_dir)],
        cwd=ROOT,
        env=ENVIRONMENT,
        input=b"caf\xe9 \xff\nbye",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert b"Traceback" not in process.stderr
    imported = {line.rpartition(b"|")[2].strip() for line in process.stderr.splitlines()}
    assert b"torch" in imported
    # What a script never needs would only make it wait.
    assert not imported & {b"transformers", b"prompt_toolkit", b"pydantic", b"fastapi"}


def test_commands_speak_on_standard_error(
    backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(monkeypatch, backend, "/help\n/clear\n/quite\n /exit \n")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "/clear              begin a new conversation" in captured.err
    assert "a new conversation" in captured.err
    assert "there is no /quite; /help shows the commands" in captured.err


def test_a_script_is_told_how_to_see_tokens(
    backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(monkeypatch, backend, "Hello\n/tokens\n")
    assert "scripts get them by --json --logprobs 5" in capsys.readouterr().err


def test_a_message_too_long_does_not_end_the_chat(
    backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(monkeypatch, backend, "much " * 200 + "\nHello\n")
    captured = capsys.readouterr()
    assert "shorten it" in captured.err
    assert captured.out.strip()


def test_an_empty_prompt_is_refused(backend: EtudeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--prompt is empty"):
        chat(monkeypatch, backend, "", prompt=" ")


def test_a_pretrained_model_continues_even_nothing(
    model: Etude,
    tokenizer: EtudeTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat(monkeypatch, backend_of(model, tokenizer, False), "", prompt="")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model_dir", "nowhere"), "nowhere: there is no model here"),
        (("--top_p", "2", "--max_tokens", "0"), "top_p is 2.0"),
    ],
)
def test_a_mistake_ends_with_a_sentence_and_code_2(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    result = run(SCRIPT, *flags, "--prompt", "x", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())


@pytest.mark.parametrize("script", ["inference.py", "hf.py"])
def test_help_answers_without_importing_torch(script: str) -> None:
    result = run("-X", "importtime", script, "--help", cwd=ROOT / "inference")
    assert result.returncode == 0
    assert "--repetition_penalty" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "tyro" in imported
    assert not imported & {"torch", "transformers", "tokenizers"}


def test_ctrl_c_stops_the_answer_and_not_the_program(
    endless_dir: Path, start: Callable[..., Person]
) -> None:
    flags = ("--model_dir", str(endless_dir), "--temperature", "0", "--max_tokens", "50000")
    person = start(SCRIPT, *flags)
    person.sees("endless: .*context of 60000.*> ")
    person.types("Hello\r")
    person.sees(r"Hello\s+.{30}")
    person.types(CTRL_C)
    person.sees("stopped.*> ")
    person.types("/clear\r")
    person.sees("new conversation.*> ")
    person.types(CTRL_C)
    person.sees("Ctrl-C again leaves.*> ")
    person.types("你好\r")
    person.sees(r"你好\s+.{30}")
    person.types(CTRL_C)
    person.sees("stopped.*> ")
    person.types(CTRL_C)
    person.sees("Ctrl-C again leaves.*> ")
    person.types(CTRL_C)
    assert person.exit_code() == 0


def test_ctrl_d_leaves(model_dir: Path, start: Callable[..., Person]) -> None:
    person = start(SCRIPT, "--model_dir", str(model_dir))
    person.sees("> ")
    person.types(CTRL_D)
    assert person.exit_code() == 0


def test_redirected_answers_come_without_what_was_typed(
    tmp_path: Path, model_dir: Path, start: Callable[..., Person]
) -> None:
    answers = tmp_path / "answers.txt"
    flags = ("--model_dir", str(model_dir), "--temperature", "0", "--max_tokens", "9")
    person = start(SCRIPT, *flags, redirect=answers)
    person.sees("leaves.*>")
    person.types("Hello 你好\r")
    person.sees("cut after --max_tokens 9.*>")
    person.types(CTRL_D)
    assert person.exit_code() == 0
    one = run(SCRIPT, *flags, "--prompt", "Hello 你好", cwd=tmp_path)
    assert answers.read_text(encoding="utf-8") == one.stdout


@pytest.mark.full
def test_ctrl_c_ends_a_one_shot_with_code_130(endless_dir: Path) -> None:
    flags = ("--model_dir", str(endless_dir), "--temperature", "0", "--max_tokens", "50000")
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *flags, "--prompt", "Hello"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
