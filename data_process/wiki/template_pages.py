"""The templates of dumps: read in one pass over all of their pages, and kept in a SQLite file
beside the output, so that the next run on the same dumps need not read them again.

Processes look up what a page needs, so memory does not grow with the number of templates.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from config import UserError
from data_process.records.parts import signature_of
from data_process.running.run import run_step
from data_process.running.step import MAIN, Part, PartOutput, Step, stream_records
from data_process.running.workers import Execution
from data_process.wiki.dump.reader import DumpPart, DumpReader
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.text.expansion import included, parse
from data_process.wiki.text.kinds import is_redirect
from data_process.wiki.text.prose import is_box
from data_process.wiki.text.templates import Template
from model.directory.storage import explained, json_text, replace_file

NAMESPACE = 10
FORMAT = 1
"""Of the file; one in another format is made again."""
LONGEST_TEMPLATE = 2 << 20
"""Characters of a template (the longest that MediaWiki allows); longer ones count as missing."""
PARSED = 3_000_000
"""Characters of templates that a process keeps parsed, at some 20 bytes each."""
UNUSED = ("/doc", "/sandbox", "/testcases")
"""How the titles of pages end that are about templates."""
MAX_REDIRECTS = 2
TARGET = re.compile(r"\[\[[ :]*([^\[\]|#]+)")
SCHEMA = """
CREATE TABLE identity (value TEXT);
CREATE TABLE templates (wiki TEXT, name TEXT, text TEXT, target TEXT, PRIMARY KEY (wiki, name))
WITHOUT ROWID;
"""


def dump_identity(path: Path) -> list[Any]:
    """Name, size and time of a dump."""
    return [str(path.resolve()), signature_of(path)]


@dataclass(frozen=True)
class TemplateStep(Step):
    """Reads the templates of dumps."""

    pieces: tuple[DumpPart, ...]
    title = "reading templates"

    def parts(self) -> Sequence[Part]:
        """The parts of the dumps."""
        return [Part(str(piece), piece.size) for piece in self.pieces]

    def run(self, number: int, output: PartOutput) -> None:
        """Writes the templates of one part. What is wrong with the dump is reported when its
        articles are read."""
        wiki = key_of(self.pieces[number].site)
        for found in DumpReader(self.pieces[number], NAMESPACE):
            if isinstance(found, SiteInfo):
                wiki = key_of(found)
            elif isinstance(found, Page) and is_template(found):
                output.keep({"wiki": wiki, **entry_of(found)})

    def plan(self) -> dict[str, Any]:
        """The dumps, and how they are cut."""
        cuts = [[piece.begin, piece.end] for piece in self.pieces]
        paths = dict.fromkeys(piece.path for piece in self.pieces)
        return {"templates": FORMAT, "dumps": [*map(dump_identity, paths)], "cuts": cuts}


def key_of(site: SiteInfo | None) -> str:
    """What distinguishes the templates of one wiki from another's."""
    return (site.base or site.language) if site else ""


def is_template(page: Page) -> bool:
    """Whether a page is a template of wikitext."""
    is_used = page.namespace == NAMESPACE and not page.title.lower().endswith(UNUSED)
    is_wikitext = is_used and page.model == "wikitext" and page.text is not None
    return is_wikitext and len(page.text or "") <= LONGEST_TEMPLATE


def entry_of(page: Page) -> dict[str, str]:
    """The row of a template's page, without its wiki."""
    text = page.text or ""
    name = page.title.partition(":")[2] or page.title
    if page.is_redirect or is_redirect(text):
        found = TARGET.search(text)
        target = found[1].strip() if found else ""
        return {"name": name, "text": "", "target": target.partition(":")[2] or target}
    return {"name": name, "text": included(text), "target": ""}


def learn_templates(step: TemplateStep, store: Path, work_dir: Path, execution: Execution) -> int:
    """Makes the file of the dumps' templates; how many it holds.

    Args:
        step: reads them.
        store: the file.
        work_dir: where the parts go.
        execution: where it is done.

    Raises:
        UserError, SystemExit: see `run_step`.
    """
    run_step(step, work_dir, execution)
    with explained(store):
        store.parent.mkdir(parents=True, exist_ok=True)
    rows = stream_records(work_dir, MAIN)
    replace_file(store, partial(write_store, rows=rows, identity=json_text(step.plan())))
    return templates_in(store, step) or 0


def templates_in(store: Path, step: TemplateStep) -> int | None:
    """How many templates a file holds; None: it is not that of these dumps."""
    with suppress(sqlite3.Error), closing(opened(store)) as database:
        (identity,) = database.execute("SELECT value FROM identity").fetchone()
        if identity == json_text(step.plan()):
            count: int = database.execute("SELECT COUNT(*) FROM templates").fetchone()[0]
            return count
    return None


def opened(store: Path) -> sqlite3.Connection:
    """The file, to be read."""
    return sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def write_store(path: Path, rows: Iterator[dict[str, str]], identity: str) -> None:
    """Writes the file of templates."""
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.executescript(SCHEMA)
            database.execute("INSERT INTO identity VALUES (?)", (identity,))
            insert = "INSERT OR REPLACE INTO templates VALUES (:wiki, :name, :text, :target)"
            database.executemany(insert, rows)
    except sqlite3.Error as error:
        raise UserError(
            f"{path}: the templates of the dump cannot be written ({error}); free some space, or "
            "name an output on another disk, and run the same command again"
        ) from error


class TemplateStore:
    """Looks up the templates of one wiki."""

    def __init__(self, store: Path, site: SiteInfo) -> None:
        self.store, self.database, self.wiki = store, opened(store), key_of(site)
        self.parsed: dict[str, Template | None] = {}
        self.size = 0

    def find(self, name: str) -> Template | None:
        """The template of a name, after its redirects; None: there is none."""
        if name in self.parsed:
            return self.parsed[name]
        try:
            template = self.read(name)
        except sqlite3.Error as error:
            raise UserError(
                f"{self.store}: cannot be read ({error}); remove it, and run the same command "
                "again: it is made from the dump"
            ) from error
        size = len(template.body.text) if template and template.body else 0
        self.size += size + 100
        if self.size > PARSED:
            self.parsed.clear()
            self.size = size
        self.parsed[name] = template
        return template

    def read(self, name: str, redirects: int = 0) -> Template | None:
        """Reads a template and parses it."""
        title = " ".join(name.partition("#")[0].replace("_", " ").split())
        firsts = (title[:1], title[:1].upper(), title[:1].lower())
        for spelling in dict.fromkeys(first + title[1:] for first in firsts):
            found = self.database.execute(
                "SELECT text, target FROM templates WHERE wiki = ? AND name = ?",
                (self.wiki, spelling),
            ).fetchone()
            if found:
                text, target = found
                if target:
                    is_loop = redirects == MAX_REDIRECTS
                    found = None if is_loop else self.read(target, redirects + 1)
                    return found or Template(target, None)
                body = parse(text, is_template=True)
                return Template(spelling, body, is_box(body.text))
        return None

    def close(self) -> None:
        """Closes the file."""
        self.database.close()
