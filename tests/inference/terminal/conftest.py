"""The program as it is run by a script, and by somebody at a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from config import ROOT
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

SCRIPT = str(ROOT / "inference" / "inference.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}


def run(*args: str, cwd: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=ENVIRONMENT,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def endless_dir(tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer) -> Path:
    """A model that never ends a turn, with a context for minutes of talk."""
    endless = Etude(replace(model.config, max_position_embeddings=60_000))
    endless.load_state_dict(model.state_dict())
    with torch.no_grad():  # logits of zero are never the highest
        endless.model.embed_tokens.weight[list(tokenizer.end_ids(is_chat=True))] = 0
    directory = tmp_path / "endless"
    directory.mkdir()
    save_pretrained(directory, endless, tokenizer, {}, is_chat=True)
    return directory


class Person:
    """Somebody at a terminal."""

    def __init__(
        self, home: Path, *args: str, redirect: Path | None = None, **environment: str
    ) -> None:
        """redirect: a file that gets the program's standard output."""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            if redirect:
                os.dup2(os.open(redirect, os.O_CREAT | os.O_WRONLY), 1)
            own = {**ENVIRONMENT, "XDG_STATE_HOME": str(home)}  # not the developer's history
            own |= environment
            os.execve(sys.executable, [sys.executable, *args], own)
        self.screen = b""

    @property
    def seen(self) -> str:
        """The screen since the last key; whole, as a read may end inside a character."""
        return self.screen.decode("utf-8", "replace")

    def types(self, text: str | bytes) -> None:
        """Presses keys, no sooner than a hand can."""
        time.sleep(0.5)
        self.screen = b""
        os.write(self.terminal, text.encode() if isinstance(text, str) else text)

    def sees(self, pattern: str, seconds: float = 30) -> None:
        """Waits for a text on the screen."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen, re.DOTALL):
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen[:500]!r}"
            if not select.select([self.terminal], [], [], 1)[0]:
                continue
            try:
                self.screen += os.read(self.terminal, 65536)
            except OSError:  # the program has left
                assert re.search(pattern, self.seen, re.DOTALL), self.seen[-500:]

    def leaves(self) -> None:
        """Goes away, and the program with them."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def exit_code(self) -> int:
        for _ in range(300):
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        assert done, "the program did not leave"
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Starts the program for a person; none is left running, however the test ends."""
    people: list[Person] = []

    def start(*args: str, redirect: Path | None = None, **environment: str) -> Person:
        people.append(Person(tmp_path, *args, redirect=redirect, **environment))
        return people[-1]

    yield start
    for person in people:
        person.leaves()
