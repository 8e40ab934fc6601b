"""A part is done whole, once, and on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import UserError
from data_process.running.step import (
    Part,
    PartOutput,
    Step,
    done_parts,
    part_counts,
    part_folder,
    run_part,
    stream_files,
)
from tests.reliability.faults import faults


@dataclass(frozen=True)
class Scripted(Step):
    """Does to every part what it is told."""

    work: Callable[[int, PartOutput], None]

    def parts(self) -> Sequence[Part]:
        return [Part(str(number), 1) for number in range(12)]

    def plan(self) -> dict[str, Any]:
        return {}

    def run(self, number: int, output: PartOutput) -> None:
        self.work(number, output)


def write_number(number: int, output: PartOutput) -> None:
    output.count("in")
    output.write({"number": number})
    if number % 2:
        output.write({"odd": number}, "odd")


def everything_under(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def test_a_part_leaves_its_streams_and_counts(tmp_path: Path) -> None:
    for number in (3, 10, 2):
        run_part(Scripted(write_number), number, tmp_path)
    assert done_parts(tmp_path) == [2, 3, 10]
    assert part_counts(tmp_path, 3) == {"in": 1}
    assert [path.read_bytes() for path in stream_files(tmp_path, "odd")] == [b'{"odd": 3}\n']
    assert [json.loads(path.read_bytes())["number"] for path in stream_files(tmp_path)] == [
        2,
        3,
        10,
    ]


def test_parts_beyond_five_digits_keep_their_order(tmp_path: Path) -> None:
    for number in (100_000, 99_999, 7):
        part_folder(tmp_path, number).mkdir(parents=True)
    assert done_parts(tmp_path) == [7, 99_999, 100_000]


def test_a_part_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    run_part(Scripted(write_number), 1, tmp_path)

    def refuse(number: int, output: PartOutput) -> None:
        raise AssertionError

    run_part(Scripted(refuse), 1, tmp_path)


@pytest.mark.parametrize("error", [UserError("no"), RuntimeError("bug"), KeyboardInterrupt()])
def test_a_part_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(number: int, output: PartOutput) -> None:
        output.write({"half": "done"})
        raise error

    with pytest.raises(type(error)):
        run_part(Scripted(fail), 0, tmp_path)
    assert everything_under(tmp_path) == ["parts"]


def test_two_processes_at_one_part_do_not_mind_each_other(tmp_path: Path) -> None:
    def overtaken(number: int, output: PartOutput) -> None:
        write_number(number, output)
        run_part(Scripted(write_number), number, tmp_path)  # another one, meanwhile

    run_part(Scripted(overtaken), 5, tmp_path)
    names = ["00005", "00005/counts.json", "00005/main.jsonl", "00005/odd.jsonl"]
    assert everything_under(tmp_path / "parts") == names


def test_everything_is_on_the_disk_before_a_part_has_its_name(tmp_path: Path) -> None:
    with faults("none", 0) as seen:
        run_part(Scripted(write_number), 1, tmp_path)
    moved = seen.names.index("rename")
    last_write = max(n for n, name in enumerate(seen.names) if name in ("open", "write"))
    assert seen.names[last_write + 1 : moved].count("fsync") >= 3  # a stream, another, the folder
    assert seen.names[moved + 1] == "fsync"


def ended_well(place: Path) -> bool:
    """Whether a part could be done; if not, it must have been told what to do."""
    try:
        run_part(Scripted(write_number), 1, place)
    except UserError as error:
        return "free some space" not in str(error)
    return True


def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with faults("none", 0) as seen:
        run_part(Scripted(write_number), 1, tmp_path / "undisturbed")
    for number in range(1, len(seen.names) + 1):
        place = tmp_path / str(number)
        place.mkdir()
        with faults("full disk", number):
            done = ended_well(place)
        assert done_parts(place) == [1] or not done
        assert not list(place.rglob("*.tmp"))
        run_part(Scripted(write_number), 1, place)
        assert everything_under(place) == everything_under(tmp_path / "undisturbed")


def test_an_input_that_cannot_be_read_is_not_called_an_output(tmp_path: Path) -> None:
    def read(number: int, output: PartOutput) -> None:
        (tmp_path / "gone.jsonl").read_bytes()

    with pytest.raises(UserError, match=r"gone\.jsonl: cannot be read"):
        run_part(Scripted(read), 0, tmp_path)


def test_half_a_surrogate_pair_is_written_as_json_escapes_it(tmp_path: Path) -> None:
    text = "a\ud83d é 中 \udc00"

    def write(number: int, output: PartOutput) -> None:
        output.write({"text": text})

    run_part(Scripted(write), 0, tmp_path)
    line = next(stream_files(tmp_path)).read_bytes().decode("utf-8")
    assert json.loads(line) == {"text": text}
    assert "é 中" in line
