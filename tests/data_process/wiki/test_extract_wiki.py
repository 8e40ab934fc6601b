"""From a dump to shards of articles: what is taken, what is reported, and that nothing is done
twice."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, UserError
from data_process.running.run import run_step
from data_process.running.step import done_parts, part_folder
from data_process.running.work_dir import join_streams, work_dir_of
from data_process.running.workers import Execution
from data_process.wiki.extraction import (
    DumpExtraction,
    ExtractionSettings,
    find_dumps,
    plan_extraction,
    read_problems,
)
from data_process.wiki.text.wikitext import WikitextCleaner
from tests.data_process.dumps import (
    TAIL,
    article,
    dump,
    head,
    multistream,
    page,
    pages,
    write_packings,
)

SCRIPT = ROOT / "data_process" / "extract_wiki.py"


def run_script(*arguments: object, stdin: bytes = b"") -> tuple[int, str]:
    """Exit code and output of the script, errors included."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    result = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    return result.returncode, result.stdout.decode("utf-8")


def records_in(folder: Path) -> list[dict[str, str]]:
    """The records of all shards."""
    shards = sorted(folder.glob("wiki-*.jsonl"))
    return [json.loads(line) for shard in shards for line in shard.open(encoding="utf-8")]


def extract(
    folder: Path, content: bytes, **settings: Any
) -> tuple[list[dict[str, str]], Counter[str], list[dict[str, str]]]:
    """Records, counts and rejected pages of a dump."""
    path = folder / "dump.xml"
    path.write_bytes(content)
    step = plan_extraction([path], ExtractionSettings(**{"min_length": 1, **settings}))
    work_dir = folder / "work"
    counts = run_step(step, work_dir, Execution(workers=1))
    streams = []
    for stream in ("main", "rejected"):
        join_streams(work_dir, stream, folder / stream, overwrite=True)
        lines = (folder / stream).read_text(encoding="utf-8").splitlines()
        streams.append([json.loads(line) for line in lines])
    return streams[0], counts, streams[1]


def test_a_record_has_text_id_title_url_lang_and_revision(tmp_path: Path) -> None:
    (record,), _, _ = extract(tmp_path, dump([page(7, "A plain text.", title="Old mill")]))
    assert record == {
        "text": "A plain text.",
        "id": "7",
        "title": "Old mill",
        "url": "https://en.example.org/wiki/Old_mill",
        "lang": "en",
        "revision": "1007",
    }


def test_every_page_that_is_not_taken_has_a_reason(tmp_path: Path) -> None:
    bodies = [
        page(1, article(1)),
        page(2, "#REDIRECT [[Page 1]]"),
        page(3, "text", extra='    <redirect title="Page 1" />\n'),
        page(4, "'''Page 4''' may mean:\n* [[Page 1]]\n{{disambiguation}}"),
        page(5, "of a talk", namespace=1),
        page(6, "short"),
        page(7, ".a { color: red }").replace("<model>wikitext", "<model>css"),
        page(8, "gone").replace("<text bytes", '<text deleted="deleted" bytes'),
        page(9, article(9)).replace("</revision>", "</revisiom>"),
        page(10, "x" * 4_000_001),
    ]
    records, counts, rejected = extract(tmp_path, dump(bodies), min_length=20)
    assert [record["title"] for record in records] == ["Page 1"]
    reasons = [
        "redirect (en)",
        "redirect (en)",
        "disambiguation (en)",
        "other namespace",
        "shorter than 20 characters",
        "not wikitext but css",
        "without text in the dump",
        "damaged",
        "wikitext longer than 4,000,000 characters",
    ]
    assert [record["reason"] for record in rejected] == reasons
    assert [record["title"] for record in rejected] == [f"Page {n}" for n in range(2, 11)]
    assert counts["in"] == 10
    assert counts["out"] == 1
    dropped = Counter({k: n for k, n in counts.items() if k.startswith("dropped: ")})
    assert dropped == Counter(f"dropped: {reason}" for reason in reasons)


def test_other_namespaces_and_another_language_can_be_asked_for(tmp_path: Path) -> None:
    bodies = [page(1, "an article"), page(2, "of mills", "Category:Mills", namespace=14)]
    records, _, _ = extract(tmp_path, dump(bodies), namespaces=(14,), lang="de")
    assert [(r["title"], r["lang"], r["url"]) for r in records] == [
        ("Category:Mills", "de", "https://de.example.org/wiki/Category:Mills")
    ]


