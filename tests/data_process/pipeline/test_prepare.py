"""From dumps, texts and JSONL to one training file: what is in it, what is told, and that nothing
is done twice."""

from __future__ import annotations

import bz2
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, UserError
from data_process.pipeline.chain import Chain, ChainSettings, find_inputs
from data_process.pipeline.report import report_paths
from data_process.running.work_dir import work_dir_of
from data_process.running.workers import Execution
from tests.data_process import jsonl_command
from tests.data_process.dumps import dump, page

SCRIPT = ROOT / "data_process" / "prepare.py"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "was",
    "in",
    "with",
    "that",
    "had",
    "a",
    "river",
    "mill",
    "stone",
    "bread",
    "winter",
    "morning",
    "window",
    "garden",
    "letter",
    "kitchen",
    "ladder",
    "harbour",
    "candle",
    "village",
    "orchard",
    "market",
    "bridge",
    "lantern",
    "meadow",
    "carpenter",
    "stood",
    "went",
    "under",
    "over",
    "slowly",
    "early",
    "seven",
    "grey",
    "tall",
    "found",
    "kept",
    "asked",
    "where",
    "before",
    "after",
]
ASKED = "Which of the four old bridges over the river was built of oak in the year of the flood?"
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def story(number: int, sentences: int = 6) -> str:
    """A text that is like that of no other number."""
    draw = random.Random(number)
    lines = (" ".join(draw.choices(WORDS, k=draw.randint(8, 16))) for _ in range(sentences))
    return " ".join(f"{line.capitalize()}." for line in lines)


