"""The size of each test, the record of its trials, and a finished run to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from model.tokenizer import EtudeTokenizer
from tests.reliability.launcher import run_warm
from tests.reliability.runs import LENGTH, Finished, Outcome
from tests.reliability.trials import Book, Settings, Trials
from tests.train.conftest import Workspace, make_workspace

BOOK = pytest.StashKey[Book]()
ELSEWHERE = {
    "test_a_run_may_go_from_one_process_to_two_and_back": "R7",
    "test_processes_find_the_gradient_of_one": "R7",
    "test_every_row_of_a_step_goes_to_one_process_in_the_same_order": "R7",
    "test_a_killed_process_ends_the_others_with_a_hint": "R8",
    "test_a_silent_process_ends_the_others_with_a_hint": "R8",
    "test_two_processes_killed_and_continued_repeat_themselves_to_the_bit": "R8",
    "test_torchrun_ends_when_a_process_dies_and_saves_when_it_is_stopped": "R8",
}
"""Tests of promises that lie beside what they test, in tests/train/test_distributed.py; each run of
one is a trial."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(name): a promise of docs/reliability.md")
    config.stash[BOOK] = Book(Settings.of_environment())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    book = config.stash[BOOK]
    if wanted := book.settings.promises:
        others = [item for item in items if promise_of(item) not in wanted]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if promise_of(item) in wanted]
    book.begin({promise for item in items if (promise := promise_of(item))})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash[BOOK].table():
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    promise = ELSEWHERE.get(name_of(item))
    if promise and report.when == "call" and not report.skipped:
        facts = {"test": item.name, "seed": "-", "seconds": round(report.duration, 1)}
        item.config.stash[BOOK].add(promise, report.passed, facts)
    return report


def promise_of(item: pytest.Item) -> str | None:
    """The promise that a test is about."""
    marker = item.get_closest_marker("promise")
    return marker.args[0] if marker else ELSEWHERE.get(name_of(item))


def name_of(item: pytest.Item) -> str:
    """A test's name without its parameters."""
    return item.name.partition("[")[0]


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Trials:
    """Where a test records what it tried."""
    promise = promise_of(request.node)
    assert promise is not None
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
