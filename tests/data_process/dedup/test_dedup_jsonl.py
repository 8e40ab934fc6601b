"""dedup_jsonl.py drops duplicates, and nothing whose like does not stay."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import ROOT
from data_process.dedup.deduplication import DedupSettings, deduplicate
from data_process.dedup.duplicates import components, pairs_of, parted
from data_process.dedup.fingerprints import LONGEST, Comparison
from data_process.records.parts import jsonl_parts
from data_process.running.work_dir import join_streams, work_dir_of
from data_process.running.workers import Execution
from tests.data_process.jsonl_command import Ran, read, run, write

SCRIPT = ROOT / "data_process" / "dedup_jsonl.py"
WORDS = [a + b + c for a in "bdfglmnprst" for b in "aeiou" for c in ("", "n", "r", "st")]


def prose(seed: int, words: int = 60) -> str:
    """A text that no other seed gives."""
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) for _ in range(words))


def chinese(seed: int, characters: int = 80) -> str:
    """The same in Chinese characters."""
    chance = random.Random(seed)
    return "".join(chr(0x4E00 + chance.randrange(2000)) for _ in range(characters))


def changed(text: str, place: int) -> str:
    """A text with another word."""
    words = text.split()
    words[place] = "zebra"
    return " ".join(words)


def talk(question: str, answer: str, system: str | None = None) -> dict[str, Any]:
    """A conversation."""
    turns = [("system", system)] if system else []
    turns += [("user", question), ("assistant", answer)]
    return {"conversations": [{"role": role, "content": content} for role, content in turns]}


def dedup(*arguments: object) -> Ran:
    """Runs the script."""
    return run(*arguments, "--workers", 1, script=SCRIPT)


def staying(
    folder: Path, records: list[Any], part_bytes: int = 400, **comparison: Any
) -> tuple[list[Any], list[Any]]:
    """What stays of records and what is rejected, done in this process."""
    source, output = write(folder / "in.jsonl", records), folder / "out.jsonl"
    settings = DedupSettings(comparison=Comparison(**comparison))
    files = tuple(jsonl_parts([source], part_bytes))
    deduplicate(files, (), settings, work_dir_of(output), Execution(workers=1))
    join_streams(work_dir_of(output), "main", output, overwrite=True)
    join_streams(work_dir_of(output), "rejected", folder / "no.jsonl", overwrite=True)
    return read(output), read(folder / "no.jsonl")


def test_the_first_of_alike_records_stays_as_it_stands(tmp_path: Path) -> None:
    text, other = prose(1), chinese(2)
    records = [
        {"text": text, "id": "a", "meta": {"é": [1]}},
        {"text": prose(3)},
        {"text": text.upper().replace(" ", ",\n"), "id": "b"},
        {"text": other},
        {"text": changed(text, 30), "id": "c"},
        {"text": other[:40] + "猫" + other[41:], "id": "d"},
        {"text": prose(4) + other},
    ]
    source = write(tmp_path / "in.jsonl", records)
    output, rejected = tmp_path / "out.jsonl", tmp_path / "rejected.jsonl"
    ran = dedup(source, "--output", output, "--rejected", rejected)
    assert ran.code == 0, ran.err
    lines = source.read_bytes().splitlines(keepends=True)
    assert output.read_bytes() == b"".join(lines[n] for n in (0, 1, 3, 6))
    found = [(r["id"], r["reason"], r["duplicate_of"]) for r in read(rejected)]
    first = {"file": str(source), "line": 1, "id": "a", "text": text[:100]}
    assert found == [
        ("b", "exact duplicate", first),
        ("c", "near duplicate", first),
        ("d", "near duplicate", {"file": str(source), "line": 4, "text": other}),
    ]
    assert 0.7 < read(rejected)[1]["similarity"] < 1
    assert "7  documents in" in ran.out
    assert "1  dropped: exact duplicate" in ran.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "rejected.jsonl"]


def test_exact_only_leaves_near_duplicates(tmp_path: Path) -> None:
    records = [{"text": prose(1)}, {"text": changed(prose(1), 9)}, {"text": prose(1) + "!"}]
    assert staying(tmp_path, records, exact_only=True)[0] == records[:2]


def test_sums_that_differ_in_one_sign_are_no_duplicates(tmp_path: Path) -> None:
    records = [{"text": f"3 {sign} 8"} for sign in "+-*/"] + [{"text": "!?"}, {"text": "?!"}]
    assert staying(tmp_path, records)[0] == records
    assert staying(tmp_path, records[-2:])[0] == records[-2:]


def test_questions_and_answers_must_both_be_alike(tmp_path: Path) -> None:
    passage, tools = prose(1, 200), prose(2, 300)
    records = [
        talk(f"{passage} Who sang?", "The old keeper did.", tools),
        talk(f"{passage} When?", "In the year of the flood.", tools),
        talk("Hello there, friend", prose(3), tools),
        talk("Tell me what you know", prose(3), tools),
        talk("Tell me what you know!", changed(prose(3), 5)),
    ]
    kept, rejected = staying(tmp_path, records)
    assert kept == records[:4]
    assert rejected[0]["duplicate_of"]["line"] == 4


def test_nothing_is_dropped_whose_like_does_not_stay(tmp_path: Path) -> None:
    text = prose(1)
    words = text.split()
    chain = [" ".join([*prose(9, 60).split()[:n], *words[n:]]) for n in range(0, 60, 4)]
    kept, rejected = staying(tmp_path, [{"text": link} for link in chain])
    assert len(kept) > 2
    lines = {chain.index(record["text"]) + 1 for record in kept}
    assert rejected
    assert {record["duplicate_of"]["line"] for record in rejected} <= lines
    assert min(record["similarity"] for record in rejected) >= 0.7


def test_a_copy_of_a_record_that_is_dropped_leads_to_the_one_that_stays(tmp_path: Path) -> None:
    near = changed(prose(1), 30)
    records = [{"text": text} for text in (prose(1), near, prose(2), near + "!")]
    kept, rejected = staying(tmp_path, records)
    assert kept == [records[0], records[2]]
    assert [(r["reason"], r["duplicate_of"]["line"]) for r in rejected] == [
        ("near duplicate", 1),
        ("near duplicate", 1),
    ]


def test_very_long_texts_with_the_same_begin_are_no_duplicates(tmp_path: Path) -> None:
    begin = prose(1, 270_000)
    assert len(begin) > LONGEST
    records = [{"text": begin + end} for end in ("one", "two", "one")]
    assert staying(tmp_path, records, part_bytes=1 << 24)[0] == records[:2]


def test_hundreds_of_copies_of_a_template_leave_one(tmp_path: Path) -> None:
    records = [{"text": changed(prose(1, 100), 10 + n % 80) + f" w{n}"} for n in range(400)]
    records[200] = {"text": prose(2)}
    kept, _ = staying(tmp_path, records, part_bytes=100_000)
    assert kept == [records[0], records[200]]


def test_records_that_share_a_key_make_few_pairs() -> None:
    records = np.random.default_rng(1).permutation(np.arange(1000) * 3)
    pairs = parted(np.unique(pairs_of(np.full(1000, 7, dtype=np.uint64), records)))
    assert len(pairs) < 2000
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert set(components(pairs // 3, 1000).tolist()) == {0}


def test_chains_of_pairs_are_found_whatever_their_order() -> None:
    chance = np.random.default_rng(2)
    names = chance.permutation(300)
    links = np.stack((names[:-1], names[1:]), axis=1)[np.arange(299) % 100 != 99]
    label = components(np.sort(links, axis=1), 300)
    for part in (names[:100], names[100:200], names[200:]):
        assert set(label[part].tolist()) == {part.min()}


@pytest.mark.parametrize("cut", [1, 10_000])
def test_the_output_does_not_depend_on_how_the_file_is_cut(tmp_path: Path, cut: int) -> None:
    records = [{"text": changed(prose(n // 2), n % 2 * 7 + 1)} for n in range(10)]
    kept, rejected = staying(tmp_path, records, part_bytes=cut)
    assert kept == records[::2]
    assert [record["duplicate_of"]["line"] for record in rejected] == list(range(1, 10, 2))


def test_bad_records_stop_the_work_or_are_counted(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "a"}\n\n{"text": 3}\n{"question": 1}\n{"text": "b"}', "utf-8")
    ran = dedup(source, "--output", output)
    assert ran.code == 2
    assert f'{source}:3: "text" is a int' in ran.err
    rejected = tmp_path / "rejected.jsonl"
    ran = dedup(source, "--output", output, "--bad_records", "skip", "--rejected", rejected)
    assert ran.code == 0, ran.err
    assert read(output) == [{"text": "a"}, {"text": "b"}]
    assert "2  dropped: bad record" in ran.out
    assert [record["reason"] for record in read(rejected)] == ["bad record"] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_killed_and_started_again_the_output_is_that_of_one_run(tmp_path: Path) -> None:
    records = [{"text": changed(prose(n // 3, 400), n % 3 * 9)} for n in range(600)]
    source = write(tmp_path / "in.jsonl", records)
    clean, output = tmp_path / "clean.jsonl", tmp_path / "out.jsonl"
    assert dedup(source, "--output", clean).code == 0
    command = [sys.executable, str(SCRIPT), str(source), "--output", str(output), "--workers", "2"]
    for name in ("read/parts", "read/parts/00000"):  # while records are read, and after that
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not (work_dir_of(output) / name).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not output.exists()
    ran = run(*command[2:], script=SCRIPT)
    assert ran.code == 0, ran.err
    assert "continuing" in ran.out
    assert output.read_bytes() == clean.read_bytes()
    assert len(read(output)) == 200


def test_wrong_settings_are_told_in_one_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "a"}])
    for flags, problem in (
        (("--threshold", 2), "threshold is 2.0"),
        (("--against", tmp_path / "none.jsonl"), "none.jsonl"),
        (("--output", source, "--overwrite"), "would be written into what is read"),
    ):
        ran = dedup(source, "--output", tmp_path / "out.jsonl", *flags)
        assert ran.code != 0
        assert problem in ran.err
        assert "Traceback" not in ran.err


def test_real_texts_lose_only_real_duplicates(tmp_path: Path, shared_data: Path) -> None:
    lines = (shared_data / "pretrain_zh.jsonl").read_bytes().splitlines(keepends=True)[:2000]
    texts = [json.loads(line)["text"] for line in lines]
    kept, rejected = staying(tmp_path, [{"text": text} for text in texts], part_bytes=1 << 20)
    assert len(kept) + len(rejected) == 2000
    for record in rejected:
        original = texts[record["duplicate_of"]["line"] - 1]
        assert len(set(record["text"]) & set(original)) > 0.6 * len(set(original))
    planted = [{"text": text + text[:10]} for text in texts[:300] if len(text) > 100]
    again, _ = staying(tmp_path, [{"text": text} for text in texts] + planted, part_bytes=1 << 20)
    assert again == kept
