"""The data benchmark counts what is left of markup and what is lost of prose, and goes on without
those who are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config import UserError
from data_process.wiki.dump.xml_pages import SiteInfo
from tests.data_process.dumps import dump, page
from tool.benchmarks.cleaning import (
    EXTRACTOR,
    compare,
    language_of,
    lost_sentences,
    quality_of,
    sentences_in,
)
from tool.settings import CleaningBenchmarkConfig

pytestmark = pytest.mark.full

SENTENCE = "The old mill by the river has been standing there for years."
OTHER = "Nobody in the village could tell who had built the other one."


def test_sentences_of_prose_are_told_from_tables_and_references() -> None:
    text = (
        f"{SENTENCE} {OTHER}\nToo short.\nName | 1905 | born in the town of the mill.\n"
        "Jane Roe (1905). The Old Mill. Some Press, Another Town, pp. 5–7.\n"
        "老磨坊在河边已经站了很多年。村里没有人知道是谁建造了它！短。"
    )
    assert list(sentences_in(text)) == [
        SENTENCE,
        OTHER,
        "老磨坊在河边已经站了很多年。",
        "村里没有人知道是谁建造了它！",
    ]


def test_a_sentence_with_more_in_it_is_kept_and_one_that_is_missing_is_lost() -> None:
    fuller = SENTENCE.replace("river", "river (French: rivière)")
    assert lost_sentences(fuller, f"{SENTENCE} {OTHER}") == (2, [OTHER])


def test_left_over_markup_and_dangling_signs_are_counted() -> None:
    quality = quality_of(
        {"1": "a [[b]] ( ; c) '''d''' &nbsp; -{e}- {|\n|} <ref>", "2": "clean (x), y."}, {}
    )
    per_unit = 1_000_000 / quality.characters
    counts = {name: round(number / per_unit) for name, number in quality.markup.items() if number}
    assert counts == {"[[": 2, "{|": 2, "<ref": 1, "'''": 2, "&nbsp;": 1, "-{": 2}
    assert round(quality.dangling / per_unit) == 1


def test_a_dump_is_in_the_language_of_its_name() -> None:
    site = SiteInfo("en", "", ())
    assert language_of(Path("zhwiki-latest.xml.bz2"), site) == "zh"
    assert language_of(Path("simplewiki.xml"), site) == "simple"
    assert language_of(Path("excerpt.xml"), site) == "en"


def test_the_benchmark_ends_with_a_line_of_json_and_goes_on_without_a_peer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "enwiki.xml"
    path.write_bytes(dump([page(1, f"'''{SENTENCE}''' {OTHER}<ref>note</ref> {{{{cn}}}}")]))
    differences = tmp_path / "differences.jsonl"
    config = CleaningBenchmarkConfig((path,), 1, "no-such-command", differences)
    assert compare(config) == 0
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("wikiextractor is left out: ") for line in lines)
    report = json.loads(lines[-1])
    assert report["benchmark"] == "data"
    assert EXTRACTOR in report["missing"]
    assert report["speed"]["contenders"]["etude"]["mb_per_second"] > 0
    quality = report["quality"]["enwiki.xml"]
    assert quality["etude"]["pages"] == 1
    assert sum(quality["etude"]["markup"].values()) == 0
    assert quality["mwparserfromhell"]["kept_share"] == 1
    assert differences.read_text(encoding="utf-8") == ""


def test_a_dump_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.xml: cannot be read"):
        compare(CleaningBenchmarkConfig((tmp_path / "nowhere.xml",)))
