"""clean_text.py from raw records to clean ones: every drop has a reason, and counts add up."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from config import ROOT
from data_process.cleaning.step import (
    CleaningSettings,
    CleaningStep,
    LineCountingStep,
    repeated_lines,
)
from data_process.records.parts import jsonl_parts
from data_process.running.run import run_step
from data_process.running.work_dir import join_streams
from data_process.running.workers import Execution
from tests.data_process.jsonl_command import Ran, read, run, write

SCRIPT = ROOT / "data_process" / "clean_text.py"
ENGLISH = (
    "The keeper of the lighthouse climbed the stairs every evening, and counted them as he went. "
    "From the top he could see the whole bay and the boats that were coming home."
)
CHINESE = "看守灯塔的老人每天傍晚都要爬上楼梯，一边走一边数台阶，站在塔顶能望见整个海湾。"
JAPANESE = "灯台守の老人は毎日夕方になると階段を上り、そのたびに段数を数えました。"
STREAMS = ("main", "rejected", "removed")
GERMAN = "Der alte Mann stieg jeden Abend die Treppe hinauf und zählte dabei ruhig die Stufen."


def clean(*arguments: object) -> Ran:
    """Runs the script."""
    return run(*arguments, "--workers", 1, script=SCRIPT)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Good and bad records."""
    return write(
        tmp_path / "raw.jsonl",
        [
            {"text": ENGLISH, "id": 0, "meta": {"a": [1]}},
            {"text": f"Home | News | Contact us\n{CHINESE}\n责任编辑：张三", "id": 1},
            {"text": "Itâ€™s a good day, and the sun isnâ€™t too hot for a walk.", "id": 2},
            {"text": "Too short.", "id": 3},
            {"text": "| 12 | 13 | 15.5 | a b c d e f g h | 99 | 1.5 | 44 | 1 |", "id": 4},
            {"text": " \n\u200b ", "id": 5},
            {"text": f"{ENGLISH} Write to keeper@example.org or 13812345678.", "id": 6},
        ],
    )


def test_good_records_are_cleaned_and_bad_ones_kept_aside(tmp_path: Path, raw: Path) -> None:
    output, rejected = tmp_path / "clean.jsonl", tmp_path / "rejected.jsonl"
    ran = clean(raw, "--output", output, "--rejected", rejected)
    assert ran.code == 0, ran.err
    records = read(output)
    assert [record["id"] for record in records] == [0, 1, 2, 6]
    assert records[0] == {"text": ENGLISH, "id": 0, "meta": {"a": [1]}}
    assert records[1]["text"] == CHINESE
    assert records[2]["text"] == "It’s a good day, and the sun isn’t too hot for a walk."
    reasons = {record["id"]: record["reason"] for record in read(rejected)}
    assert reasons == {3: "too short", 4: "few letters", 5: "empty"}
    assert read(rejected)[0]["text"] == "Too short."


