"""The templates of a dump: read once, kept beside the output, and what is dropped is reported."""

from __future__ import annotations

import bz2
import json
import re
import resource
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, UserError
from data_process.running.step import run_part
from data_process.running.work_dir import prepare_work_dir
from data_process.running.workers import Execution
from data_process.wiki.dump.reader import DumpReader, cut_dump
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.extraction import ExtractionSettings, extract
from data_process.wiki.template_pages import (
    TemplateStep,
    TemplateStore,
    learn_templates,
    templates_in,
)
from tests.data_process.dumps import dump, multistream, page, template_pages
from tests.data_process.wiki.wiki_templates import WIKIS
from tool.benchmarks.cleaning import sentences_in

SCRIPT = ROOT / "data_process" / "extract_wiki.py"
MARKUP = ("{{", "}}", "[[", "]]", "<", "'''", "{|", "&nbsp;", "\x02", "\x0e")


def run_script(*arguments: object, stdin: bytes = b"") -> str:
    """Output of the script, errors included."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


def extracted(folder: Path, dumps: Sequence[Path], **settings: Any) -> tuple[list[str], Any]:
    """The texts of dumps, and what else the step gives."""
    work_dir = folder / f"work{len(list(folder.iterdir()))}"
    taken = ExtractionSettings(**{"min_length": 1, **settings})
    store = folder / "out.templates"
    result = extract(dumps, taken, work_dir, Execution(workers=1), store)
    lines = [
        line
        for path in sorted(work_dir.glob("parts/*/main.jsonl"))
        for line in path.open(encoding="utf-8")
    ]
    return [json.loads(line)["text"] for line in lines], result


def wiki_dump(folder: Path, language: str) -> Path:
    """A dump of the sentences and templates of a wiki, the templates last."""
    wiki = WIKIS[language]
    articles = [page(n + 1, text) for n, (text, _) in enumerate(wiki.sentences)]
    path = folder / f"{language}wiki.xml"
    bodies = [*articles, *template_pages(wiki.pages, wiki.prefix)]
    path.write_bytes(dump(bodies, language, wiki.prefix))
    return path


@pytest.mark.parametrize("language", WIKIS)
def test_sentences_of_every_wiki_are_whole(language: str, tmp_path: Path) -> None:
    """Holes before (with the list alone) and after, and no markup left."""
    path = wiki_dump(tmp_path, language)
    texts, result = extracted(tmp_path, [path])
    assert texts == [shown for _, shown in WIKIS[language].sentences]
    assert not any(sign in text for text in texts for sign in MARKUP)
    before, old = extracted(tmp_path, [path], templates="list")
    key = "templates dropped inside sentences"
    holes, old_holes = (sum(h["count"] for h in r.details[key]) for r in (result, old))
    per_thousand = (round(1000 * count / len(texts)) for count in (old_holes, holes))
    print(f"{language}: holes per 1,000 sentences", *per_thousand)
    assert before != texts
    assert holes <= (language == "en")  # {{sfn}}, a note in Lua
    assert old_holes >= holes


def test_the_name_of_the_namespace_and_the_first_letter_do_not_matter(tmp_path: Path) -> None:
    calls = (
        "{{Vorlage:Wort}} {{template:wort}} {{wort}} {{_Wort}} {{ Wort }} {{Wort|}} {{subst:Wort}}"
    )
    bodies = [page(1, f"Ein {calls}."), *template_pages({"Wort": "W"}, "Vorlage")]
    path = tmp_path / "a.xml"
    path.write_bytes(dump(bodies, "de", "Vorlage"))
    texts, _ = extracted(tmp_path, [path])
    assert texts == ["Ein W W W W W W W."]


def test_redirects_lead_to_templates_and_loops_are_cut(tmp_path: Path) -> None:
    pages = {
        "A": "#WEITERLEITUNG [[Vorlage:B]]",
        "B": "#REDIRECT [[Template:C#part]] {{x}}",
        "C": "c",
        "Round": "#REDIRECT [[Template:Around]]",
        "Around": "#REDIRECT [[Template:Round]]",
        "Miles": "#REDIRECT [[Template:Convert]]",
    }
    path = tmp_path / "a.xml"
    body = page(1, "One {{a}} and {{round}} and {{miles|5|mi}}.")
    path.write_bytes(dump([body, *template_pages(pages)]))
    texts, result = extracted(tmp_path, [path])
    assert texts == ["One c and and 5 miles."]
    assert [h["template"] for h in result.details["templates dropped inside sentences"]] == [
        "Round"
    ]


def test_the_dump_is_read_for_its_templates_once(tmp_path: Path) -> None:
    path = wiki_dump(tmp_path, "fr")
    run_script(path, "--output_dir", tmp_path / "out", "--min_length", 1)
    store = tmp_path / "out.templates"
    first = store.stat().st_mtime_ns
    output = run_script(
        path, "--output_dir", tmp_path / "out", "--min_length", 1, "--overwrite", "--math", "drop"
    )
    assert store.stat().st_mtime_ns == first
    path.write_bytes(path.read_bytes().replace(b"Premier", b"premier"))
    run_script(path, "--output_dir", tmp_path / "out", "--min_length", 1, "--overwrite")
    assert store.stat().st_mtime_ns > first
    assert not (tmp_path / "out.work").exists()
    assert "built-in list" not in output


def test_a_damaged_store_is_made_again(tmp_path: Path) -> None:
    path = wiki_dump(tmp_path, "fr")
    expected, _ = extracted(tmp_path, [path])
    for damage in (b"", b"no database", (tmp_path / "out.templates").read_bytes()[:3000]):
        (tmp_path / "out.templates").write_bytes(damage)
        texts, _ = extracted(tmp_path, [path])
        assert texts == expected


def test_a_store_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    path = wiki_dump(tmp_path, "fr")
    out = tmp_path / "out.templates"
    limited = f"ulimit -f 8; exec {sys.executable} {SCRIPT} {path} --output_dir {tmp_path / 'out'}"
    result = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()
    extracted(tmp_path, [path])
    site = cut_dump(path)[0].site
    assert site
    store = TemplateStore(out, site)
    store.close()
    store.database = sqlite3.connect(":memory:")
    with pytest.raises(UserError, match=f"{out}: cannot be read .*; remove it"):
        store.find("S-")
    store.close()


def test_a_killed_pass_over_the_templates_continues(tmp_path: Path) -> None:
    bodies = [page(n, f"Mill {n} is {{{{word|{n}}}}}.") for n in range(40)]
    path = tmp_path / "multi.xml.bz2"
    path.write_bytes(multistream([*bodies, *template_pages({"Word": "old ({{{1}}})"})], 3)[0])
    parts = cut_dump(path, 2000)
    work_dir, store = tmp_path / "work", tmp_path / "store"
    step = TemplateStep(tuple(parts))
    work_dir.mkdir()
    for number in range(len(parts) - 1):
        prepare_work_dir(work_dir, step, len(parts))
        run_part(step, number, work_dir)
    assert learn_templates(step, store, work_dir, Execution(workers=1)) == 1
    assert templates_in(store, step) == 1
    assert templates_in(store, TemplateStep(tuple(parts[1:]))) is None


def test_several_files_share_the_templates_of_their_wiki(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("1.xml", "2.xml", "other.xml"))
    first.write_bytes(dump([page(1, "It is {{word}}.")]))
    second.write_bytes(dump([page(2, "It is not {{word}}."), *template_pages({"Word": "old"})]))
    other.write_bytes(dump([page(3, "C'est {{word}}."), *template_pages({"Word": "vieux"})], "fr"))
    texts, _ = extracted(tmp_path, [first, other, second])
    assert texts == ["It is old.", "C'est vieux.", "It is not old."]


def test_a_multistream_dump_in_parts_gives_the_same(tmp_path: Path) -> None:
    bodies = [page(n, f"Mill {n} is {{{{word|{n}}}}} and {{{{lost}}}} here.") for n in range(40)]
    bodies += template_pages({"Word": "old ({{{1}}})"})
    path = tmp_path / "multi.xml.bz2"
    path.write_bytes(multistream(bodies, 3)[0])
    assert len(cut_dump(path, 2000)) > 1
    texts, result = extracted(tmp_path, [path])
    assert texts == [f"Mill {n} is old ({n}) and here." for n in range(40)]
    (hole,) = result.details["templates dropped inside sentences"]
    assert (hole["template"], hole["count"]) == ("Lost", 40)
    assert hole["example"] == "Mill 0 is old (0) and {{Lost}} here."


def test_the_report_lists_what_was_dropped_inside_sentences(tmp_path: Path) -> None:
    text = "A mill of {{one}} and {{two|x}}.\n\n{{three}}\n\n* {{one}} mill\n{{one}}"
    path = tmp_path / "a.xml"
    path.write_bytes(dump([page(1, text), *template_pages({"Two": "{{#invoke:T|t}}"})]))
    output = run_script(path, "--output_dir", tmp_path / "out", "--min_length", 1)
    assert (
        "templates dropped inside sentences, as what they show is not known: One (2), Two (1)"
        in output
    )
    report = json.loads((tmp_path / "out_report.json").read_text(encoding="utf-8"))
    assert report["templates dropped inside sentences"] == [
        {"template": "One", "count": 2, "example": "A mill of {{One}} and ."},
        {"template": "Two", "count": 1, "example": "A mill of and {{Two}}."},
    ]
    assert report["counts"]["out"] == 1


def test_at_most_fifty_templates_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(dump([page(1, " and ".join(f"{{{{t{n}}}}} mills" for n in range(70)))]))
    _, result = extracted(tmp_path, [path])
    assert len(result.details["templates dropped inside sentences"]) == 50


def test_a_pipe_shows_the_list_and_says_so_once(tmp_path: Path) -> None:
    content = wiki_dump(tmp_path, "en").read_bytes()
    output = run_script("-", "--output_dir", tmp_path / "out", "--min_length", 1, stdin=content)
    assert output.count("a pipe cannot be read twice") == 1
    text = (tmp_path / "out" / "wiki-00000.jsonl").read_text(encoding="utf-8")
    assert "10 kilometres" in text
    assert "2πr" not in text
    assert not (tmp_path / "out.templates").exists()


def test_a_dump_of_articles_alone_shows_the_list_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(dump([page(1, "It is {{convert|10|km|mi}} long.")]))
    texts, result = extracted(tmp_path, [path])
    assert texts == ["It is 10 kilometres long."]
    assert any("holds no templates" in note for note in result.notes)


def test_a_look_at_a_few_articles_does_not_read_the_dump(tmp_path: Path) -> None:
    path = wiki_dump(tmp_path, "en")
    _, result = extracted(tmp_path, [path], max_articles=1)
    assert any("max_articles" in note for note in result.notes)
    extracted(tmp_path, [path])
    texts, result = extracted(tmp_path, [path], max_articles=1)
    assert texts == ["A circle of radius r is 2πr around."]
    assert not result.notes


def test_only_the_pages_of_a_namespace_are_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    bodies = [page(1, "a"), *template_pages({"B": "b"}), page(3, "c", "Talk:C", 1)]
    path.write_bytes(dump(bodies).replace(b">a</text>", b">&bad;</text>"))
    found = [f for f in DumpReader(cut_dump(path)[0], 10) if not isinstance(f, SiteInfo)]
    assert [f.title for f in found if isinstance(f, Page)] == ["Template:B"]
    assert len(found) == 1


def test_pages_about_templates_and_other_models_are_no_templates(tmp_path: Path) -> None:
    pages = {"Word/doc": "doc", "Word/sandbox": "no", "Word/styles.css": ".a {}", "Word": "w"}
    bodies = template_pages(pages)
    bodies[2] = bodies[2].replace("<model>wikitext", "<model>sanitized-css")
    path = tmp_path / "a.xml"
    path.write_bytes(dump([page(1, "It is {{word}}."), *bodies]))
    extracted(tmp_path, [path])
    rows = sqlite3.connect(tmp_path / "out.templates").execute("SELECT name FROM templates")
    assert rows.fetchall() == [("Word",)]


@pytest.mark.full
def test_a_hundred_thousand_templates_take_little_memory_and_time(tmp_path: Path) -> None:
    pages = {
        f"T{n}": f"word {n} {{{{{{1|}}}}}}" + "x" * 300 + "<noinclude>d</noinclude>"
        for n in range(100_000)
    }
    path = tmp_path / "a.xml"
    texts = [page(n, f"A {{{{t{n * 97 % 100_000}|y}}}} mill.") for n in range(1, 20_001)]
    path.write_bytes(dump([*texts, *template_pages(pages)]))
    del pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found, _ = extracted(tmp_path, [path])
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size = (tmp_path / "out.templates").stat().st_size / 1e6
    print(f"{seconds:.1f} s, {grown:.0f} MB more memory, a store of {size:.0f} MB")
    assert len(found) == 20_000
    assert all("word" in text for text in found)
    assert grown < 200
    assert size < 100


def test_a_store_keeps_few_parsed_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_process.wiki.template_pages.PARSED", 5_000)
    path = tmp_path / "a.xml"
    path.write_bytes(
        dump([page(1, "A."), *template_pages({f"T{n}": "x" * 50 for n in range(500)})])
    )
    extracted(tmp_path, [path])
    site = cut_dump(path)[0].site
    assert site
    store = TemplateStore(tmp_path / "out.templates", site)
    for number in range(500):
        assert store.find(f"T{number}")
        assert store.find(f"no {number}") is None
        assert len(store.parsed) < 60
    store.close()


def with_templates(path: Path, language: str) -> bytes:
    """A real dump, which holds articles alone, with the templates that this file's wikis have."""
    content = path.read_bytes()
    content = bz2.decompress(content) if path.suffix == ".bz2" else content
    if b"\0" in content[:200]:
        content = re.sub(rb"<\?xml[^>]*\?>", b"", content.decode("utf-16").encode(), count=1)
    place = content.rindex(b"</mediawiki>")
    wiki = WIKIS[language]
    added = "".join(template_pages(wiki.pages, wiki.prefix)).encode()
    return content[:place] + added + content[place:]


