"""The commands in README and docs: scripts that are there, with flags that they have."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict

import pytest

from config import ROOT

PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
COMMAND = re.compile(r"python ((?:\w+/)?\w+\.py)((?: [^\s`|]+)*)")
SUBCOMMANDS = {"benchmark.py", "process_jsonl.py", "train_tokenizer.py"}
HISTORY = {"LOG.md"}
"""Pages about what was."""


def commands() -> dict[tuple[str, ...], dict[str, str]]:
    """Script (and subcommand), to the flags that a page gives it, each with one such page."""
    found: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    scripts = {path.name: str(path.relative_to(ROOT)) for path in ROOT.glob("*/*.py")}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for name, rest in COMMAND.findall(text) if page.name not in HISTORY else ():
            script, words = scripts.get(name.rpartition("/")[2]), rest.split(" #")[0].split()
            if script is None:
                continue  # a script of the reader's own
            has_more = script.rpartition("/")[2] in SUBCOMMANDS and words
            call = (script, words[0]) if has_more and words[0].isalpha() else (script,)
            flags = [word.partition("=")[0] for word in words if word.startswith("--")]
            found[call] |= dict.fromkeys(flags, page.name)
    return found


COMMANDS = commands()


def test_the_pages_have_commands_in_a_form_that_is_found() -> None:
    assert len(COMMANDS) > 25
    assert "--eval_files" in COMMANDS["tool/evaluate.py",]
    assert "--rounds" in COMMANDS["tool/benchmark.py", "decode"]


@pytest.mark.full
@pytest.mark.parametrize("call", sorted(COMMANDS), ids=" ".join)
def test_a_script_has_the_flags_that_the_pages_give_it(call: tuple[str, ...]) -> None:
    script, *rest = call
    command = [sys.executable, str(ROOT / script), *rest, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert shown.returncode == 0, shown.stderr
    known = set(re.findall(r"--\w+", shown.stdout))
    unknown = {flag: page for flag, page in COMMANDS[call].items() if flag not in known}
    assert not unknown