def test_no_file_is_named_as_standard_output_is(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for script in ("split_text", "clean_text", "dedup_jsonl", "prepare"):
        ran = run(raw, "--output", "-", script=SCRIPT.with_name(f"{script}.py"))
        assert ran.code == 2
        assert "- cannot be written" in ran.err
    assert clean(raw, "--output", "a.jsonl", "--removed_lines", "-").code == 2
    assert not any(tmp_path.glob("-*"))


def test_counts_add_up(tmp_path: Path, raw: Path) -> None:
    ran = clean(raw, "--output", tmp_path / "clean.jsonl")
    dropped = [line.split()[0] for line in ran.out.splitlines() if "dropped: " in line]
    assert ran.count("documents in") == 7
    assert ran.count("out") == 7 - sum(map(int, dropped)) == 4
    assert ran.count("lines removed: navigation") == 1
    assert ran.count("lines removed: publication") == 1
    assert ran.count("changed") == 2
    assert "MB/s" in ran.out


def test_every_line_that_is_removed_is_kept_aside(tmp_path: Path, raw: Path) -> None:
    output, removed = tmp_path / "clean.jsonl", tmp_path / "removed.jsonl"
    with raw.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": f"{ENGLISH}\n\n© 2020 The Gazette"}) + "\n")
    ran = clean(raw, "--output", output, "--removed_lines", removed)
    assert ran.code == 0, ran.err
    assert str(removed) in ran.out
    menu = {"rule": "navigation", "line": "Home | News | Contact us", "line_number": 1}
    editor = {"rule": "publication", "line": "责任编辑：张三", "line_number": 3}
    owner = {"rule": "copyright", "line": "© 2020 The Gazette", "line_number": 3}
    assert read(removed) == [
        {"id": 1, **menu},
        {"id": 1, **editor},
        {"record": f"{raw}:8", **owner},
    ]
    assert sum(ran.count(f"lines removed: {line['rule']}") for line in (menu, editor, owner)) == 3
    assert clean(raw, "--output", tmp_path / "b.jsonl", "--removed_lines", raw).code == 2
    kept = clean(raw, "--output", output, "--overwrite", "--keep_boilerplate")
    assert "lines removed" not in kept.out


def test_wrapped_texts_are_judged_and_written_as_flat_ones(tmp_path: Path) -> None:
    """A wrapped text without an end mark in many lines is no list, and no line of it a menu."""
    prose = f"{ENGLISH} He came home, and they asked him to share this with his brothers. " * 3
    flat = write(tmp_path / "flat.jsonl", [{"text": prose.strip()}, {"text": CHINESE * 4}])
    lines = [textwrap.fill(prose.strip(), 60), textwrap.fill(CHINESE * 4, 30)]
    wrapped = write(tmp_path / "wrapped.jsonl", [{"text": text} for text in lines])
    outputs = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    assert clean(flat, "--output", outputs[0], "--max_repeated_runs", 1).code == 0
    assert clean(wrapped, "--output", outputs[1], "--max_repeated_runs", 1).code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    flags = ("--max_repeated_runs", 1, "--no_quality_rules", "--keep_wrapping")
    assert clean(wrapped, "--output", outputs[2], *flags).code == 0
    assert [record["text"] for record in read(outputs[2])] == lines


def test_personal_data_is_masked_by_option(tmp_path: Path, raw: Path) -> None:
    output = tmp_path / "clean.jsonl"
    ran = clean(raw, "--output", output, "--mask_personal_data")
    assert read(output)[-1]["text"].endswith("Write to [EMAIL] or [PHONE].")
    assert (ran.count("masked: EMAIL"), ran.count("masked: PHONE")) == (1, 1)


def test_cleaning_again_changes_nothing(tmp_path: Path, raw: Path) -> None:
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    clean(raw, "--output", once, "--mask_personal_data")
    clean(once, "--output", twice, "--mask_personal_data")
    assert once.read_bytes() == twice.read_bytes()


def test_languages_are_kept_dropped_and_written(tmp_path: Path) -> None:
    texts = [ENGLISH, CHINESE, JAPANESE, GERMAN, "OK, fine 12345, no more no"]
    source = write(tmp_path / "raw.jsonl", [{"text": text} for text in texts])
    output, rejected = tmp_path / "clean.jsonl", tmp_path / "rejected.jsonl"
    flags = ("--output", output, "--overwrite", "--min_words", 4, "--languages", "zh", "en")
    ran = clean(source, *flags, "--rejected", rejected, "--add_language")
    assert ran.code == 0, ran.err
    assert [record["lang"] for record in read(output)] == ["en", "zh", "und"]
    assert [record["reason"] for record in read(rejected)] == ["language ja", "language de"]
    assert clean(source, *flags, "--drop_unknown_language").count("out") == 2
    wrong = clean(source, "--output", output, "--overwrite", "--languages", "klingon")
    assert wrong.code == 2
    assert "klingon is not known" in wrong.err


def test_lines_of_many_documents_are_removed(tmp_path: Path) -> None:
    pages = [
        f"The Valley Gazette, issue {n}\n{ENGLISH}\nThis is page {'x' * n}." for n in range(1, 6)
    ]
    source = write(tmp_path / "raw.jsonl", [{"text": text} for text in pages])
    output = tmp_path / "clean.jsonl"
    ran = clean(source, "--output", output, "--repeated_lines", 5)
    assert ran.code == 0, ran.err
    first = read(output)[0]["text"]
    assert first == f"{ENGLISH}\nThis is page x."  # the prose is longer than any boilerplate
    assert clean(source, "--output", tmp_path / "b.jsonl", "--repeated_lines", 6).count("out") == 5
    assert read(tmp_path / "b.jsonl")[0]["text"] == pages[0]


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = [
        f"The Valley Gazette, issue {n}\n{(ENGLISH, CHINESE, 'Bad.')[n % 3]}" for n in range(60)
    ]
    source = write(
        tmp_path / "raw.jsonl", [{"text": text, "id": n} for n, text in enumerate(texts)]
    )
    files = tuple(jsonl_parts([source], 1500))
    assert len(files) > 4
    settings = CleaningSettings(languages=("en", "zh"), repeated_lines=40)
    counting = LineCountingStep(files, settings.normalisation, "stop", "text")
    run_step(counting, tmp_path / "lines", Execution(workers=1))
    step = CleaningStep(files, settings, repeated_lines(tmp_path / "lines", 40))
    assert len(step.repeated) == 1
    found = []
    for workers in (1, 2):
        work_dir = tmp_path / f"work{workers}"
        counts = run_step(step, work_dir, Execution(workers=workers))
        outputs = [tmp_path / f"{stream}{workers}.jsonl" for stream in STREAMS]
        for stream, output in zip(STREAMS, outputs, strict=True):
            join_streams(work_dir, stream, output)
        found.append((counts, [output.read_bytes() for output in outputs]))
    assert found[0] == found[1]
    assert len(read(tmp_path / "main1.jsonl")) == 40
    assert len(read(tmp_path / "removed1.jsonl")) == 60


def test_bad_records_stop_the_work_or_are_counted(tmp_path: Path, raw: Path) -> None:
    with raw.open("ab") as file:
        file.write(b'{"text": 5}\n{broken\n')
    output, rejected = tmp_path / "clean.jsonl", tmp_path / "rejected.jsonl"
    stopped = clean(raw, "--output", output)
    assert stopped.code == 2
    assert f"{raw}:8: " in stopped.err
    assert not output.exists()
    ran = clean(raw, "--output", output, "--rejected", rejected, "--bad_records", "skip")
    assert ran.code == 0, ran.err
    assert (ran.count("documents in"), ran.count("dropped: bad record")) == (9, 2)
    assert f"{raw}:9: " in read(rejected)[-1]["problem"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--min_letters", "7"), "min_letters"),
        (("--drop_unknown_language",), "needs --languages"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, raw: Path, flags: tuple[str, ...], message: str
) -> None:
    ran = clean(raw, "--output", tmp_path / "clean.jsonl", *flags)
    assert ran.code == 2
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert clean(raw, "--output", raw, "--overwrite").code == 2
