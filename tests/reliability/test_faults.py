"""R2: whatever fails while something is saved, the last checkpoint stays and the next save
works."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.directory.pretrained import (
    WEIGHTS,
    load_pretrained,
)
from model.directory.storage import READY
from tests.reliability.faults import (
    DEATH,
    KINDS,
    Faults,
    Kind,
    faults,
    in_a_child,
    install_for_good,
)
from tests.reliability.launcher import run_warm
from tests.reliability.runs import KEEP, LAST, LENGTH, NEXT, Finished, Outcome, Run, leftovers
from tests.reliability.trials import Trials
from train import trainer
from train.checkpoint import (
    STATE,
    list_checkpoints,
)

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R2"),
    pytest.mark.skipif(sys.platform == "win32", reason="forks"),
]


CODES = {"kill": {DEATH}, "full disk": {0, 2}, "I/O error": {0, 2}, "Ctrl-C": {130}}
"""How a save ends after each kind of fault; 0 where the operation was not needed any more."""


def with_faults(save: Callable[[], None], kind: Kind, fail_at: int, share: float) -> None:
    with faults(kind, fail_at, share):
        save()


def look_away() -> None:
    """Lets a run begin on a disk that has no room for it."""
    setattr(trainer, "refuse_without_room", lambda *_: None)  # noqa: B010  # mypy: no assignment


def names_of_operations(save: Callable[[], None]) -> list[str]:
    """Every operation of a save that changes the disk."""
    with faults("none", 0) as counted:
        save()
    return counted.names


def prepare(finished: Finished, directory: Path, case: str) -> Run:
    """A run after its last checkpoint; where asked for, a damaged one lies in the next one's
    place."""
    shutil.copytree(finished.workspace.path / "pretrain", directory)
    run = Run(directory)
    if case == "checkpoint over a damaged one":
        run.save()
        os.truncate(run.checkpoints / f"step-{NEXT:08d}" / STATE, 3)
        run.find()
    return run


@pytest.mark.parametrize("case", ["checkpoint", "checkpoint over a damaged one"])
def test_a_failed_checkpoint_leaves_the_last_one(
    trials: Trials, finished: Finished, memory_path: Path, case: str
) -> None:
    names = names_of_operations(prepare(finished, memory_path / "count", case).save)
    every = case == "checkpoint" or trials.book.settings.release
    assert {"open", "write", "fsync", "replace", "mkdir", "unlink", "save_file"} <= set(names)
    for seed, draw in trials.draws(trials.size(ci=1, release=5)):
        for fail_at, name in enumerate(names, start=1):
            for kind in KINDS if every else (KINDS[fail_at % 4],):
                directory = memory_path / "run"
                run = prepare(finished, directory, case)
                share = draw.random()
                code = in_a_child(partial(with_faults, run.save, kind, fail_at, share))
                found = run.find()
                clean = leftovers(directory) == []
                run.save()
                again = run.find()
                kept = len(list_checkpoints(run.checkpoints))
                passed = (
                    code in CODES[kind]
                    and found in ((NEXT,) if code == 0 else (LAST, NEXT))
                    and clean
                    and (again, kept, leftovers(directory)) == (NEXT, KEEP, [])
                )
                where = f"{name}, operation {fail_at} of {len(names)}"
                facts = {"case": case, "kind": kind, "at": where, "code": code, "found": found}
                trials.record(seed, passed, **facts, clean=clean, kept=kept)
                shutil.rmtree(directory)
    trials.verdict()


def test_a_failed_save_of_the_model_leaves_the_old_or_the_new(
    trials: Trials, finished: Finished, memory_path: Path
) -> None:
    counted = prepare(finished, memory_path / "count", "model")
    key = "model.norm.weight"
    old = load_file(counted.directory / WEIGHTS)[key]
    names = names_of_operations(counted.save_model)
    for seed, draw in trials.draws(trials.size(ci=1, release=5)):
        for fail_at, name in enumerate(names, start=1):
            for kind in KINDS:
                directory = memory_path / "run"
                run = prepare(finished, directory, "model")
                share = draw.random()
                code = in_a_child(partial(with_faults, run.save_model, kind, fail_at, share))
                weight = load_pretrained(directory)[0].state_dict()[key]
                is_new = torch.equal(weight, old + 1)
                whole = is_new or torch.equal(weight, old)
                run.find()
                clean = leftovers(directory) == []
                run.save_model()
                passed = (
                    code in CODES[kind]
                    and whole
                    and (is_new or code != 0)
                    and clean
                    and leftovers(directory) == []
                )
                where = f"{name}, operation {fail_at} of {len(names)}"
                facts = {"case": "model", "kind": kind, "at": where, "code": code}
                trials.record(seed, passed, **facts, new=is_new, clean=clean)
                shutil.rmtree(directory)
    trials.verdict()


def test_a_fault_anywhere_in_a_run_changes_nothing_in_the_end(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    count_file = tmp_path / "count.txt"
    for number, (seed, draw) in enumerate(trials.draws(1 + trials.size(ci=6, release=150))):
        path = tmp_path / str(number)
        workspace = finished.copy(path)
        shutil.rmtree(path / "cache")
        if number == 0:
            code, output = run_warm(
                command, path, partial(install_for_good, "none", 0, 0.5, count_file)
            )
            assert code == 0, output
            total = int(count_file.read_text(encoding="utf-8"))
            continue
        kind, fail_at = KINDS[number % 4], draw.randint(1, total)
        before = partial(install_for_good, kind, fail_at, draw.random(), None)
        code, output = run_warm(command, path, before)
        told = code != 2 or "error: " in output
        expected = code in CODES[kind] | ({0} if kind == "Ctrl-C" else set())
        expected = expected and told and "Traceback" not in output
        final, _ = run_warm(command, path)
        directory = workspace.path / "pretrain"
        same = final == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
        passed = expected and same and leftovers(directory) == []
        facts = {"kind": kind, "at": f"operation {fail_at} of {total}", "code": code}
        trials.record(seed, passed, **facts, said=last_line(output), final_code=final)
        shutil.rmtree(path)
    trials.verdict()


def last_line(output: str) -> str:
    """The end of what a script printed."""
    return (output.strip().splitlines() or [""])[-1][:200]


def limit_file_size(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def test_a_limit_on_file_sizes_is_told_in_one_sentence_and_the_run_goes_on_without_it(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=3, release=20))):
        path = tmp_path / str(number)
        finished.copy(path)
        size = draw.randint(500, 150_000)
        code, output = run_warm(command, path, partial(limit_file_size, size))
        told = code == 2 and "Traceback" not in output and "File too large" in output
        final, _ = run_warm(command, path)
        directory = path / "pretrain"
        same = final == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
        passed = (told or code == 0) and same and leftovers(directory) == []
        trials.record(seed, passed, limit=size, code=code, said=last_line(output))
    trials.verdict()


def mount(path: Path, *options: str) -> bool:
    """Mounts a disk in memory; whether this user may."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(path)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_a_disk_that_is_really_full_is_told_in_one_sentence_and_the_run_goes_on_with_more(
    trials: Trials, finished: Finished, tmp_path: Path
) -> None:
    command = finished.workspace.command("pretrain", *LENGTH)
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=3, release=20))):
        path = tmp_path / str(number)
        directory = path / "pretrain"
        directory.mkdir(parents=True)
        finished.copy(path)
        size = draw.randint(100, 900)
        if not mount(directory, f"size={size}k"):
            pytest.skip("only root may mount a small disk")
        try:
            # But for the first time it fills up on the way: it was not looked at before the start.
            code, output = run_warm(command, path, look_away if number else None)
            told = code == 2 and "Traceback" not in output and "free some space" in output
            assert mount(directory, "remount", "size=64m")
            final, _ = run_warm(command, path)
            same = final == 0 and Outcome.of(directory) == finished.outcomes["pretrain"]
            passed = told and same and leftovers(directory) == []
        finally:
            subprocess.run(["umount", str(directory)], check=True)
        trials.record(seed, passed, disk_kib=size, code=code, said=last_line(output))
    trials.verdict()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the names of open files")
