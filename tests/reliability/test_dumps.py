"""R10: a dump cannot hurt or fool. Whatever is in the file, within 1 GiB of addresses it is refused
in one sentence within two seconds, or read; and what is missing is reported."""

from __future__ import annotations

import bz2
import gzip
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.data_process.dumps import (
    article,
    dump,
    head,
    multistream,
    page,
    pages,
    write_packings,
)
from tests.reliability.confined import ConfinedReader, Extracted, confined_reader
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R10"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on addresses"),
]

LIMIT_S = 2.0
LIMIT_MB = 300
SECRET = "the content of another file"
BODIES = pages(40)
TITLES = [f"Page {number}" for number in range(1, 41)]


@pytest.fixture(scope="module")
def reader() -> Iterator[ConfinedReader]:
    """The process that does the reading."""
    with confined_reader() as reader:
        yield reader


def with_doctype(declarations: str, text: str) -> bytes:
    """A dump that begins with a document type declaration."""
    return f"<!DOCTYPE mediawiki [{declarations}]>\n".encode() + dump(
        [page(1, "TEXT").replace("TEXT", text)]
    )


def entity_bomb(_: Path) -> bytes:
    names = [f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)]
    return with_doctype("<!ENTITY a0 'ha'>" + "".join(names), "&a9;")


def entity_that_is_long_and_used_often(_: Path) -> bytes:
    return with_doctype(f"<!ENTITY a '{'ha' * 50_000}'>", "&a;" * 50_000)


def external_entity(folder: Path) -> bytes:
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    return with_doctype(f"<!ENTITY a SYSTEM '{(folder / 'secret').as_uri()}'>", "&a;")


def external_document_type(folder: Path) -> bytes:
    (folder / "secret").write_text(f"<!ENTITY a '{SECRET}'>", encoding="utf-8")
    return f"<!DOCTYPE mediawiki SYSTEM '{(folder / 'secret').as_uri()}'>".encode() + dump(
        [page(1, "TEXT").replace("TEXT", "&a;")]
    )


def entity_that_is_not_declared(_: Path) -> bytes:
    return dump([BODIES[0], page(2, "TEXT").replace("TEXT", "&a;"), *BODIES[2:]])


def page_of_64_mib(_: Path) -> bytes:
    return dump([BODIES[0], page(2, article(2) * 45_000 + "x" * (44 << 20)), *BODIES[2:]])


def tags_100_000_deep(_: Path) -> bytes:
    deep = "<a>" * 100_000 + "</a>" * 100_000
    return dump([BODIES[0], BODIES[1].replace("</revision>", f"{deep}</revision>"), *BODIES[2:]])


def head_100_000_deep(_: Path) -> bytes:
    return (head() + "<a>" * 100_000 + "</a>" * 100_000).encode() + b"<page></page></mediawiki>"


def markup_100_000_deep(_: Path) -> bytes:
    texts = [
        "{{a|" * 100_000,
        "[[a|" * 100_000,
        "{|\n|" * 100_000,
        "<ref>" * 100_000,
        "''" * 100_000,
    ]
    return dump([*BODIES, *(page(100 + n, text) for n, text in enumerate(texts))])


def two_million_names_of_tags(_: Path) -> bytes:
    tags = "".join(f"<t{number:x}/>" for number in range(50_000))
    bodies = list(BODIES)
    for number, body in enumerate(bodies):
        own = tags.replace("<t", f"<t{number}_")
        bodies[number] = body.replace("</revision>", f"{own}</revision>")
    return dump(bodies)


def nul_bytes(_: Path) -> bytes:
    return dump([BODIES[0], BODIES[1].replace("tells", "te\0ls"), *BODIES[2:]])


