"""Block markup: tables (dropped, except for cells that hold prose), headings, lists, indents, blank
lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from data_process.wiki.text.marks import is_sentence

BORDER = re.compile(r"\{\||\|\}(?!\})")
MAX_INDENT = 40
"""Signs that may stand before a border in its line."""
CELL = re.compile(r"^[ \t:]*(?:\{\||\|\}|\|-|\|\+|[|!])|\|\||!!", re.MULTILINE)
ATTRIBUTES = re.compile(r"\A\s*[^\[\]{}|\n=]*=[^\[\]{}|\n]*\|(?!\|)")
MIN_CELL_LETTERS = 120
"""Of a cell that is prose; tables are also made of labels and short remarks."""
HTML_BORDER = re.compile(r"<(/?)table\b[^<>]*>", re.IGNORECASE)

HEADING = re.compile(r"(={1,6})(.+?)\1[ \t]*")
SPECIAL = frozenset("=*#:;-|{ ")
SPACES = re.compile("  +")
MARKERS = "*#:;| "
START = re.compile(r"\A(?:[*#:;| ]|-{4,})*")
CODE = "    "


def drop_tables(text: str) -> str:
    """Drops each outermost table. Of one that is never closed, only lines that look like rows can
    go; that is the business of lines."""
    if "{|" in text:
        found = (border(text, match) for match in BORDER.finditer(text))
        text = drop_pairs(text, [place for place in found if place])
    if "<table" in text or "<TABLE" in text:
        tags = HTML_BORDER.finditer(text)
        text = drop_pairs(text, [(m.start(), m.end(), not m[1]) for m in tags])
    return text


def border(text: str, match: re.Match[str]) -> tuple[int, int, bool] | None:
    """Start and end of a border and whether it opens; None where it does not begin its line."""
    start = text.rfind("\n", max(0, match.start() - MAX_INDENT), match.start()) + 1
    is_far = not start and match.start() > MAX_INDENT
    if is_far or text[start : match.start()].strip(" \t:*#;"):
        return None
    return start, match.end(), match[0] == "{|"


def drop_pairs(text: str, borders: list[tuple[int, int, bool]]) -> str:
    """Drops all between outermost pairs of borders.

    Args:
        text: the page.
        borders: start, end, and whether it opens.
    """
    stack: list[int] = []
    spans: list[tuple[int, int]] = []
    for start, end, opens in borders:
        if opens:
            stack.append(start)
        elif stack:
            begin = stack.pop()
            while spans and spans[-1][0] > begin:
                spans.pop()
            spans.append((begin, end))
    pieces = []
    position = 0
    for begin, end in spans:
        pieces.append(text[position:begin])
        pieces += prose_in(text[begin:end])
        position = end
    return "\n".join([*pieces, text[position:]])


def prose_in(table: str) -> list[str]:
    """The cells of a table that are prose, as paragraphs."""
    cells = (ATTRIBUTES.sub("", cell).strip() for cell in CELL.split(table))
    return [f"\n{cell}\n" for cell in cells if is_sentence(cell, MIN_CELL_LETTERS)]


@dataclass
class LineCleaner:
    """Collects the lines of a page."""

    keep_headings: bool
    keep_lists: bool
    lines: list[str] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)
    """Level and text of those that wait for a line below them: a section without text goes."""
    numbers: list[int] = field(default_factory=list)
    """How far each level of the numbered list has come."""

    def clean(self, text: str) -> str:
        """A text whose lines are plain."""
        for line in text.replace("\xa0", " ").replace("\t", " ").split("\n"):
            if not line or line.isspace():
                self.end_paragraph()
            elif line[0] in SPECIAL:
                self.add_special(line)
            else:
                self.add_line(squeezed(line))
        return "\n".join(self.lines).rstrip("\n")

    def end_paragraph(self) -> None:
        """A blank line, unless there is one."""
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def add_line(self, line: str) -> None:
        """A line of text, after the headings that wait for it."""
        if line.isspace():  # what was left behind a sign, such as a wide space
            self.end_paragraph()
            return
        if self.headings:
            for _, heading in self.headings:
                self.end_paragraph()
                self.lines.append(heading)
            self.end_paragraph()
            self.headings.clear()
        if self.numbers:
            self.numbers.clear()
        if line:
            self.lines.append(line)

    def add_special(self, line: str) -> None:
        """A line that begins with a sign."""
        if line.startswith(CODE):
            self.add_line(line.rstrip())
        elif line[0] == "=" and (match := HEADING.fullmatch(line)):
            self.add_heading(len(match[1]), plain_start(match[2]))
        elif line[0] in "*#":
            self.add_item(line)
        elif line[0] != "|" and not line.startswith("{|"):  # rows of a table never closed
            self.add_line(squeezed(plain_start(line)))

    def add_heading(self, level: int, text: str) -> None:
        """A heading, to be kept if something follows it."""
        self.end_paragraph()
        while self.headings and self.headings[-1][0] >= level:
            self.headings.pop()
        if text.strip() and self.keep_headings:
            self.headings.append((level, squeezed(text)))

    def add_item(self, line: str) -> None:
        """An item of a list."""
        text = squeezed(line.lstrip("*#:;").lstrip("| ")).removeprefix("- ")
        if not text.strip() or not self.keep_lists:
            return
        markers = line[: len(line) - len(line.lstrip("*#:;"))]
        depth = len(markers)
        numbers = [*self.numbers, *[0] * depth][:depth]
        numbers[-1] += 1
        is_numbered = markers[-1] == "#"
        self.add_line(f"{numbers[-1]}. {text}" if is_numbered else f"- {text}")
        self.numbers = numbers if is_numbered else numbers[:-1]


def plain_start(line: str) -> str:
    """A line without what would make it special."""
    line = START.sub("", line)
    if line[:1] == "=" and HEADING.fullmatch(line):
        return line.rstrip("= ").lstrip("=-" + MARKERS)
    return line


def squeezed(line: str) -> str:
    """A line with single spaces."""
    return (SPACES.sub(" ", line) if "  " in line else line).strip(" ")
