"""The size of each test, the record of its trials, and a finished run to compare with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.storage import sha256_of
from model.tokenizer import EtudeTokenizer
from tests.reliability.launcher import run_warm
from tests.reliability.trials import Book, Settings, Trials
from tests.train.conftest import Workspace, make_workspace

BOOK = pytest.StashKey[Book]()
ELSEWHERE = {"test_distributed.py": ("R7", "R8")}
"""Tests of promises that lie beside what they test."""
LENGTH = ("--max_steps=40", "--save_steps=4", "--eval_steps=8", "--save_total_limit=3")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(name): a promise of docs/reliability.md")
    config.stash[BOOK] = Book(Settings.of_environment())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = set(config.stash[BOOK].settings.promises)
    if wanted:
        config.hook.pytest_deselected(items=[i for i in items if not wanted & set(promises(i))])
        items[:] = [item for item in items if wanted & set(promises(item))]
    config.stash[BOOK].begin(sorted({name for item in items for name in promises(item)}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash[BOOK].table():
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


def promises(item: pytest.Item) -> Sequence[str]:
    """The promises that a test is about."""
    marker = item.get_closest_marker("promise")
    return marker.args if marker else ELSEWHERE.get(item.path.name, ())


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Trials:
    """Where a test records what it tried."""
    (promise,) = promises(request.node)
    return Trials(request.config.stash[BOOK], promise, request.node.name)


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder where flushing costs nothing, for trials by the hundred; else a usual one."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.fixture
def workspace(tmp_path: Path, tokenizer: EtudeTokenizer) -> Workspace:
    """A folder with data and a tokenizer, in which nothing has run."""
    return make_workspace(tmp_path, tokenizer)


@dataclass(frozen=True)
class Outcome:
    """What must be the same: the loss log, byte for byte, and the final weights."""

    log: bytes
    weights: str

    @classmethod
    def of(cls, directory: Path) -> Outcome:
        """The outcome of a finished run."""
        weights = sha256_of(directory / "model.safetensors")
        return cls((directory / "loss_log.jsonl").read_bytes(), weights)


@dataclass(frozen=True)
class Finished:
    """A workspace in which both stages have run to their ends, undisturbed."""

    workspace: Workspace
    outcomes: dict[str, Outcome]

    def copy(self, path: Path, *directories: str) -> Workspace:
        """A workspace with the same data and some of the model directories."""
        for name in ("texts.jsonl", "chats.jsonl"):
            shutil.copy(self.workspace.path / name, path / name)
        for name in ("tokenizer", "cache", *directories):
            shutil.copytree(self.workspace.path / name, path / name)
        return Workspace(path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tokenizer: EtudeTokenizer) -> Finished:
    """The runs that every disturbed one is compared with."""
    workspace = make_workspace(tmp_path_factory.mktemp("undisturbed"), tokenizer)
    outcomes = {}
    for stage in ("pretrain", "sft"):
        code, output = run_warm(workspace.command(stage, *LENGTH), workspace.path)
        assert code == 0, output
        outcomes[stage] = Outcome.of(workspace.path / stage)
    flags = (*LENGTH, "--gradient_accumulation_steps=2")
    code, output = run_warm(
        workspace.command("pretrain", *flags, output="accumulated"), workspace.path
    )
    assert code == 0, output
    outcomes["accumulated"] = Outcome.of(workspace.path / "accumulated")
    return Finished(workspace, outcomes)


def leftovers(directory: Path) -> list[str]:
    """What an interrupted save left in a model directory."""
    found = [*directory.rglob("*.tmp"), *directory.rglob(".*")]
    return sorted(path.relative_to(directory).as_posix() for path in found)