@pytest.mark.full
def test_real_articles_have_fewer_holes_and_no_markup(shared_data: Path, tmp_path: Path) -> None:
    """Templates dropped inside sentences, for 1,000 sentences of prose, with the list alone and
    with the templates of the dump."""
    all_counts = Counter[str]()
    for path in sorted((shared_data / "wiki").iterdir()):
        language = {"tiny": "ltg"}.get(path.name.split("wiki")[0], path.name.split("wiki")[0])
        folder = tmp_path / path.name
        folder.mkdir()
        (folder / "a.xml").write_bytes(with_templates(path, language))
        counts = Counter[str]()
        for mode in ("list", "dump"):
            texts, result = extracted(folder, [folder / "a.xml"], lang=language, templates=mode)
            text = re.sub(r"\$[^$\n]*\$", "", "\n".join(texts))
            assert not re.search(r"\{\{|\}\}|\[\[|\]\]|&nbsp;|</?(?:ref|span|br|small)\b", text)
            counts[mode] = sum(
                h["count"] for h in result.details["templates dropped inside sentences"]
            )
            counts[f"{mode} sentences"] = sum(1 for one in texts for _ in sentences_in(one))
        assert counts["dump"] <= counts["list"]
        assert counts["dump sentences"] >= counts["list sentences"] - 5
        print(path.name, *(f"{rate(counts, mode):.1f}" for mode in ("list", "dump")))
        all_counts += counts
    print("all", *(f"{rate(all_counts, mode):.1f}" for mode in ("list", "dump")))
    assert rate(all_counts, "dump") < 15


def rate(counts: Counter[str], mode: str) -> float:
    """Holes for 1,000 sentences."""
    return 1000 * counts[mode] / max(1, counts[f"{mode} sentences"])
