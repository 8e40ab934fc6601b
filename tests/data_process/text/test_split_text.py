"""split_text.py from files to samples: nothing lost, the same bytes for any number of workers."""

from __future__ import annotations

import itertools
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from config import ROOT
from data_process.running.run import run_step
from data_process.running.work_dir import join_streams
from data_process.running.workers import Execution
from data_process.text.splitting import SplitSettings, plan_splitting
from model.tokenizer import EtudeTokenizer
from tests.data_process.jsonl_command import Ran, read, run, write
from train.tokenizer.bpe import save_tokenizer

SCRIPT = ROOT / "data_process" / "split_text.py"
ENGLISH = "The keeper climbed the stairs. He counted them, as he did every day.\n\n" * 60
CHINESE = "看守灯塔的老人爬上楼梯，一边走一边数台阶。“还是一百一十二级。”他说。\n\n" * 60


def split(*arguments: object) -> Ran:
    """Runs the script."""
    return run(*arguments, script=SCRIPT)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of texts in three encodings and of records."""
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(ENGLISH.encode("utf-8"))
    (folder / "b.txt").write_bytes(CHINESE.encode("gb18030"))
    (folder / "inner" / "c.txt").write_bytes(CHINESE.encode("utf-16"))
    write(folder / "d.jsonl", [{"text": ENGLISH, "id": 1}, {"text": "Short.", "id": 2}])
    (folder / "notes.rst").write_bytes(b"not read")
    return folder


def joined(records: list[dict[str, Any]]) -> dict[Any, str]:
    """The texts that pieces were cut from, by where they come from."""
    found: dict[Any, str] = {}
    for record in records:
        name = record.get("source", record.get("id"))
        before = found.setdefault(name, "")
        overlap = record.get("text_overlap", 0)
        assert record["text_begin"] + overlap == len(before)
        assert before.endswith(record["text"][:overlap])
        found[name] = before + record["text"][overlap:]
    return found


WHOLE = {"a.txt": ENGLISH, "b.txt": CHINESE, "inner/c.txt": CHINESE, 1: ENGLISH, 2: "Short."}


@pytest.mark.parametrize("overlap", [0, 90])
def test_all_texts_of_a_folder_are_split_and_nothing_is_lost(
    tmp_path: Path, texts: Path, overlap: int
) -> None:
    output = tmp_path / "out.jsonl"
    ran = split(texts, "--output", output, "--size", 200, "--overlap", overlap, "--workers", 1)
    assert ran.code == 0, ran.err
    records = read(output)
    assert joined(records) == WHOLE
    assert max(len(record["text"]) for record in records) <= 200
    assert any("text_overlap" in record for record in records) == (overlap > 0)
    assert (ran.count("documents in"), ran.count("out")) == (5, len(records))
    assert "gb18030 (guessed)" in ran.out
    assert "utf_16 (byte-order mark)" in ran.out
    assert not list(tmp_path.glob("*.work"))


def test_size_can_be_told_in_tokens(tmp_path: Path, texts: Path, tokenizer: EtudeTokenizer) -> None:
    save_tokenizer(tmp_path / "tokenizer", tokenizer, 64, {"made_by": "a test"})
    output = tmp_path / "out.jsonl"
    flags = ("--size", 64, "--tokenizer_dir", tmp_path / "tokenizer", "--workers", 1)
    ran = split(texts, "--output", output, *flags)
    assert ran.code == 0, ran.err
    records = read(output)
    assert joined(records) == WHOLE
    assert max(len(tokenizer.encode(record["text"])) for record in records) <= 64


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, texts: Path) -> None:
    outputs = []
    step = plan_splitting([texts], SplitSettings(size=150, overlap=60), part_bytes=1500)
    assert len(step.parts()) > 6
    for workers in (1, 2):
        work_dir, output = tmp_path / str(workers), tmp_path / f"{workers}.jsonl"
        run_step(step, work_dir, Execution(workers=workers))
        join_streams(work_dir, "main", output)
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    places = [(r.get("source"), r["text_begin"]) for r in map(json.loads, outputs[0].splitlines())]
    for one, other in itertools.pairwise(places):
        assert one[0] != other[0] or one[1] < other[1] or one[0] is None


def test_a_file_in_many_parts_loses_nothing(tmp_path: Path, texts: Path) -> None:
    step = plan_splitting([texts], SplitSettings(size=150), part_bytes=1000)
    run_step(step, tmp_path / "work", Execution(workers=1))
    join_streams(tmp_path / "work", "main", tmp_path / "out.jsonl")
    assert joined(read(tmp_path / "out.jsonl")) == WHOLE


def test_wrapped_books_are_unwrapped_and_their_licence_goes(tmp_path: Path) -> None:
    """Which lines went is told, in many parts too; the file itself can be had."""
    paragraph = "The keeper climbed the stairs of the tower and counted them, as he did every day."
    book = "\n\n".join(f"{number} {paragraph}" for number in range(40))
    mark = "*** {} OF THE PROJECT GUTENBERG EBOOK THE LAMP ***\n\n"
    wrapped = "\n\n".join(textwrap.fill(p, 60) for p in book.split("\n\n"))
    licence = "The Project Gutenberg License\n"
    text = f"Title\n{mark.format('START')}{wrapped}\n\n{mark.format('END')}{licence}"
    source = tmp_path / "book.txt"
    source.write_text(text, encoding="utf-8")
    output, removed = tmp_path / "out.jsonl", tmp_path / "removed.jsonl"
    ran = split(source, "--output", output, "--removed_lines", removed, "--workers", 1)
    assert ran.code == 0, ran.err
    assert joined(read(output)) == {"book.txt": f"{book}\n\n"}
    lines = [(line["source"], line["line_number"], line["line"]) for line in read(removed)]
    count = text.count("\n")
    assert lines[0] == ("book.txt", 1, "Title")
    assert lines[-1] == ("book.txt", count, licence.strip())
    assert {line["rule"] for line in read(removed)} == {"licence of Project Gutenberg"}
    assert ran.count("lines removed: licence of Project Gutenberg") == len(lines) == 4
    assert ran.count("lines of wrapped paragraphs joined") == 40
    step = plan_splitting([source], SplitSettings(size=100), part_bytes=900)
    assert len(step.parts()) > 3
    run_step(step, tmp_path / "work", Execution(workers=1))
    join_streams(tmp_path / "work", "main", tmp_path / "parts.jsonl")
    assert joined(read(tmp_path / "parts.jsonl")) == {"book.txt": f"{book}\n\n"}
    flags = ("--output", output, "--overwrite", "--keep_wrapping", "--keep_licence")
    assert split(source, *flags, "--workers", 1).code == 0
    assert joined(read(output)) == {"book.txt": text}


def test_an_output_that_exists_is_only_replaced_with_overwrite(tmp_path: Path, texts: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"mine\n")
    ran = split(texts, "--output", output, "--workers", 1)
    assert (ran.code, output.read_bytes()) == (2, b"mine\n")
    assert "--overwrite" in ran.err
    assert split(texts, "--output", output, "--overwrite", "--workers", 1).code == 0
    assert joined(read(output)) == WHOLE


def test_what_is_dropped_is_kept_with_its_reason(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text(
        '{"text": "  \\n ", "id": 7}\n{"text": "Good."}\n{"no text": 1}\n{broken\n',
        encoding="utf-8",
    )
    output, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    flags = ("--output", output, "--rejected", rejected, "--workers", 1)
    stopped = split(source, *flags)
    assert stopped.code == 2
    assert f"{source}:3: " in stopped.err
    ran = split(source, *flags, "--bad_records", "skip")
    assert ran.code == 0, ran.err
    assert [record["text"] for record in read(output)] == ["Good."]
    assert [(r["reason"], r.get("id")) for r in read(rejected)] == [
        ("nothing but white space", 7),
        ("bad record", None),
        ("bad record", None),
    ]
    assert ran.count("documents in") == 4
    assert ran.count("dropped: bad record") == 2


def test_bytes_that_are_no_text_stop_the_work_or_are_counted(tmp_path: Path) -> None:
    source, output = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_bytes(ENGLISH.encode() + b"bad \xff byte\n" + CHINESE.encode())
    stopped = split(source, "--output", output, "--workers", 1)
    assert stopped.code == 2
    assert "a.txt:121: not text in utf_8" in stopped.err
    ran = split(source, "--output", output, "--bad_records", "skip", "--workers", 1)
    assert ran.code == 0, ran.err
    assert ran.count("places that were no text, now U+FFFD") == 1
    assert joined(read(output)) == {"a.txt": f"{ENGLISH}bad \ufffd byte\n{CHINESE}"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "name at least one file"),
        (("nowhere.txt",), "there is no such file"),
        (("FOLDER", "--size", 3), "size is 3"),
        (("FOLDER", "--overlap", 900), "overlap is 900"),
        (("FOLDER", "--encoding", "klingon"), "encoding is klingon"),
        (("FOLDER", "FOLDER/a.txt"), "given twice"),
        (("FOLDER", "--output", "FOLDER/out.jsonl"), "into what is read"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, texts: Path, flags: tuple[object, ...], message: str
) -> None:
    named = [str(flag).replace("FOLDER", str(texts)) for flag in flags]
    if "--output" not in named:
        named += ["--output", str(tmp_path / "out.jsonl")]
    ran = split(*named, "--workers", 1)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
