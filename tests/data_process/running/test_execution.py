"""Steps run anywhere, in any number of processes, and always give the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import ROOT, UserError
from data_process.records.jsonl import read_records
from data_process.records.parts import jsonl_parts
from data_process.running.run import run_step
from data_process.running.step import done_parts
from data_process.running.work_dir import (
    join_shards,
    join_streams,
    locked,
    refuse_to_overwrite,
    remove_work_dir,
    work_dir_of,
)
from data_process.running.workers import Execution
from tests.data_process.steps import COMMAND, PART_BYTES, Shout, make_input, shout

ONE = Execution(workers=1)
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and a shell")


def expected(path: Path, stream: str = "main") -> bytes:
    """What the step makes of a file."""
    texts = [line.split('"')[3].upper() + "!" for line in path.read_text("utf-8").splitlines()]
    chosen = [text for text in texts if ("X" in text) == (stream == "x")]
    return "".join(f'{{"text": "{text}"}}\n' for text in chosen).encode()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A JSONL file of some parts."""
    return make_input(tmp_path / "input.jsonl")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_output_is_the_same_for_any_number_of_workers(
    source: Path, tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    output, others = tmp_path / "out.jsonl", tmp_path / "x.jsonl"
    work_dir = work_dir_of(output)
    step = shout(source)
    assert run_step(step, work_dir, Execution(workers=workers)) == {"in": 30}
    assert join_streams(work_dir, "main", output) + join_streams(work_dir, "x", others) == 30
    assert output.read_bytes() == expected(source)
    assert others.read_bytes() == expected(source, "x")
    assert len(step.cut) > 5
    remove_work_dir(work_dir)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, "out.jsonl", "x.jsonl"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_comes_out_as_it_was_and_what_is_done_stays(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    source = make_input(tmp_path / "input.jsonl", special="empty")
    work_dir, step = tmp_path / "work", shout(source)
    with pytest.raises(UserError) as mistake:
        run_step(step, work_dir, Execution(workers=workers))
    assert str(mistake.value) == f"{source}: the file is empty; it needs one JSON object a line"
    assert 0 < len(done_parts(work_dir)) < len(step.cut)
    assert capfd.readouterr() == ("", "")


def test_work_goes_on_with_the_same_plan_and_begins_anew_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_input(tmp_path / "input.jsonl", special="empty")
    trace = tmp_path / "trace"
    with pytest.raises(UserError):
        run_step(shout(source, trace=trace), tmp_path / "work", ONE)
    done = done_parts(tmp_path / "work")
    source.write_bytes(source.read_bytes().replace(b'"empty"', b'"mended"'))
    trace.write_bytes(b"")
    step = shout(source, trace=trace)
    run_step(step, tmp_path / "work", ONE)
    assert f"continuing: {len(done)} of {len(step.cut)} parts are done\n" in capsys.readouterr().out
    begun = [int(line.split()[0]) for line in trace.read_text("utf-8").splitlines()]
    assert begun == [n for n in range(len(step.cut)) if n not in done]
    run_step(shout(source, mark="?"), tmp_path / "work", ONE)
    assert "starting over: mark changed since the earlier start" in capsys.readouterr().out
    join_streams(tmp_path / "work", "main", tmp_path / "out.jsonl")
    assert b"?" in (tmp_path / "out.jsonl").read_bytes()
    assert b"!" not in (tmp_path / "out.jsonl").read_bytes()


def test_a_damaged_plan_begins_anew(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for damage in (b"\xff\0", b"[]", b"{"):
        run_step(shout(source), tmp_path / "work", ONE)
        (tmp_path / "work" / "plan.json").write_bytes(damage)
        run_step(shout(source), tmp_path / "work", ONE)
        assert "starting over: the earlier work's plan is missing" in capsys.readouterr().out


def test_what_killed_processes_left_is_cleared_at_the_next_start(
    source: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "out.jsonl.work"
    run_step(shout(source), work_dir, ONE)
    for place in (work_dir / "parts" / "00003.12345678.tmp", tmp_path / "out.jsonl.work.tmp"):
        place.mkdir(parents=True)
        (place / "main.jsonl").touch()
    run_step(shout(source), work_dir, ONE)
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(done_parts(work_dir)) == len(shout(source).cut)


@posix
def test_ctrl_c_ends_the_work_and_keeps_what_is_done(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, str(source), str(output), "2", "local", "0.3"]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    while process.poll() is None and len(done_parts(work_dir_of(output))) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    assert process.communicate(timeout=30)[1] == "\nstopped\n"
    assert process.returncode == 130
    assert len(done_parts(work_dir_of(output))) >= 2


def test_a_second_process_is_refused(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = [*COMMAND, str(source), str(output), "1", "local", "0"]
    with locked(work_dir_of(output)):
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False
        )
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {work_dir_of(output)}: another process works there")
    assert result.stderr.count("\n") == 1


def test_an_output_with_other_content_is_not_replaced_unless_wanted(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"mine")
    work_dir = work_dir_of(output)
    with pytest.raises(UserError, match="pass --overwrite"):
        refuse_to_overwrite(output, work_dir, overwrite=False)
    refuse_to_overwrite(output, work_dir, overwrite=True)
    run_step(shout(source), work_dir, ONE)
    refuse_to_overwrite(output, work_dir, overwrite=False)  # an earlier start may have written it
    with pytest.raises(UserError, match="exists with other content"):
        join_streams(work_dir, "main", output)
    assert output.read_bytes() == b"mine"
    join_streams(work_dir, "main", output, overwrite=True)
    assert output.read_bytes() == expected(source)
    time_before = output.stat().st_mtime_ns
    join_streams(work_dir, "main", output)
    assert output.stat().st_mtime_ns == time_before
    assert not (tmp_path / "out.jsonl.tmp").exists()


def test_a_stream_that_nobody_wrote_to_gives_an_empty_file(source: Path, tmp_path: Path) -> None:
    run_step(shout(source), tmp_path / "work", ONE)
    assert join_streams(tmp_path / "work", "rejected", tmp_path / "rejected.jsonl") == 0
    assert (tmp_path / "rejected.jsonl").read_bytes() == b""
    paths = join_shards(tmp_path / "work", "rejected", tmp_path, "none", 100)
    assert [path.read_bytes() for path in paths] == [b""]


@pytest.mark.parametrize("shard_bytes", [1, 100, 250, 10_000])
def test_shards_end_with_records_and_hold_the_stream(
    source: Path, tmp_path: Path, shard_bytes: int
) -> None:
    run_step(shout(source), tmp_path / "work", ONE)
    folder = tmp_path / "shards"
    paths = join_shards(tmp_path / "work", "main", folder, "wiki.en", shard_bytes)
    assert paths == [folder / f"wiki.en-{n:05d}.jsonl" for n in range(len(paths))]
    shards = [path.read_bytes() for path in paths]
    assert b"".join(shards) == expected(source)
    assert all(shard.endswith(b"}\n") for shard in shards)
    longest = max(map(len, expected(source).splitlines(keepends=True)))
    assert all(shard_bytes <= len(shard) < shard_bytes + longest for shard in shards[:-1])
    assert sorted(folder.iterdir()) == paths


def test_shards_of_an_earlier_work_are_not_left_among_new_ones(
    source: Path, tmp_path: Path
) -> None:
    run_step(shout(source), tmp_path / "work", ONE)
    folder = tmp_path / "shards"
    before = join_shards(tmp_path / "work", "main", folder, "wiki", 100)
    with pytest.raises(UserError, match="exists with other content"):
        join_shards(tmp_path / "work", "main", folder, "wiki", 10_000)
    assert sorted(folder.iterdir()) == before
    after = join_shards(tmp_path / "work", "main", folder, "wiki", 10_000, overwrite=True)
    assert sorted(folder.iterdir()) == after == before[:1]


def test_parts_of_files_are_whole_lines_and_know_their_place(tmp_path: Path) -> None:
    paths = [make_input(tmp_path / "a.jsonl", 17), make_input(tmp_path / "b.jsonl", 5)]
    parts = jsonl_parts(paths, PART_BYTES)
    found: list[tuple[Path, int]] = []
    for part in parts:
        records = list(read_records(part))
        assert part.records == len([path for path, _ in found if path == part.path])
        assert part.part.size == part.end - part.begin
        found += [(part.path, record.line) for record in records]
    assert found == [(paths[0], n + 1) for n in range(17)] + [(paths[1], n + 1) for n in range(5)]
    with pytest.raises(UserError, match="given twice"):
        jsonl_parts([paths[0], tmp_path / "." / "a.jsonl"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="the file is empty"):
        jsonl_parts([tmp_path / "empty.jsonl"])


def test_settings_that_cannot_work_are_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Execution().problems() == []
    assert "workers is 0" in Execution(workers=0).problems()[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    problems = " ".join(Execution(executor="slurm", slurm_time="soon").problems())
    for word in ("--slurm_partition", "slurm_time is soon", "no sbatch"):
        assert word in problems
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Execution(executor="ray").problems() == [
        "executor is ray, which is not installed: pip install ray"
    ]


class Terminal:
    """Where a progress bar is shown."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_done(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("data_process.running.run.LOOK_S", 0.05)
    step = Shout(shout(source).cut[:6], nap=0.22)
    run_step(step, tmp_path / "work", ONE)
    assert "/6 parts, " in terminal.text
    assert "records/s" in terminal.text
    assert "B/s" in terminal.text


STAND_INS = {
    "sbatch": 'for last; do :; done; cp "$last" "$CLUSTER/job"; echo Submitted batch job 7',
    "squeue": '[ -e "$CLUSTER/job" ] && echo "7 main shout"',
    "srun": 'shift 3; exec "$@"',
    "scontrol": "echo localhost",
}
"""What Slurm's programs do, as far as it matters here: a job waits until the test runs it."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for Slurm, where `job` is the job that waits."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    return folder


def run_tasks(cluster: Path, numbers: list[int]) -> list[int]:
    """Runs tasks of the job that waits, side by side, which ends it; their exit codes."""
    started = []
    for number in numbers:
        slurm = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_NODELIST": "localhost"}
        environment = {**os.environ, **slurm, "RUN_OFFSET": "0"}
        with (cluster / f"log{number}").open("wb") as log:
            command = ["bash", str(cluster / "job")]
            started.append(
                subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log)
            )
    codes = [process.wait(60) for process in started]
    (cluster / "job").unlink()
    return codes


@pytest.mark.full
@posix
def test_slurm_gives_the_same_bytes(
    source: Path,
    tmp_path: Path,
    cluster: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execution = Execution(workers=1, executor="slurm", slurm_partition="main", memory_gb=1.5)
    assert execution.problems() == []
    monkeypatch.chdir(tmp_path)  # a job stands elsewhere, and must find the input nevertheless
    output, trace = Path("out.jsonl"), Path("trace")
    step = shout(Path(source.name), trace=trace)

    def run_command() -> object:
        with pytest.raises(SystemExit) as left:
            run_step(step, work_dir_of(output), execution)
        return left.value.code

    assert run_command() == 75
    assert "submitted Slurm job 7" in capsys.readouterr().out
    job = (cluster / "job").read_text(encoding="utf-8")
    for line in ("--partition=main", "--mem-per-cpu=1536M", "--array=0-3%1", "--time=24:00:00"):
        assert f"#SBATCH {line}\n" in job
    assert run_command() == 75
    assert "Slurm job 7 has not ended: 0 of" in capsys.readouterr().out
    assert run_tasks(cluster, [3, 0]) == [0, 0]  # one of them never comes
    assert run_command() == 75
    assert "continuing: " in capsys.readouterr().out
    assert run_tasks(cluster, [0, 1, 2, 3]) == [0, 0, 0, 0]
    assert run_step(step, work_dir_of(output), execution) == {"in": 30}
    join_streams(work_dir_of(output), "main", output)
    assert output.read_bytes() == expected(source)
    begun = [int(line.split()[0]) for line in trace.read_text(encoding="utf-8").splitlines()]
    assert sorted(begun) == list(range(len(step.cut)))


@posix
def test_a_mistake_that_a_slurm_job_met_is_told_once(
    tmp_path: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_input(tmp_path / "input.jsonl", special="empty")
    execution = Execution(workers=1, executor="slurm", slurm_partition="main")
    step, work_dir = shout(source), tmp_path / "work"
    with pytest.raises(SystemExit):
        run_step(step, work_dir, execution)
    run_tasks(cluster, [2])
    with pytest.raises(UserError, match="the file is empty"):
        run_step(step, work_dir, execution)
    with pytest.raises(SystemExit):
        run_step(step, work_dir, execution)


@posix
def test_a_job_that_slurm_refuses_is_told_in_a_sentence(
    source: Path, tmp_path: Path, cluster: Path
) -> None:
    (cluster / "sbatch").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    execution = Execution(executor="slurm", slurm_partition="nowhere")
    with pytest.raises(UserError, match=r"sbatch refused the job \(its code is 3"):
        run_step(shout(source), tmp_path / "work", execution)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:placement_group:DeprecationWarning")  # datatrove's way
@posix
def test_ray_gives_the_same_bytes_and_the_same_mistakes(source: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    output = tmp_path / "out.jsonl"
    step = Shout(shout(source).cut[:2])
    execution = Execution(workers=1, executor="ray", memory_gb=0.1)
    try:
        assert run_step(step, work_dir_of(output), execution) == {"in": 6}
        join_streams(work_dir_of(output), "main", output)
        run_step(step, tmp_path / "local", ONE)
        join_streams(tmp_path / "local", "main", tmp_path / "local.jsonl")
        assert output.read_bytes() == (tmp_path / "local.jsonl").read_bytes()
        with pytest.raises(UserError, match="lower it"):
            run_step(step, tmp_path / "greedy", Execution(executor="ray", memory_gb=1e6))
        broken = shout(make_input(tmp_path / "broken.jsonl", special="empty"))
        with pytest.raises(UserError, match="the file is empty"):
            run_step(Shout(broken.cut[6:7]), tmp_path / "broken", execution)
    finally:
        ray.shutdown()
