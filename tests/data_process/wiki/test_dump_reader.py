"""Dumps in every packing, whole, in parts, cut and damaged: nothing is lost without a word."""

from __future__ import annotations

import bz2
import gzip
import random
from pathlib import Path

import pytest

from config import UserError
from data_process.wiki.dump import pages as dump_pages
from data_process.wiki.dump.reader import DumpReader, Problem, Skipped, cut_dump
from data_process.wiki.dump.xml_pages import Page
from tests.data_process.dumps import (
    TAIL,
    article,
    dump,
    head,
    multistream,
    page,
    pages,
    revision,
    write_packings,
)

BODIES = pages(60)
PACKINGS = (
    "dump.xml",
    "dump.xml.gz",
    "single.xml.bz2",
    "cut.xml.bz2",
    "multistream.xml.bz2",
    "utf16.xml",
    "utf16.xml.bz2",
    "gb18030.xml",
    "marked.xml",
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same dump in every packing."""
    files = write_packings(tmp_path_factory.mktemp("dumps"), BODIES)
    assert sorted(files) == sorted(PACKINGS)
    return files


class Read:
    """All that is found in a dump."""

    def __init__(self, path: Path, part_bytes: int | None = None):
        self.pages: list[Page] = []
        self.skipped: list[Skipped] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.parts = cut_dump(path, part_bytes)
        for part in self.parts:
            for found in DumpReader(part):
                if isinstance(found, Page):
                    self.pages.append(found)
                elif isinstance(found, Skipped):
                    self.skipped.append(found)
                elif isinstance(found, Problem):
                    (self.notes if found.is_note else self.problems).append(found.what)

    @property
    def titles(self) -> list[str]:
        return [page.title for page in self.pages]


def read_bytes(folder: Path, content: bytes, name: str = "dump.xml") -> Read:
    """What is found in a dump with this content."""
    (folder / name).write_bytes(content)
    return Read(folder / name)


def names(*numbers: int) -> list[str]:
    return [f"Page {number}" for number in numbers]


@pytest.mark.parametrize("name", PACKINGS)
def test_every_packing_and_every_part_size_gives_the_same_pages(
    packed: dict[str, Path], name: str
) -> None:
    whole = Read(packed["dump.xml"]).pages
    assert [page.text for page in whole] == [article(number) for number in range(1, 61)]
    for part_bytes in (None, 50, 333, 1000, 4096, 20_000):
        read = Read(packed[name], part_bytes)
        assert read.pages == whole, part_bytes
        assert not read.problems + read.notes
        can_be_cut = name in ("dump.xml", "marked.xml", "multistream.xml.bz2", "cut.xml.bz2")
        if part_bytes == 1000:
            assert (len(read.parts) > 1) == can_be_cut


@pytest.mark.parametrize("name", PACKINGS)
def test_a_dump_that_is_cut_anywhere_is_reported(
    packed: dict[str, Path], name: str, tmp_path: Path
) -> None:
    content = packed[name].read_bytes()
    end = content.rindex(b"</mediawiki>") if name.endswith(("dump.xml", "marked.xml")) else 0
    draw = random.Random(name)
    for _ in range(40):
        kept = draw.randrange(1, end + 11 if end else len(content) - 4)
        (tmp_path / name).write_bytes(content[:kept])
        try:
            read = Read(tmp_path / name, draw.choice([None, 700]))
        except UserError:
            continue  # not even its head is there
        assert any("the dump is incomplete" in what for what in read.problems), kept
        assert read.titles == names(*range(1, len(read.pages) + 1))


def test_a_dump_cut_exactly_between_two_streams_is_incomplete(tmp_path: Path) -> None:
    packed, index = multistream(BODIES, 3)
    offset = int(bz2.decompress(index).splitlines()[30].split(b":")[0])
    assert bz2.decompress(packed[:offset])  # bz2 itself sees nothing
    read = read_bytes(tmp_path, packed[:offset], "cut.xml.bz2")
    assert read.titles == names(*range(1, 31))
    assert read.problems == [
        "the dump is incomplete: it ends after the page 'Page 30' without </mediawiki>; download "
        "it again"
    ]


def test_a_damaged_stream_costs_the_rest_of_its_part_and_is_named(tmp_path: Path) -> None:
    packed, index = multistream(BODIES, 3)
    offset = int(bz2.decompress(index).splitlines()[30].split(b":")[0])
    damaged = bytearray(packed)
    damaged[offset + 200] ^= 4
    what = f"the bz2 stream that begins at byte {offset} is damaged after the page 'Page 30'"
    whole = read_bytes(tmp_path, bytes(damaged), "damaged.xml.bz2")
    assert whole.titles == names(*range(1, 31))
    assert whole.problems == [
        f"the dump is incomplete: {what}; what follows is lost; download it again"
    ]
    in_parts = Read(tmp_path / "damaged.xml.bz2", 2_000)
    next_part = min(part.begin for part in in_parts.parts if part.begin > offset)
    assert f"{what}; what follows up to byte {next_part} is lost" in in_parts.problems[0]
    first = len(in_parts.titles) - 30
    assert 0 < first < 30
    assert in_parts.titles == names(*range(1, 31), *range(61 - first, 61))


def test_every_flipped_bit_of_a_bz2_dump_is_reported(tmp_path: Path) -> None:
    packed, _ = multistream(BODIES, 3)
    whole = read_bytes(tmp_path, packed, "a.xml.bz2").pages
    for number in range(150):
        draw = random.Random(number)
        damaged = bytearray(packed)
        damaged[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
        (tmp_path / "a.xml.bz2").write_bytes(damaged)
        try:
            read = Read(tmp_path / "a.xml.bz2", draw.choice([None, 700, 5000]))
        except UserError:
            continue
        assert read.problems or read.pages == whole
        assert all(found in whole for found in read.pages)


def test_a_damaged_block_of_a_long_stream_gives_out_nothing(tmp_path: Path) -> None:
    """Of a block of 900,000 bytes, bz2 gives out the beginning before it knows of the damage."""
    damaged = bytearray(bz2.compress(dump(pages(3_000))))
    damaged[len(damaged) * 9 // 10 + 21] ^= 1  # a place where it is the checksum that tells
    read = read_bytes(tmp_path, bytes(damaged), "a.xml.bz2")
    assert 500 < len(read.pages) < 3_000
    assert read.titles == names(*range(1, len(read.pages) + 1))
    (problem,) = read.problems
    assert "the bz2 stream that begins at byte 0 is damaged" in problem
    assert f"after the page {read.titles[-1]!r}" in problem


def test_a_damaged_page_costs_itself_alone(tmp_path: Path) -> None:
    bodies = pages(5)
    bodies[1] = bodies[1].replace("</revision>", "</revisiom>")
    read = read_bytes(tmp_path, dump(bodies))
    assert read.titles == names(1, 3, 4, 5)
    assert read.skipped == [Skipped("Page 2", "damaged")]
    assert "its page 'Page 2' after the page 'Page 1' is damaged (Opening" in read.problems[0]


@pytest.mark.parametrize(("tag", "kept"), [("<page>", (1, 3)), ("</page>", (1, 3))])
def test_a_damaged_border_costs_one_page(tag: str, kept: tuple[int, ...], tmp_path: Path) -> None:
    bodies = pages(3)
    bodies[1] = bodies[1].replace(tag, tag.replace("g", "G"))
    read = read_bytes(tmp_path, dump(bodies))
    assert read.titles == names(*kept)
    assert read.problems


def test_what_follows_the_end_is_a_note_and_no_damage(tmp_path: Path) -> None:
    packed = bz2.compress(dump(BODIES))
    for number, content in enumerate((packed + b"junk", packed + bytes(100), packed + packed[:50])):
        read = read_bytes(tmp_path, content, f"{number}.xml.bz2")
        assert len(read.pages) == 60
        assert not read.problems
        assert len(read.notes) == 1
    zeros = read_bytes(tmp_path, gzip.compress(dump(BODIES)) + bytes(100), "padded.xml.gz")
    assert not zeros.problems + zeros.notes


def test_an_appended_dump_is_reported(tmp_path: Path) -> None:
    first, second = dump(pages(3)), dump(pages(3, first=4))
    read = read_bytes(tmp_path, first + second)
    assert read.titles == names(*range(1, 7))
    assert "begins with '</mediawiki>" in read.problems[0]
    assert read_bytes(tmp_path, first.replace(TAIL.encode(), b"") + second).problems
    packed, _ = multistream(BODIES, 3)
    (tmp_path / "twice.xml.bz2").write_bytes(packed + packed[len(packed) // 2 :])
    for part_bytes in (None, 500, 3000):
        assert Read(tmp_path / "twice.xml.bz2", part_bytes).problems


def test_any_version_of_the_schema_is_read(tmp_path: Path) -> None:
    old = (
        head("de", "0.3")
        + "<page><title>Category:Mills</title><id>7</id><revision><id>8</id>"
        + '<text xml:space="preserve">Old &amp; good</text></revision></page>'
        + TAIL
    )
    (page_0_3,) = read_bytes(tmp_path, old.encode()).pages
    assert (page_0_3.namespace, page_0_3.text, page_0_3.model) == (14, "Old & good", "wikitext")
    new = page(1, "main text").replace("<sha1>", "<content><role>x</role></content><sha1>0")
    (page_0_11,) = read_bytes(tmp_path, dump([new])).pages
    assert (page_0_11.text, page_0_11.checksum_differs) == ("main text", False)


def test_the_newest_revision_counts_however_long_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = "".join(revision(number, article(number)) for number in range(1, 200))
    bodies = [
        page(1, "one"),
        page(2, "the newest").replace("    <revision>", history + "    <revision>", 1),
        page(3, "three"),
    ]
    for page_bytes in (1 << 20, 5_000):
        monkeypatch.setattr(dump_pages, "PAGE_BYTES", page_bytes)
        read = read_bytes(tmp_path, dump(bodies))
        assert [found.text for found in read.pages] == ["one", "the newest", "three"]


def test_a_page_that_is_too_long_is_left_out_with_a_reason(tmp_path: Path) -> None:
    bodies = [page(1, "one"), page(2, "long " * (4 << 20)), page(3, "three")]
    read = read_bytes(tmp_path, dump(bodies))
    assert read.titles == names(1, 3)
    assert read.skipped == [Skipped("Page 2", "longer than 16 MiB")]
    assert "its page 'Page 2' after the page 'Page 1' is longer than 16 MiB" in read.problems[0]


def test_a_page_of_more_than_ten_million_bytes_is_read_if_it_is_plain(tmp_path: Path) -> None:
    text = "ten million bytes " * 600_000
    tags = "<origin/>" * 1_001
    bodies = [page(1, text), page(2, text).replace("</revision>", f"{tags}</revision>")]
    read = read_bytes(tmp_path, dump(bodies))
    assert [found.text == text for found in read.pages] == [True]
    assert "'Page 2' after the page 'Page 1' is damaged (too many tags)" in read.problems[0]


def test_a_text_without_its_checksum_is_seen(tmp_path: Path) -> None:
    bodies = pages(3)
    bodies[1] = bodies[1].replace("river", "riven")
    assert [p.checksum_differs for p in read_bytes(tmp_path, dump(bodies)).pages] == [0, 1, 0]


def test_a_deleted_text_and_one_of_a_dump_of_stubs_are_no_texts(tmp_path: Path) -> None:
    body = page(1, "x")
    text = body[body.index("<text") : body.index("</text>") + len("</text>")]
    bodies = [
        body.replace(text, '<text deleted="deleted" />'),
        body.replace(text, '<text bytes="5" id="9" />'),
        body.replace(text, '<text bytes="0" />'),
    ]
    assert [p.text for p in read_bytes(tmp_path, dump(bodies)).pages] == [None, None, ""]


def test_tags_that_are_quoted_are_no_borders(tmp_path: Path) -> None:
    quoted = page(1, "QUOTED").replace("QUOTED", "<![CDATA[</page><page>]]><!-- </page> -->!")
    read = read_bytes(tmp_path, dump([quoted, page(2, "two")]))
    assert [found.text for found in read.pages] == ["</page><page>!", "two"]
    assert not read.problems


def test_a_title_becomes_the_address_that_mediawiki_writes(packed: dict[str, Path]) -> None:
    site = Read(packed["dump.xml"]).parts[0].site
    assert site
    assert site.url("C++ (a/b): 河?") == "https://en.example.org/wiki/C%2B%2B_(a/b):_%E6%B2%B3%3F"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xfd7zXZ\0", "xz -dc FILE | python"),
        (b"<html></html>", "not a MediaWiki XML dump; it begins with '<html>"),
        (b"<mediawiki", "the head of the dump is damaged"),
        (b"<?xml version='1.0' encoding='klingon'?><mediawiki>", "its encoding is klingon"),
        (b"INSERT INTO page;" * 100_000, "not a MediaWiki XML dump"),
        (b"\x1f\x8b\x08broken", "is damaged .* before its first page"),
    ],
)
def test_what_is_no_dump_is_refused_in_one_sentence(
    content: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_bytes(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_dump_without_pages_is_a_dump(tmp_path: Path) -> None:
    read = read_bytes(tmp_path, dump([]))
    assert not read.pages + read.problems


def test_real_dumps_are_read_to_the_last_checksum(shared_data: Path) -> None:
    english = Read(shared_data / "wiki" / "enwiki_gensim_206pages.xml.bz2")
    assert len(english.pages) == 206
    assert sum(found.is_redirect for found in english.pages) == 100
    bulgarian = Read(shared_data / "wiki" / "bgwiki_gensim.xml.bz2")  # UTF-16
    assert len(bulgarian.pages) == 3
    for read in (english, bulgarian):
        assert not any(found.checksum_differs for found in read.pages)
        assert not read.problems + read.notes
