"""Saved directories survive a crash at any operation, and show every kind of damage."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import model.directory.storage as storage
from config import UserError
from model.directory.storage import (
    DamagedDirectory,
    Writer,
    text_writer,
    update_directory,
    write_directory,
)
from tests.reliability.faults import KINDS, Kind, faults, in_a_child

OLD = {"a.txt": "the old a", "b.txt": "the old b"}
NEW = {"a.txt": "the new a, longer", "b.txt": "the new b"}
Save = Callable[[Path, Mapping[str, Writer]], None]


def writers(texts: Mapping[str, str]) -> dict[str, Writer]:
    return {name: text_writer(text) for name, text in texts.items()}


def texts_of(directory: Path) -> dict[str, str]:
    """What a reader finds, after the check that every reader makes."""
    storage.verify(directory)
    return {name: (directory / name).read_text(encoding="utf-8") for name in OLD}


def leftovers(directory: Path) -> list[str]:
    names = {path.name for place in (directory, directory.parent) for path in place.iterdir()}
    return sorted(names - {*OLD, storage.MANIFEST, directory.name, "log"})


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("save", [write_directory, update_directory])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_every_operation_leaves_a_whole_directory(
    tmp_path: Path, save: Save, kind: Kind
) -> None:
    outcomes = []
    for fail_at in range(1, 100):
        directory = tmp_path / str(fail_at) / "saved"
        directory.parent.mkdir()
        write_directory(directory, writers(OLD))
        code = in_a_child(partial(save_with_faults, save, directory, kind, fail_at))
        outcomes.append(texts_of(directory))
        assert outcomes[-1] in (OLD, NEW), f"operation {fail_at}"
        save(directory, writers(NEW))  # the same command again
        assert texts_of(directory) == NEW
        assert leftovers(directory) == []
        if code == 0 and fail_at > 30:
            break
    assert outcomes[0] == OLD
    assert outcomes[-1] == NEW


def save_with_faults(save: Save, directory: Path, kind: Kind, fail_at: int) -> None:
    with faults(kind, fail_at):
        save(directory, writers(NEW))


@pytest.mark.parametrize("save", [write_directory, update_directory])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path, save: Save) -> None:
    directory = tmp_path / "saved"
    write_directory(directory, writers(OLD))

    def no_space(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"saved: cannot be written .*free some space") as told:
        save(directory, {"a.txt": text_writer("new"), "b.txt": no_space})
    assert "\n" not in str(told.value)
    assert texts_of(directory) == OLD
    assert leftovers(directory) == []


def test_weights_that_outgrow_the_disk_are_one_sentence(tmp_path: Path) -> None:
    weights = {"weight": torch.zeros(100_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
            write_directory(tmp_path / "saved", {"w": lambda path: save_file(weights, path)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be written .*check the path"):
        write_directory(tmp_path / "file" / "saved", writers(NEW))


def test_other_things_in_an_updated_directory_stay(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    directory.mkdir()
    (directory / "log").write_text("kept", encoding="utf-8")
    update_directory(directory, writers(NEW))
    assert texts_of(directory) == NEW
    assert (directory / "log").read_text(encoding="utf-8") == "kept"


def test_a_directory_may_be_the_one_we_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "saved"
    write_directory(directory, writers(OLD))
    monkeypatch.chdir(tmp_path)
    write_directory(Path("saved"), writers(NEW))
    assert texts_of(directory) == NEW


def flip_a_bit(directory: Path) -> None:
    raw = bytearray((directory / "b.txt").read_bytes())
    raw[3] ^= 1
    (directory / "b.txt").write_bytes(raw)


def truncate(directory: Path) -> None:
    os.truncate(directory / "b.txt", 3)


def remove(directory: Path) -> None:
    (directory / "b.txt").unlink()


def swap(directory: Path) -> None:
    os.replace(directory / "a.txt", directory / "c.txt")
    os.replace(directory / "b.txt", directory / "a.txt")
    os.replace(directory / "c.txt", directory / "b.txt")


def remove_manifest(directory: Path) -> None:
    (directory / storage.MANIFEST).unlink()


def truncate_manifest(directory: Path) -> None:
    os.truncate(directory / storage.MANIFEST, 20)


def replace_manifest(directory: Path) -> None:
    (directory / storage.MANIFEST).write_text('["a.txt"]', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip_a_bit, r"b\.txt is damaged"),
        (truncate, r"b\.txt has 3 bytes in place of 9"),
        (remove, r"b\.txt is missing"),
        (swap, r"a\.txt is damaged"),
        (remove_manifest, r"MANIFEST\.json is missing"),
        (truncate_manifest, r"MANIFEST\.json is damaged"),
        (replace_manifest, r"MANIFEST\.json is damaged"),
    ],
)
def test_damage_is_seen_and_named(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    directory = tmp_path / "saved"
    write_directory(directory, writers(OLD))
    damage(directory)
    with pytest.raises(DamagedDirectory, match=sentence):
        storage.verify(directory)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_while_one_file_is_replaced_leaves_the_old_or_the_new(
    tmp_path: Path, kind: Kind
) -> None:
    path = tmp_path / "report.json"
    seen = set()
    for fail_at in range(1, 10):
        storage.replace_file(path, text_writer("old"))
        in_a_child(partial(replace_with_faults, path, kind, fail_at))
        seen.add(path.read_text(encoding="utf-8"))
    assert seen == {"old", "new"}
    storage.replace_file(path, text_writer("newest"))
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def replace_with_faults(path: Path, kind: Kind, fail_at: int) -> None:
    with faults(kind, fail_at):
        storage.replace_file(path, text_writer("new"))