STUB = re.compile(r'<text bytes="(\d+)".*?</text>', re.DOTALL)
LOG = f"{head()}  <logitem><id>1</id><type>delete</type></logitem>\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            STUB.sub(r'<text bytes="\1" id="7" />', dump(pages(30)).decode()),
            "a stub dump has no text",
        ),
        (STUB.sub(r'<text bytes="\1" />', dump(pages(1100)).decode()), "a stub dump has no text"),
        (f"{LOG}{TAIL}", "a logging dump has no text"),
        (f"{LOG}{'<logitem><id>2</id></logitem>' * 50_000}{TAIL}", "a logging dump has no text"),
    ],
    ids=["stub", "long stub", "log", "long log"],
)
def test_a_dump_without_text_is_refused_by_what_it_is(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "dump.xml.gz"
    path.write_bytes(gzip.compress(content.encode()))
    for arguments, stdin in (([path], b""), (["-"], path.read_bytes())):
        code, said = run_script(*arguments, "--output_dir", tmp_path / "out", stdin=stdin)
        assert code == 2
        assert sentence in said
        assert "pages-articles" in said
    assert not list((tmp_path / "out").glob("*"))


def test_a_dump_with_a_deleted_text_is_no_stub(tmp_path: Path) -> None:
    gone = page(1, "gone").replace("<text bytes", '<text deleted="deleted" bytes')
    records, _, _ = extract(tmp_path, dump([gone, page(2, "A text.")]))
    assert [record["id"] for record in records] == ["2"]


def of_project(project: str, bodies: list[str]) -> bytes:
    """A dump of another project of Wikimedia."""
    content = dump(bodies).decode().replace("testwiki", f"en{project}")
    return content.replace("example.org", f"{project}.org").encode()


@pytest.mark.parametrize(
    "project",
    ["wiktionary", "wikisource", "wikinews", "wikibooks", "wikiquote", "wikivoyage", "wikidata"],
)
def test_a_dump_that_is_no_wikipedia_is_named(tmp_path: Path, project: str) -> None:
    extract(tmp_path, of_project(project, [page(1, "A plain text.")]))
    damages, notes = read_problems(tmp_path / "work")
    assert damages == []
    assert len(notes) == 1
    assert "this is no Wikipedia: " in notes[0]
    assert project in notes[0].lower()


def test_a_wikipedia_and_an_own_wiki_are_not_named(tmp_path: Path) -> None:
    for content in (dump([page(1, "[[wiktionary:a]]")]), of_project("wiki", [page(1, "b")])):
        extract(tmp_path, content)
        assert read_problems(tmp_path / "work") == ([], [])
        shutil.rmtree(tmp_path / "work")


def test_pages_of_books_in_a_wikisource_are_text_without_their_frame(tmp_path: Path) -> None:
    text = (
        '<noinclude><pagequality level="4" />{{rh|1}}</noinclude>A night.<noinclude>x</noinclude>'
    )
    body = page(1, text, namespace=104).replace("<model>wikitext", "<model>proofread-page")
    article = page(2, '<pages index="A.djvu" from=1 to=3 />Of it.')
    content = of_project("wikisource", [body, article])
    records, _, _ = extract(tmp_path, content, namespaces=(0, 104))
    assert [record["text"] for record in records] == ["A night.", "Of it."]


def test_the_first_articles_are_the_first_of_the_dump(tmp_path: Path) -> None:
    for number, path in enumerate(write_packings(tmp_path, pages(60)).values()):
        step = plan_extraction([path], ExtractionSettings(max_articles=7), part_bytes=500)
        counts = run_step(step, tmp_path / f"work{number}", Execution(workers=1))
        assert counts["out"] == 7
        join_streams(tmp_path / f"work{number}", "main", tmp_path / "main", overwrite=True)
        lines = (tmp_path / "main").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == [str(n) for n in range(1, 8)]


def test_the_output_is_the_same_for_any_number_of_workers_and_from_a_pipe(tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    packed, index = multistream(pages(60), 3)
    (folder / "a-multistream1.xml.bz2").write_bytes(packed)
    (folder / "a-multistream-index1.txt.bz2").write_bytes(index)
    (folder / "a-multistream10.xml").write_bytes(dump(pages(30, first=200)))
    (folder / "a-multistream2.xml").write_bytes(dump(pages(30, first=100)))
    outputs = []
    for workers in (1, 3):
        output = tmp_path / f"out{workers}"
        code, said = run_script(
            folder, "--output_dir", output, "--workers", workers, "--rejected", tmp_path / "no"
        )
        assert code == 0, said
        assert "120  out" in said
        outputs.append((output / "wiki-00000.jsonl").read_bytes())
        assert not work_dir_of(output).exists()
    assert outputs[0] == outputs[1]
    assert [r["id"] for r in records_in(tmp_path / "out1")[58:62]] == ["59", "60", "100", "101"]
    assert (tmp_path / "no").read_bytes() == b""
    code, said = run_script("-", "--output_dir", tmp_path / "piped", stdin=packed)
    assert code == 0, said
    assert outputs[0].startswith((tmp_path / "piped" / "wiki-00000.jsonl").read_bytes())


def test_an_incomplete_dump_is_written_as_far_as_it_goes_and_ends_with_an_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cut.xml"
    path.write_bytes(dump(pages(20))[:-2000])
    for stdin, name in ((b"", path), (path.read_bytes(), "-")):
        output = tmp_path / f"out{len(stdin)}"
        code, said = run_script(name, "--output_dir", output, stdin=stdin)
        assert code == 2
        assert f"error: {name}: the dump is incomplete: it ends, inside the page 'Page " in said
        assert "Traceback" not in said
        assert [r["id"] for r in records_in(output)][:15] == [str(n) for n in range(1, 16)]


def test_shards_are_cut_between_records_and_never_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(dump([page(number, "word " * 60_000) for number in range(1, 9)]))
    flags = (path, "--output_dir", tmp_path / "out", "--shard_mb", 1, "--workers", 1)
    code, said = run_script(*flags)
    assert code == 0, said
    assert len(list((tmp_path / "out").glob("wiki-*.jsonl"))) == 2
    assert [r["id"] for r in records_in(tmp_path / "out")] == [str(n) for n in range(1, 9)]
    code, said = run_script(*flags, "--max_articles", 2)
    assert code == 2
    assert "--overwrite" in said
    code, said = run_script(*flags, "--max_articles", 2, "--overwrite")
    assert code == 0, said
    assert len(records_in(tmp_path / "out")) == 2


def extract_slowly(path: Path, work_dir: Path, seconds: float) -> None:
    """Extracts in many parts, with a pause at each page."""
    add = DumpExtraction.add

    def add_late(self: DumpExtraction, page: Any) -> None:
        time.sleep(seconds)
        add(self, page)

    DumpExtraction.add = add_late  # type: ignore[method-assign]
    step = plan_extraction([path], ExtractionSettings(min_length=1), part_bytes=2_000)
    run_step(step, work_dir, Execution(workers=1))


def test_what_is_killed_goes_on_to_the_same_bytes_without_doing_a_part_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(dump(pages(60)))
    settings = ExtractionSettings(min_length=1)
    step = plan_extraction([path], settings, part_bytes=2_000)
    assert len(step.parts()) > 20
    run_step(step, tmp_path / "undisturbed", Execution(workers=1))
    join_streams(tmp_path / "undisturbed", "main", tmp_path / "expected")

    work_dir = tmp_path / "killed"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=extract_slowly, args=(path, work_dir, 0.02))
    process.start()
    deadline = time.monotonic() + 30
    while len(done_parts(work_dir)) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    before = {n: part_folder(work_dir, n).stat().st_ino for n in done_parts(work_dir)}
    assert 4 <= len(before) < len(step.parts())

    run_step(step, work_dir, Execution(workers=2))
    join_streams(work_dir, "main", tmp_path / "found")
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    assert {n: part_folder(work_dir, n).stat().st_ino for n in before} == before


def test_a_fault_of_the_cleaner_costs_one_page_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = WikitextCleaner.clean

    def fail_at_2(self: WikitextCleaner, wikitext: str, title: str) -> str:
        if title == "Page 2":
            raise RecursionError("too deep")
        return clean(self, wikitext, title)

    monkeypatch.setattr(WikitextCleaner, "clean", fail_at_2)
    records, counts, _ = extract(tmp_path, dump(pages(3)))
    assert [record["title"] for record in records] == ["Page 1", "Page 3"]
    assert counts["dropped: the cleaner failed"] == 1
    damages, _ = read_problems(tmp_path / "work")
    assert "the cleaner failed on the page 'Page 2' (RecursionError: too deep)" in damages[0]


def test_of_many_damages_the_first_ones_are_reported(tmp_path: Path) -> None:
    bodies = [body.replace("</revision>", "</revisiom>") for body in pages(30)]
    extract(tmp_path, dump(bodies))
    damages, _ = read_problems(tmp_path / "work")
    assert len(damages) == 11
    assert damages[-1] == "and 20 more damages"


def test_a_mistake_is_named_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(dump(pages(1)))
    settings = ExtractionSettings()
    with pytest.raises(UserError, match="there is no such file"):
        find_dumps([tmp_path / "missing.xml"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no dump .* is in this folder"):
        find_dumps([tmp_path / "empty"])
    with pytest.raises(UserError, match="is given twice"):
        plan_extraction([path, path], settings)
    path.write_bytes(dump(pages(1)).replace(b' xml:lang="en"', b""))
    with pytest.raises(UserError, match="name it with --lang"):
        run_step(plan_extraction([path], settings), tmp_path / "work", Execution(workers=1))
    assert len(ExtractionSettings(min_length=0, max_articles=0).problems()) == 2
    assert len(ExtractionSettings(namespaces=()).problems()) == 1