@pytest.mark.parametrize("save", [Run.save, Run.save_model])
def test_everything_is_flushed_before_it_is_renamed_and_the_name_after_it(
    finished: Finished, tmp_path: Path, save: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill cannot show and a power cut would: the order in which things reach the disk."""
    run = prepare(finished, tmp_path / "run", "checkpoint")
    events: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        if {Path(source).name, Path(target).name} & {f"step-{NEXT:08d}", READY}:
            inside = {("fsync", path) for path in (source, *Path(source).iterdir())}
            assert inside <= set(events)
            events.append(("replace", Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    save(run)
    place = next(n for n, (name, _) in enumerate(events) if name == "replace")
    assert events[place + 1] == ("fsync", events[place][1].parent)


def test_faults_really_happen(tmp_path: Path) -> None:
    """Else the trials above prove nothing."""
    for kind, code in (("kill", DEATH), ("full disk", 1), ("I/O error", 1), ("none", 0)):
        path = tmp_path / str(code)

        def write(path: Path = path, kind: Any = kind) -> None:
            with faults(kind, 2, 0.5):
                path.write_bytes(b"12345678")

        assert in_a_child(write) == code
        assert path.read_bytes() == (b"12345678" if kind == "none" else b"1234")
    assert Faults("full disk", 1).reach("unlink") is False
