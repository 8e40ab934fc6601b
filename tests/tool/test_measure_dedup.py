"""Planted near duplicates are what they are said to be, and the measuring script counts right."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from config import ROOT
from tool.benchmarks.measuring import run_watched
from tool.measure_dedup import EDITS, jaccard, plant, planted_table, write_documents

TEXT = (
    "The keeper climbed the stairs. He counted them as he went! From the top, he saw the bay. "
    "Boats came home. 老人每天傍晚爬上楼梯，一边走一边数。塔顶能望见整个海湾。"
)
OTHER = "A cow sang. Nobody knew the song, but all of them clapped. 春天来了，花都开了。雨停了。"


def test_edits_change_texts_as_much_as_they_say() -> None:
    chance = random.Random(1)
    likeness = {name: jaccard(TEXT, edit(TEXT, OTHER, chance), 2) for name, edit in EDITS.items()}
    assert likeness["1% of words"] > likeness["10% of words"] > likeness["20% of words"]
    assert likeness["punctuation, case, space"] == 1
    assert likeness["sentences swapped"] > 0.8
    assert likeness["half of it another text"] < 0.6
    assert jaccard(TEXT, OTHER, 2) < 0.1


def test_copies_are_the_same_for_the_same_seed() -> None:
    texts = [TEXT, OTHER, "Too short."]
    assert plant(texts, 2, seed=3) == plant(texts, 2, seed=3) != plant(texts, 2, seed=4)
    assert {copy.original for copy in plant(texts, 2, seed=3)} == {0, 1}
    assert len(plant(texts, 2, seed=3)) == 2 * len(EDITS)


def test_recall_and_precision_are_counted() -> None:
    planted = [copy for copy in plant([TEXT], 1, seed=1) if copy.kind == "sentences swapped"] * 2
    table = planted_table([TEXT, OTHER], planted, {2: 0, 1: 0}, threshold=0.7)
    assert "50.0%" in table[1]
    assert "recall 50.00% (1 of 2)" in table[-2]
    assert "precision 50.00% (1 of 2)" in table[-1]


def test_documents_are_made_from_a_seed(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    write_documents(one, 50, seed=1)
    write_documents(other, 50, seed=1)
    assert one.read_bytes() == other.read_bytes()
    lines = one.read_text(encoding="utf-8").splitlines()
    assert lines[19].split('"id"')[0] == lines[18].split('"id"')[0] != lines[16].split('"id"')[0]


def test_memory_of_a_command_and_its_children_is_seen() -> None:
    child = "import time; data = bytearray(200_000_000); time.sleep(0.6)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print(5)"
    watched = run_watched([sys.executable, "-c", code])
    assert watched.output == "5\n"
    if sys.platform == "linux":
        assert 200e6 < watched.peak_bytes < 400e6


def test_the_script_measures_time_and_memory() -> None:
    command = [sys.executable, str(ROOT / "tool" / "measure_dedup.py"), "--documents", "200"]
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    assert "200  documents in" in ran.stdout
    assert "180  out" in ran.stdout
    assert "peak memory" in ran.stdout