def cut_in_mid_stream(_: Path) -> bytes:
    packed, _index = multistream(BODIES, 4)
    return packed[: len(packed) * 2 // 3]


def cut_between_two_streams(_: Path) -> bytes:
    packed, index = multistream(BODIES, 4)
    return packed[: int(bz2.decompress(index).splitlines()[20].split(b":")[0])]


def junk_behind_the_end(_: Path) -> bytes:
    return bz2.compress(dump(BODIES)) + b"<page>junk" * 1000


def flipped_bit(_: Path) -> bytes:
    packed, index = multistream(BODIES, 4)
    offset = int(bz2.decompress(index).splitlines()[20].split(b":")[0])
    return packed[: offset + 200] + bytes([packed[offset + 200] ^ 4]) + packed[offset + 201 :]


def utf_16(_: Path) -> bytes:
    return bz2.compress(dump(BODIES).decode().encode("utf-16"))


def gzip_bomb(_: Path) -> bytes:
    return gzip.compress(dump(BODIES[:20])[:-13]) + gzip.compress(bytes(16 << 20)) * 500


def bz2_bomb(_: Path) -> bytes:
    return bz2.compress(dump(BODIES[:20])[:-13]) + bz2.compress(bytes(32 << 20)) * 500


def line_of_100_mb(_: Path) -> bytes:
    return dump([*BODIES[:20], "x" * 100_000_000, *BODIES[20:]])


def title_of_100_mb(_: Path) -> bytes:
    return dump([BODIES[0], page(2, "a", title="x" * 100_000_000), *BODIES[2:]])


def line_of_100_mb_alone(_: Path) -> bytes:
    return b"<mediawiki " + b"x" * 100_000_000


def quote_that_never_ends(_: Path) -> bytes:
    return dump([BODIES[0], BODIES[1].replace("tells", "<![CDATA["), *BODIES[2:], "x" * 40_000_000])


REFUSED = "refused"
"""What is expected of a case: that it is refused, or how many pages are lost, of which the damage
is reported."""

CASES: dict[Callable[[Path], bytes], str | int] = {
    entity_bomb: REFUSED,
    entity_that_is_long_and_used_often: REFUSED,
    external_entity: REFUSED,
    external_document_type: REFUSED,
    entity_that_is_not_declared: 1,
    page_of_64_mib: 1,
    tags_100_000_deep: 1,
    head_100_000_deep: REFUSED,
    markup_100_000_deep: 0,
    two_million_names_of_tags: 0,
    nul_bytes: 1,
    cut_in_mid_stream: 16,
    cut_between_two_streams: 20,
    junk_behind_the_end: 0,
    flipped_bit: 20,
    utf_16: 0,
    gzip_bomb: REFUSED,
    bz2_bomb: REFUSED,
    line_of_100_mb: 0,
    title_of_100_mb: 1,
    line_of_100_mb_alone: REFUSED,
    quote_that_never_ends: 39,
}


def is_safe(found: Extracted) -> bool:
    """Whether a dump was refused in one sentence and in time, or read within memory."""
    in_time = found.seconds < LIMIT_S or not found.refused
    leaks = any(SECRET in text for text in found.texts)
    return (
        in_time
        and not found.crash
        and not leaks
        and "\n" not in found.refused
        and found.peak_mb < LIMIT_MB
    )


def test_a_dump_that_is_meant_to_harm_is_refused_or_read_within_bounds(
    trials: Trials, reader: ConfinedReader, tmp_path: Path
) -> None:
    for number, (case, expected) in enumerate(CASES.items()):
        path = tmp_path / f"{number}.xml"
        path.write_bytes(case(tmp_path))
        found = reader.extract(path)
        path.unlink()
        lost = len([title for title in TITLES if title not in found.titles])
        passed = is_safe(found) and bool(found.refused) == (expected == REFUSED)
        if expected != REFUSED:
            passed = passed and lost == expected
            passed = passed and bool(found.damages) >= bool(lost)
        trials.record(
            "-",
            passed,
            case=case.__name__.replace("_", " "),
            refused=found.refused.partition(": ")[2][:200],
            lost=lost,
            damages=[what.partition(": ")[2][:200] for what in found.damages[:2]],
            seconds=round(found.seconds, 2),
            peak_mb=found.peak_mb,
            crash=found.crash,
        )
    trials.verdict()


def flip(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    content[place] ^= 1 << draw.randrange(8)


def zero(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    content[place : place + size] = bytes(len(content[place : place + size]))


def cut(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    del content[place:]


def delete(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    del content[place : place + size]


def repeat(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    content[place:place] = content[place : place + size]


def insert(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    content[place:place] = draw.randbytes(size)


def append(content: bytearray, place: int, size: int, draw: random.Random) -> None:
    content += draw.randbytes(size)


MUTATIONS = (flip, zero, cut, delete, repeat, insert, append)


def test_a_mutated_dump_is_refused_or_read_and_its_losses_are_reported(
    trials: Trials, reader: ConfinedReader, tmp_path: Path
) -> None:
    """Packed dumps have checksums, so there every page is as it was, or reported. In plain XML a
    change of a name or a number cannot be noticed, but a cut always is."""
    files = write_packings(tmp_path, BODIES)
    undisturbed = reader.extract(files["dump.xml"])
    assert undisturbed.titles == TITLES
    whole = dict(zip(undisturbed.titles, undisturbed.texts, strict=True))
    for seed, draw in trials.draws(trials.size(ci=60, release=1000)):
        name = draw.choice(sorted(files))
        mutation = draw.choice(MUTATIONS)
        original = files[name].read_bytes()
        content = bytearray(original)
        place, size = draw.randrange(len(content)), draw.choice([1, 10, 300, 3000])
        mutation(content, place, size, draw)
        path = tmp_path / f"mutated-{name}"
        path.write_bytes(content)
        found = reader.extract(path, draw.choice([None, 500, 3000]))
        same = found.titles == TITLES and found.texts == list(whole.values())
        reported = bool(found.refused or found.damages)
        intact = all(
            whole.get(t) == text for t, text in zip(found.titles, found.texts, strict=True)
        )
        if name.endswith((".bz2", ".gz")):
            passed = (same or reported) and (intact or name.endswith(".gz"))
        else:
            passed = same or reported or mutation is not cut or content == original
        facts = {"refused": found.refused.partition(": ")[2][:200], "crash": found.crash}
        how = {"dump": name, "mutation": mutation.__name__, "place": place, "size": size}
        trials.record(seed, passed and is_safe(found), **how, **facts, reported=reported, same=same)
    trials.verdict()
