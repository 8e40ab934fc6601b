"""Lines: headings, lists, indents, blank lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HEADING = re.compile(r"(={1,6})(.+?)\1[ \t]*")
SPECIAL = frozenset("=*#:;-|{ ")
SPACES = re.compile("  +")
MARKERS = "*#:;| "
START = re.compile(r"(?:[*#:;| ]|-{4,})*")
CODE = "    "


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
        """A blank line, if there is none yet."""
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
        text = squeezed(line.lstrip(MARKERS)).removeprefix("- ")
        if not text.strip() or not self.keep_lists:
            return
        markers = line[: len(line) - len(line.lstrip("*#:;"))]
        numbers = self.numbers
        self.numbers = []
        if markers[-1] != "#":
            self.add_line(f"- {text}")
            self.numbers = numbers[: len(markers) - 1]
            return
        numbers = numbers[: len(markers)] + [0] * (len(markers) - len(numbers))
        numbers[-1] += 1
        self.add_line(f"{numbers[-1]}. {text}")
        self.numbers = numbers


def plain_start(line: str) -> str:
    """A line without what would make it special."""
    line = line[START.match(line).end() :]  # type: ignore[union-attr]
    if line[:1] == "=" and HEADING.fullmatch(line):
        return line.rstrip("= ").lstrip("=-" + MARKERS)
    return line


def squeezed(line: str) -> str:
    """A line with single spaces."""
    if "  " in line:
        line = SPACES.sub(" ", line)
    return line.strip(" ")
