"""A file in parts says the same as the file whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import UserError
from data_process.records.jsonl import read_texts
from data_process.records.parts import KnownFiles, Survey, refuse_changed, survey

BLANK = ["", " ", "\t", "\u3000", "\x85"]
LINES = st.lists(st.sampled_from([*BLANK, *(json.dumps({"text": "t" * n}) for n in (1, 9, 40))]))


def survey_of(path: Path, part_bytes: int) -> Survey:
    return survey(path, part_bytes, KnownFiles(path.with_name("known.json")))


@given(lines=LINES, part_bytes=st.integers(1, 100), mark=st.booleans(), ended=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_parts_hold_the_records_of_the_file_with_their_numbers(
    tmp_path: Path, lines: list[str], part_bytes: int, mark: bool, ended: bool
) -> None:
    path = tmp_path / "data.jsonl"
    text = "\ufeff" * mark + "\n".join([*lines, '{"text": "last"}']) + "\n" * ended
    path.write_bytes(text.encode("utf-8"))
    found = survey_of(path, part_bytes)
    expected = list(read_texts(path))
    records: list[tuple[int, str]] = []
    for part in found.parts:
        assert part.records == len(records)
        records += read_texts(part)
    assert records == expected
    assert found.records == len(expected)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [part.begin for part in found.parts[1:]] == [part.end for part in found.parts[:-1]]


def test_a_file_without_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n  \n")
    with pytest.raises(UserError, match="the file is empty"):
        survey_of(path, 100)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "one"}\n')
    found = survey_of(path, 100)
    refuse_changed(found.path, found.signature)
    with path.open("ab") as file:
        file.write(b'{"text": "two"}\n')
    with pytest.raises(UserError, match="was changed while it was read"):
        refuse_changed(found.path, found.signature)


def test_a_file_written_to_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "one"}\n')
    survey_of(path, 100)
    assert not (tmp_path / "known.json").exists()
