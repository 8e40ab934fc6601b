"""Every script runs from any folder without installation, and its --help answers at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from tests.source_tree import Source, scripts

LIMIT_S = 2.0
each_script = pytest.mark.parametrize("script", scripts(), ids=lambda script: script.name)


def ask_help(folder: Path, *command: object) -> tuple[float, str]:
    """Seconds of processor time and output of --help, run in a folder; it must end well. (Of the
    clock there may be more: other tests run beside this one.)"""
    start = os.times()
    result = subprocess.run(
        [sys.executable, *map(str, command), "--help"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    end = os.times()
    seconds = end.children_user + end.children_system - start.children_user - start.children_system
    return seconds, result.stdout


def test_there_are_scripts() -> None:
    assert "train/train_tokenizer.py" in [script.name for script in scripts()]


@each_script
def test_help_answers_within_two_seconds_wherever_one_stands(
    script: Source, tmp_path: Path
) -> None:
    seconds, text = ask_help(tmp_path, script.path)
    if seconds >= LIMIT_S:  # the first run writes bytecode
        seconds, _ = ask_help(tmp_path, script.path)
    assert seconds < LIMIT_S
    assert "usage:" in text


@pytest.mark.full
@each_script
def test_every_script_runs_from_any_folder_and_as_a_module(script: Source) -> None:
    _, expected = ask_help(ROOT, script.name)
    for folder, command in (
        (script.path.parent, [script.path.name]),
        (ROOT, ["-m", script.module]),
    ):
        _, found = ask_help(folder, *command)
        assert body(found) == body(expected)


def body(text: str) -> str:
    """The help below its usage line, which names the command."""
    return text.split("\n", 1)[1]


@pytest.mark.full
@each_script
def test_a_wrong_flag_ends_with_an_error_and_no_traceback(script: Source) -> None:
    result = subprocess.run(
        [sys.executable, str(script.path), "--no_such_flag"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode not in (0, 1)
    assert "Traceback" not in result.stderr
    assert result.stderr


@each_script
def test_a_switch_is_shown_with_both_its_forms(script: Source, tmp_path: Path) -> None:
    _, text = ask_help(tmp_path, script.path)
    names = re.findall(r"(?<=--)no_\w+\b(?! [A-Z{])", text)  # others take a value
    assert [n for n in names if f"--{n.removeprefix('no_')}, --{n}" not in text] == []
    assert [name for name in names if name.startswith("no_no_")] == []
