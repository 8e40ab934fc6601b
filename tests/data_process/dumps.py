"""Dumps for tests: made here, in every packing that a dump comes in."""

from __future__ import annotations

import bz2
import gzip
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-{version}/" version="{version}" \
xml:lang="{language}">
  <siteinfo>
    <sitename>Testpedia</sitename>
    <dbname>testwiki</dbname>
    <base>https://{language}.example.org/wiki/Main_Page</base>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Talk</namespace>
      <namespace key="10" case="first-letter">{templates}</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"


def head(language: str = "en", version: str = "0.11", templates: str = "Template") -> str:
    """The head of a dump, with the wiki's name for the namespace of templates."""
    return HEAD.format(language=language, version=version, templates=templates)


def page(number: int, text: str, title: str = "", namespace: int = 0, extra: str = "") -> str:
    """The XML of a page with one revision."""
    return (
        f"  <page>\n    <title>{escape(title or f'Page {number}')}</title>\n"
        f"    <ns>{namespace}</ns>\n    <id>{number}</id>\n{extra}{revision(number + 1000, text)}"
        "  </page>\n"
    )


def revision(number: int, text: str) -> str:
    """The XML of a revision, with its checksum."""
    return (
        f"    <revision>\n      <id>{number}</id>\n      "
        f"<timestamp>2020-01-01T00:00:00Z</timestamp>"
        "\n      <contributor>\n        <username>A</username>\n        <id>1</id>\n"
        "      </contributor>\n      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>\n'
        f"      <sha1>{base36_sha1(text)}</sha1>\n    </revision>\n"
    )


def base36_sha1(text: str) -> str:
    """The SHA-1 of a text as MediaWiki writes it: 31 digits in base 36."""
    number = int(hashlib.sha1(text.encode()).hexdigest(), 16)
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits.rjust(31, "0")


def article(number: int) -> str:
    """A text of a few hundred characters that no other number has; the words are our own."""
    sentences = [
        f"'''Page {number}''' tells of the [[river {number * 7 % 97}]] & its <b>mills</b>.",
        f"There are {number * 31 % 1009} of them, and the {number % 13}th is the oldest one.",
        "它在河边，有一座旧磨坊。Naïve façade, größer als je zuvor.",
        f"== History ==\nThe mill number {number} was built in {1200 + number % 700} by hand.",
    ]
    return "\n\n".join(sentences[: 2 + number % 3] * (1 + number % 4))


def pages(count: int, first: int = 1) -> list[str]:
    """The XML of several pages."""
    return [page(number, article(number)) for number in range(first, first + count)]


def dump(bodies: Sequence[str], language: str = "en", templates: str = "Template") -> bytes:
    """A whole dump."""
    return (head(language, templates=templates) + "".join(bodies) + TAIL).encode()


def template_pages(texts: Mapping[str, str], prefix: str = "Template") -> list[str]:
    """The XML of templates by their names."""
    return [
        page(5_000_000 + number, text, f"{prefix}:{name}", 10)
        for number, (name, text) in enumerate(texts.items())
    ]


def multistream(bodies: Sequence[str], per_stream: int) -> tuple[bytes, bytes]:
    """A dump as Wikimedia packs it, a bz2 stream for some pages each, and its index."""
    packed = bz2.compress(head().encode())
    index = ""
    for first in range(0, len(bodies), per_stream):
        for number in range(first, min(first + per_stream, len(bodies))):
            index += f"{len(packed)}:{number + 1}:Page {number + 1}\n"
        packed += bz2.compress("".join(bodies[first : first + per_stream]).encode())
    return packed + bz2.compress(TAIL.encode()), bz2.compress(index.encode())


def cut_streams(content: bytes, size: int) -> bytes:
    """Packed as by parallel compressors: streams that end anywhere."""
    return b"".join(bz2.compress(piece) for piece in slices(content, size))


def slices(content: bytes, size: int) -> Iterator[bytes]:
    """The content in pieces of a size."""
    return (content[first : first + size] for first in range(0, len(content), size))


def write_packings(folder: Path, bodies: Sequence[str]) -> dict[str, Path]:
    """The same dump in every packing, by its name."""
    content = dump(bodies)
    streams, _ = multistream(bodies, 3)
    text = content.decode()
    files = {
        "dump.xml": content,
        "dump.xml.gz": gzip.compress(content),
        "single.xml.bz2": bz2.compress(content),
        "cut.xml.bz2": cut_streams(content, 700),
        "multistream.xml.bz2": streams,
        "utf16.xml": text.encode("utf-16"),
        "utf16.xml.bz2": bz2.compress(
            f"<?xml version='1.0' encoding='utf-16'?>{text}".encode("utf-16")
        ),
        "gb18030.xml": f'<?xml version="1.0" encoding="gb18030"?>\n{text}'.encode("gb18030"),
        "marked.xml": b"\xef\xbb\xbf" + content,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}
