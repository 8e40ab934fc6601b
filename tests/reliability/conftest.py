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


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOOK] = Book(Settings.of_environment())
    config.pluginmanager.register(TestsAsTrials(config.stash[BOOK]))


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


class TestsAsTrials:
    """Counts a test that does not count trials itself as one trial, those of R7 and R8 too: a
    conftest's own hooks are not asked about tests of another folder."""

    __test__ = False

    def __init__(self, book: Book) -> None:
        self.book = book

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        promise = promise_of(item)
        counts = "trials" in getattr(item, "fixturenames", ())
        if promise and not counts and report.when == "call" and not report.skipped:
            facts = {"test": item.name, "seed": "-", "seconds": round(report.duration, 1)}
            self.book.add(promise, report.passed, facts)
        return report


def promise_of(item: pytest.Item) -> str | None:
    """The promise that a test is about."""
    marker = item.get_closest_marker("promise")
    return str(marker.args[0]) if marker else None


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
