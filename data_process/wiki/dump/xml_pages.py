"""The XML of a dump's head and of its pages, strictly parsed; any version of the export schema."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from lxml import etree

from config import UserError
from data_process.wiki.dump.pages import DUMP_END

HUGE_BYTES = 9_000_000
"""libxml2 refuses a text of more than 10 million bytes unless its limits are lifted; they are
lifted for pages that need it alone."""
HUGE_TAGS = 1_000
"""Tags that such a page may have: without limits, each new name is kept in memory for ever."""
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
DECLARATION = re.compile(rb"(\s*(\xef\xbb\xbf)?\s*<\?xml[^>]*>)?")
PROJECTS = re.compile(
    "wiktionary|wikisource|wikinews|wikibooks|wikiquote|wikiversity|wikivoyage|wikidata|commonswiki|"
    "specieswiki"
)
"""Projects of Wikimedia beside Wikipedia, in the names of their databases and hosts."""
DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True)
class SiteInfo:
    """A wiki, as the head of its dump describes it."""

    language: str
    """Such as `en`; empty: unknown."""
    base: str
    """Address of the main page; empty: unknown."""
    namespaces: tuple[tuple[int, str], ...]
    """Numbers and names, such as 14 and `Category`; 0, the articles, has no name."""
    project: str = "wikipedia"
    """Of Wikimedia, to which it belongs; for wikis of others, wikipedia too."""

    def url(self, title: str) -> str:
        """The address of a page, as MediaWiki writes it; empty without a base."""
        root = re.match(r".*?/wiki/|.*[/=]", self.base)
        name = quote(title.replace(" ", "_"), safe=";@$!*(),/~:")
        return root.group() + name if root else ""

    def in_language(self, language: str) -> SiteInfo:
        """The same wiki in another language: the head of an excerpt may be that of another one."""
        base = self.base.replace(f"://{self.language}.", f"://{language}.", 1)
        return dataclasses.replace(self, language=language, base=base)

    def namespace_of(self, title: str) -> int:
        """The namespace that a title's prefix names."""
        prefix = title.partition(":")[0] if ":" in title else ""
        return next((number for number, name in self.namespaces if name and name == prefix), 0)


@dataclass(frozen=True)
class Page:
    """A page in its newest revision."""

    title: str
    namespace: int
    id: str
    revision: str
    model: str
    """Kind of the content: wikitext, css, json ..."""
    text: str | None
    """The wikitext; None: the dump does not hold it."""
    is_redirect: bool
    checksum_differs: bool
    """The text is not the one that the dump's SHA-1 was made of."""


class DamagedPage(Exception):
    """A page that cannot be read, and why."""


def parse_page(xml: bytes, site: SiteInfo | None) -> Page:
    """The page in a piece of XML.

    Raises:
        DamagedPage: it is not XML, or not a page.
    """
    is_huge = len(xml) > HUGE_BYTES
    if is_huge and xml.count(b"<") > HUGE_TAGS:
        raise DamagedPage("too many tags")
    try:
        root = etree.fromstring(xml, parser(is_huge))
    except etree.XMLSyntaxError as error:
        raise DamagedPage(reason_of(error)) from error
    title = root.findtext("title")
    if not title:
        raise DamagedPage("it has no title")
    revisions = root.findall("revision")
    revision = revisions[-1] if revisions else etree.Element("revision")
    text = text_of(revision)
    return Page(
        title=title,
        namespace=namespace_of(root, title, site),
        id=root.findtext("id") or "",
        revision=revision.findtext("id") or "",
        model=revision.findtext("model") or "wikitext",
        text=text,
        is_redirect=root.find("redirect") is not None,
        checksum_differs=text is not None and checksum_differs(revision, text),
    )


def namespace_of(root: etree._Element, title: str, site: SiteInfo | None) -> int:
    """A page's namespace; schemas before 0.6 do not state it."""
    number = root.findtext("ns")
    if number is None:
        return site.namespace_of(title) if site else 0
    try:
        return int(number)
    except ValueError as error:
        raise DamagedPage(f"its namespace is {number[:20]!r}") from error


@cache
def parser(is_huge: bool) -> etree.XMLParser:
    """A parser that expands nothing, and, as is lxml's default, fetches nothing."""
    return etree.XMLParser(
        resolve_entities=False, huge_tree=is_huge, remove_comments=True, remove_pis=True
    )


def read_site(path: Path, xml: bytes) -> SiteInfo:
    """The wiki that the head of a dump, up to its first page, describes.

    Raises:
        UserError: it is not the head of a dump of pages, or declares entities.
    """
    if b"<logitem" in xml:
        raise UserError(
            f"{path}: a logging dump has no text, only a log; download the dump whose name "
            "has pages-articles"
        )
    if DOCTYPE.search(xml):
        raise UserError(
            f"{path}: it begins with a document type declaration, which a MediaWiki dump never "
            "has; it is not read, since entities can be declared there to do harm"
        )
    body = DECLARATION.sub(b"", xml, count=1)
    start = body.find(b"<mediawiki")
    if start < 0:
        beginning = repr(body[:40].decode("utf-8", "replace"))
        raise UserError(f"{path}: not a MediaWiki XML dump; it begins with {beginning}")
    body = body[start:].partition(DUMP_END)[0] + DUMP_END
    try:
        root = etree.fromstring(body, parser(is_huge=False))
    except etree.XMLSyntaxError as error:
        raise UserError(
            f"{path}: the head of the dump is damaged ({reason_of(error)}); download it again"
        ) from error
    names = ((e.get("key", ""), e.text or "") for e in root.iterfind("{*}siteinfo/{*}namespaces/*"))
    base = root.findtext("{*}siteinfo/{*}base") or ""
    database = root.findtext("{*}siteinfo/{*}dbname") or ""
    project = PROJECTS.search(f"{database} {base}".lower())
    return SiteInfo(
        language=root.get(LANGUAGE, ""),
        base=base,
        project=project.group() if project else "wikipedia",
        namespaces=tuple((int(k), name) for k, name in names if re.fullmatch(r"-?\d{1,9}", k)),
    )


def text_of(revision: etree._Element) -> str | None:
    """A revision's text; None when it was deleted or is not in the dump (as in one of stubs)."""
    found = revision.find("text")
    if found is None or found.get("deleted") is not None:
        return None
    if len(found):
        raise DamagedPage("there are tags inside its text")
    if found.text is None and found.get("bytes", "0") != "0":
        return None
    return found.text or ""


def checksum_differs(revision: etree._Element, text: str) -> bool:
    """Whether a text differs from the one of the dump's SHA-1 (in base 36), if there is one."""
    found = revision.find("text")
    expected = found.get("sha1") if found is not None else None
    if expected is None and revision.find("content") is None:  # else it is that of several texts
        expected = revision.findtext("sha1")
    if not expected:
        return False
    digest = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).digest()
    try:
        return int(expected, 36) != int.from_bytes(digest, "big")
    except ValueError:
        return True


def title_in(beginning: bytes) -> str:
    """The title in the beginning of a page's XML, of at most 255 bytes as in MediaWiki; `?` when it
    is missing."""
    found = re.search(rb"<title>([^<]{1,255})", beginning)
    return html.unescape(found.group(1).decode("utf-8", "replace")) if found else "?"


def reason_of(error: Exception) -> str:
    """An error in a few words."""
    message = getattr(error, "msg", None) or str(error)
    message = " ".join(message.split())
    return re.sub(r",? ?(line \d+, column|use XML_PARSE_HUGE).*", "", message)[:100].strip()