def write_records(path: Path, texts: list[str]) -> Path:
    """A JSONL file of texts."""
    lines = [json.dumps({"text": text, "from": path.stem}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_inputs(folder: Path) -> None:
    """A folder with a whole dump, one that was cut, a text, records, and a file that is none."""
    (folder / "books").mkdir(parents=True)
    whole = dump([page(1, story(1)), page(2, "#REDIRECT [[Page 1]]"), page(3, f"'''{story(3)}'''")])
    (folder / "wiki10.xml.bz2").write_bytes(bz2.compress(whole))
    (folder / "wiki9.xml").write_bytes(dump([page(n, story(n)) for n in (4, 5, 6)])[:-600])
    book = "\n\n".join(story(number) for number in range(100, 108))
    book = f"*** START OF THE PROJECT GUTENBERG EBOOK ONE ***\n\n{book}\n\n© Jane Doe"
    (folder / "books" / "one.txt").write_text(book, encoding="utf-8")
    write_records(folder / "web.jsonl", [story(1), story(200), "$ 1 $ 2", f"{story(201)} {ASKED}"])
    (folder / "notes.pdf").write_bytes(b"%PDF")


def records_in(path: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Run:
    """What a run of the script left."""

    code: int
    said: str
    output: Path

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.data.read_text(encoding="utf-8"))
        return report

    @property
    def data(self) -> Path:
        return report_paths(self.output)[0]

    @property
    def page(self) -> Path:
        return report_paths(self.output)[1]

    @property
    def rejected(self) -> Path:
        return self.output.with_name("rejected.jsonl")

    @property
    def removed(self) -> Path:
        return self.output.with_name("removed.jsonl")


def command(folder: Path, output: Path, *more: object) -> list[str]:
    """The script's command line."""
    rejected = output.with_name("rejected.jsonl")
    removed = output.with_name("removed.jsonl")
    flags = ["--output", output, "--rejected", rejected, "--removed_lines", removed]
    flags += ["--against", folder / "asked.jsonl", *more]
    return [sys.executable, str(SCRIPT), str(folder / "in"), *map(str, flags)]


def run(folder: Path, output: Path, *more: object) -> Run:
    """Runs it to its end."""
    result = subprocess.run(
        command(folder, output, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    return Run(result.returncode, result.stdout.decode("utf-8"), output)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs and an evaluation file."""
    place = tmp_path_factory.mktemp("prepare")
    make_inputs(place / "in")
    write_records(place / "asked.jsonl", [ASKED])
    return place


@pytest.fixture(scope="module")
def done(folder: Path) -> Run:
    """A run that nobody disturbed."""
    return run(folder, folder / "done" / "hq.jsonl", "--workers", 1)


def test_dumps_texts_and_records_become_one_file_in_this_order(done: Run) -> None:
    records = records_in(done.output)
    origins = [r.get("title") or r.get("source") or r["from"] for r in records]
    assert origins[:4] == ["Page 4", "Page 5", "Page 1", "Page 3"]
    assert set(origins[4:-1]) == {"books/one.txt"}
    assert origins[-1] == "web"
    assert [records[2]["text"], records[3]["text"]] == [story(1), story(3)]
    book = "\n".join(r["text"] for r in records if "source" in r)
    assert all(story(number) in " ".join(book.split()) for number in range(100, 108))
    assert "Traceback" not in done.said
    assert not work_dir_of(done.output).exists()


def test_every_drop_has_a_reason_in_the_file_the_report_and_on_the_screen(done: Run) -> None:
    rejected = {r["reason"]: r for r in records_in(done.rejected)}
    assert set(rejected) == {
        "redirect (en)",
        "incomplete",
        "too short",
        "exact duplicate",
        "in an evaluation file",
    }
    assert rejected["exact duplicate"]["duplicate_of"]["text"] == story(1)[:100]
    stages = {stage["stage"]: stage["counts"] for stage in done.report()["stages"]}
    assert list(stages) == ["extract", "split", "clean", "dedup"]
    told = {n.removeprefix("dropped: ") for c in stages.values() for n in c if "dropped" in n}
    assert told == set(rejected)
    assert all(f"dropped: {reason}" in done.said for reason in rejected)
    documents = [step["documents"] for step in done.report()["steps"]]
    assert documents[0] == 3 + 3 + 1 + 4
    assert documents[-1] == len(records_in(done.output)) == done.report()["output"]["documents"]
    assert documents[1] - documents[2] == 1
    assert documents[2] - documents[3] == 2


def test_an_incomplete_dump_is_used_as_far_as_it_goes_and_ends_with_an_error(done: Run) -> None:
    assert done.code == 2
    sentence = "wiki9.xml: the dump is incomplete: it ends, inside the page 'Page "
    assert sentence in done.said.splitlines()[-1]
    assert done.said.splitlines()[-1].startswith("error: ")
    assert sentence in done.report()["problems"][0]
    assert "note: passed over" in done.said
    assert "notes.pdf" in done.said


def test_the_report_shows_beginnings_of_the_output_and_a_page(done: Run) -> None:
    records = records_in(done.output)
    samples = done.report()["samples"]
    assert len(samples) == min(10, len(records))
    whole = [record["text"] for record in records]
    assert all(sample["text"] in {text[:300] for text in whole} for sample in samples)
    assert sum(done.report()["output"]["languages"].values()) == len(records)
    assert done.report()["output"]["characters"] == sum(map(len, whole))
    assert done.page.read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
@posix
def test_a_killed_chain_goes_on_to_the_same_bytes_without_doing_a_stage_twice(
    folder: Path, done: Run
) -> None:
    output = folder / "killed" / "hq.jsonl"
    process = subprocess.Popen(
        command(folder, output, "--workers", 2), stdout=subprocess.DEVNULL, start_new_session=True
    )
    work_dir = work_dir_of(output)
    while process.poll() is None and not list(work_dir.glob("clean/parts/?????/counts.json")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    before = written(work_dir)
    assert {path.relative_to(work_dir).parts[0] for path in before} >= {"extract", "split", "clean"}
    again = run(folder, output, "--workers", 1, "--keep_intermediate")
    assert again.code == 2
    assert "starting over" not in again.said
    assert "continuing: " in again.said
    after = written(work_dir)
    assert {path: after[path] for path in before} == before
    for path, other in (
        (again.output, done.output),
        (again.rejected, done.rejected),
        (again.removed, done.removed),
        (again.data, done.data),
        (again.page, done.page),
    ):
        expected = other.read_bytes().replace(b"/done/", b"/killed/")
        assert path.read_bytes() == expected, path.name


def written(work_dir: Path) -> dict[Path, tuple[int, int]]:
    """The files of parts that are done, and when they were written."""
    paths = [p for p in work_dir.rglob("parts/[0-9]*/*") if not p.parent.name.endswith(".tmp")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def chain(work_dir: Path, *places: Path, **settings: Any) -> Chain:
    """A chain in this process."""
    return Chain(find_inputs(places), ChainSettings(**settings), (), work_dir, Execution(workers=1))


def test_other_settings_repeat_only_the_stages_that_they_concern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text(story(1) + "\n\nplain@mail.example.org", encoding="utf-8")
    places = (tmp_path / "a.txt", write_records(tmp_path / "b.jsonl", [story(2), story(3)]))
    list(chain(tmp_path / "work", *places).run())
    before = written(tmp_path / "work" / "split")
    capsys.readouterr()
    masked = chain(tmp_path / "work", *places, mask_personal_data=True)
    stages = list(masked.run())
    assert stages[1].counts["masked: EMAIL"] == 1
    assert written(tmp_path / "work" / "split") == before
    assert "starting over: settings changed" in capsys.readouterr().out
    assert "[EMAIL]" in masked.output_of("clean")[0].read_text(encoding="utf-8")


def test_a_chain_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    good = write_records(tmp_path / "good.jsonl", [story(1), story(1)])
    list(chain(tmp_path / "work", good).run())  # of which nothing is taken for the next
    poor = chain(tmp_path / "work", write_records(tmp_path / "a.jsonl", ["$ 1", "$ 2"]))
    stages = list(poor.run())
    assert [stage.name for stage in stages] == ["clean"]
    poor.write_stream(stages, "rejected", tmp_path / "rejected.jsonl", overwrite=False)
    assert [r["text"] for r in records_in(tmp_path / "rejected.jsonl")] == ["$ 1", "$ 2"]
    found = stages[-1].nothing_left()
    assert found.startswith("nothing is left after cleaning of 2 documents")
    assert "dropped: too short (2)" in found


def test_files_are_told_apart_by_their_names(tmp_path: Path) -> None:
    names = (
        "a/wiki-multistream10.xml.bz2",
        "a/wiki-multistream2.xml-p1p2.gz",
        "a/wiki-multistream-index2.txt",
        "a/b/c.txt",
        "a/b/c.jsonl",
        "a/picture.png",
        "a/.hidden/d.txt",
        "z.TXT",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inputs = find_inputs([tmp_path / "z.TXT", tmp_path / "a"])
    assert [path.name for path in inputs.dumps] == [
        "wiki-multistream2.xml-p1p2.gz",
        "wiki-multistream10.xml.bz2",
    ]
    assert list(inputs.texts.values()) == ["z.TXT", "b/c.txt"]
    assert [path.name for path in inputs.records] == ["c.jsonl"]
    assert [path.name for path in inputs.passed_over] == ["picture.png"]
    for places, mistake in (
        ([tmp_path / "a" / "picture.png"], "picture.png: no dump"),
        ([tmp_path / "a", tmp_path / "a" / "b" / "c.txt"], "is given twice"),
        ([tmp_path / "a" / "nothing"], "there is no such file"),
        ([tmp_path / "empty"], "no dump"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=mistake):
            find_inputs(places)


def test_a_dump_from_a_pipe_and_wrong_values_are_refused(tmp_path: Path) -> None:
    assert "threshold" in ChainSettings(threshold=2.0).problems()[0]
    assert "min_length" in ChainSettings(min_length=0).problems()[0]
    script = ROOT / "data_process" / "prepare.py"
    ran = jsonl_command.run(
        "-", "--output", tmp_path / "a.jsonl", script=script, stdin=b"<mediawiki>\n"
    )
    assert ran.code == 2
    assert "extract_wiki.py" in ran.err
