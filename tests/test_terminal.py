"""Output that cannot be written ends no work, but a command that is there for its output; and where
there is no terminal, nothing is drawn."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import ROOT
from data_process.running import step
from data_process.running.step import progress
from terminal import Screen, has_colours

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")

WORK = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from cli import run_script
from terminal import output_is_the_result
def main():
    if sys.argv[1:] == ["result"]:
        output_is_the_result()
    for number in range(3000):
        print("a line of output", number)
        print("and one of errors \\udc80", number, file=sys.stderr)
    open("done", "w", encoding="utf-8").close()
run_script(main)
"""


def run(folder: Path, redirected: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs WORK in a shell, which says its exit code last."""
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    command = f"{sys.executable} work.py {' '.join(arguments)}"
    line = f"{{ {command}; echo code $? >&3; }} 3>code {redirected}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize(
    "redirected",
    ["2>/dev/null | head -2", ">/dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-", "2>&-", "2>&1 | true"],
)
def test_work_goes_on_whatever_becomes_of_its_output(tmp_path: Path, redirected: str) -> None:
    done = run(tmp_path, redirected)
    assert (tmp_path / "code").read_text(encoding="utf-8") == "code 0\n"
    assert (tmp_path / "done").exists()
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("redirected", "code", "sentence"),
    [
        ("| head -2", 141, ""),
        (">/dev/full", 1, "error: standard output: No space left on device"),
        (">&-", 1, "error: standard output: Bad file descriptor"),
    ],
)
def test_a_command_whose_result_is_its_output_ends_with_it(
    tmp_path: Path, redirected: str, code: int, sentence: str
) -> None:
    done = run(tmp_path, redirected, "result")
    assert (tmp_path / "code").read_text(encoding="utf-8") == f"code {code}\n"
    assert not (tmp_path / "done").exists()
    said = [line for line in done.stderr.splitlines() if not line.startswith("and one of")]
    assert said == ([sentence] if sentence else [])


MOMENTS = {
    "import": ("import endless", "", 130, "\nstopped\n"),
    "work": ("", "import endless", 130, "\nstopped\n"),
    "end": ("", "import atexit; atexit.register(__import__, 'endless')", 3, ""),
}
"""At the top of a script and in its main; its exit code and words after a Ctrl-C."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_heard_from_the_imports_to_the_last_moment(tmp_path: Path, moment: str) -> None:
    top, work, code, words = MOMENTS[moment]
    wait = "import time; open('begun', 'x', encoding='utf-8').close(); time.sleep(60)"
    (tmp_path / "endless.py").write_text(wait, encoding="utf-8")
    lines = [
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli import run_script",
        *(top, "def main():", f"    {work}", "    return 3", "run_script(main)"),
    ]
    (tmp_path / "script.py").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "script.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as started:
        while started.poll() is None and not (tmp_path / "begun").exists():
            time.sleep(0.01)
        started.send_signal(signal.SIGINT)
        said = started.communicate(timeout=20)[1]
    assert (started.returncode, said) == (code, words)


def test_a_command_of_process_jsonl_ends_with_its_output(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 5000, encoding="utf-8")
    script = ROOT / "data_process" / "process_jsonl.py"
    command = f"{sys.executable} {script} head a.jsonl --records 5000"
    line = f"{{ {command}; echo code $? >&2; }} | head -1"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout == '{"text": "a"}\n'
    assert done.stderr == "code 141\n"
    done = subprocess.run(
        ["bash", "-c", f"{command} >/dev/full"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output: No space left on device\n",
    )


def test_what_nobody_reads_is_dropped_and_what_is_read_again_is_shown() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    screen = Screen(io.FileIO(writer, "w"))
    screen.patience_s = 0.0
    for _ in range(100):
        assert screen.write(bytes(4096)) == 4096
    filled = 0
    while True:
        try:
            filled += len(os.read(reader, 1 << 20))
        except BlockingIOError:
            break
    assert 4096 <= filled < 100 * 4096
    screen.write(b"seen again")
    assert os.read(reader, 100) == b"seen again"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colours(Terminal())
    assert not has_colours(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colours(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colours(Terminal())


@pytest.mark.parametrize(
    ("redirected", "no_colour", "coloured"), [("", "", True), ("", "1", False), ("2>e", "", False)]
)
def test_help_and_mistakes_have_colours_where_the_terminal_shows_them(
    tmp_path: Path, redirected: str, no_colour: str, coloured: bool
) -> None:
    pty = pytest.importorskip("pty")
    reader, terminal = pty.openpty()
    script = ROOT / "tool" / "plot_training.py"
    subprocess.run(
        ["bash", "-c", f"{sys.executable} {script} --hlep {redirected}; echo end"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": no_colour},
        stdout=terminal,
        stderr=terminal,
        check=True,
    )
    os.close(terminal)
    shown = b""
    while b"end" not in shown:
        shown += os.read(reader, 65536)
    os.close(reader)
    in_file = (tmp_path / "e").read_bytes() if redirected else b""
    assert b"--hlep" in shown + in_file
    assert (b"\x1b" in shown + in_file) == coloured


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_progress_in_a_file_is_lines(monkeypatch: pytest.MonkeyPatch, terminal: str) -> None:
    file = Terminal() if terminal else io.StringIO()
    monkeypatch.setenv("TERM", terminal)
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setattr(step, "LINE_EVERY_S", 0)
    assert list(progress(range(4), desc="counting")) == [0, 1, 2, 3]
    lines = file.getvalue().splitlines()
    assert [line.split(" of 4")[0] for line in lines] == [
        "counting: 25%",
        "counting: 50%",
        "counting: 75%",
        "counting: 100%",
    ]
    assert "\r" not in file.getvalue()
    assert "\x1b" not in file.getvalue()
