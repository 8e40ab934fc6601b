"""A model that is only used is not compared with its checksums twice, unless its files changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.directory import stamps, storage
from model.directory.pretrained import load_pretrained
from model.directory.storage import DamagedDirectory, verify


@pytest.fixture
def settled(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's directory whose files are older than a stamp must be, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(stamps, "SETTLED_NS", -1)
    return model_dir


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose checksums are computed."""
    names: list[str] = []
    real = storage.sha256_of

    def listed(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(storage, "sha256_of", listed)
    return names


def test_what_has_not_changed_is_read_once(settled: Path, read: list[str]) -> None:
    load_pretrained(settled, known=True)
    assert "model.safetensors" in read
    read.clear()
    load_pretrained(settled, known=True)
    assert read == []
    load_pretrained(settled)  # what training does
    assert "model.safetensors" in read


def flip(path: Path) -> None:
    """Changes a byte in place; size, inode and time of the content stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same size takes its place."""
    other = path.with_name("other")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [flip, replace])
def test_a_changed_file_is_found_behind_its_old_time(settled: Path, change: object) -> None:
    verify(settled, known=True)
    assert callable(change)
    change(settled / "model.safetensors")
    with pytest.raises(DamagedDirectory, match=r"model\.safetensors is damaged"):
        verify(settled, known=True)


def test_a_file_that_has_just_changed_gets_no_stamp(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    verify(model_dir, known=True)
    read.clear()
    verify(model_dir, known=True)
    assert "model.safetensors" in read


def test_a_cache_that_is_damaged_or_not_there_only_costs_time(
    settled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    verify(settled, known=True)
    for kept in (tmp_path / "cache" / "etude" / "verified").iterdir():
        kept.write_text("{", encoding="utf-8")
    read.clear()
    verify(settled, known=True)
    assert "model.safetensors" in read
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    verify(settled, known=True)


def test_weights_that_are_views_of_their_file_are_written_to_memory_alone(model_dir: Path) -> None:
    content = (model_dir / "model.safetensors").read_bytes()
    model, _ = load_pretrained(model_dir)
    for parameter in model.parameters():
        parameter.data.add_(1)
    assert (model_dir / "model.safetensors").read_bytes() == content
