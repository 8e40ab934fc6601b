"""The sample's words and sentences, which stand in plain text files that anyone can edit.

A file in `texts/` has sections; `== name ==` begins one, and each of its lines is one entry: a
word, or a template in which `[a|b]` is a choice and `{name}` a placeholder. The section
"placeholders" lists all that the file's templates may use. Some sections are tables: the first line
names the columns, which " | " separates. A line or cell "-" is an empty text; blank lines and lines
that begin with "#" are skipped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from config import UserError

TEXTS = Path(__file__).resolve().parent / "texts"
AMOUNTS = TEXTS / "amounts.txt"
LANGUAGES = ("en", "zh")
SPACES = {"en": " ", "zh": ""}  # between sentences

HEADING = re.compile(r"== *(.*?) *==")
CHOICE = re.compile(r"\[([^\[\]]*)\]")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
DECLARATION = re.compile(r"(?:\{\w+\}\s*)+")  # at the start of a line of "placeholders"


class Values(dict[str, str]):
    """Values of placeholders, which also gives other forms of them.

    From kind = "owl" follow {Kind} = "Owl", {a_kind} = "an owl" (right for the words of this
    sample) and {A_kind} = "An owl"; from a sentence {answer} follows {answer_}, the same before
    "said", where a comma ends it.
    """

    def __missing__(self, name: str) -> str:
        if name.startswith("a_"):
            noun = self[name[2:]]
            return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun
        if name[:1].isupper():
            text = self[name[0].lower() + name[1:]]
            return text[:1].upper() + text[1:]
        if name.endswith("_"):
            return re.sub(r"\.$", ",", self[name[:-1]])
        raise KeyError(name)


@dataclass(frozen=True)
class Template:
    """One line of a text file."""

    text: str
    place: str  # file and line

    def check(self, known: Collection[str]) -> None:
        """Raises UserError for a placeholder that is not among the `known` ones, or a stray
        bracket."""
        for name in PLACEHOLDER.findall(self.text):
            if name not in known:
                raise UserError(f'{self.place}: {{{name}}} is not in the section "placeholders"')
        rest = PLACEHOLDER.sub("", CHOICE.sub(r"\1", self.text))
        if stray := re.search(r"[\[\]{}]", rest):
            raise UserError(f"{self.place}: {stray[0]} has no partner: write [a|b] or {{name}}")

    def fill(self, values: Mapping[str, str], rng: random.Random | None = None) -> str:
        """Takes one of each choice, then fills in the values.

        Raises:
            UserError: `values` lacks a placeholder, or there is a choice and no `rng` to make it.
        """
        text, forms = self.text, Values(values)
        if CHOICE.search(text):
            if rng is None:
                raise UserError(f"{self.place}: [a|b] cannot stand in this section: add a line")
            text = CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text)
        try:
            return PLACEHOLDER.sub(lambda match: forms[match.group(1)], text)
        except KeyError:
            known = ", ".join(f"{{{name}}}" for name in values) or "no placeholder"
            raise UserError(f"{self.place}: this section knows only {known}") from None


class TextFile:
    """The sections of a text file by name, each a list of its lines.

    Raises:
        UserError: the file is missing or malformed; the line is named. So do the methods, for a
            section that is missing or has another form than the sample needs.
    """

    def __init__(self, path: Path) -> None:
        self.headings: dict[str, str] = {}  # section -> file and line
        self.sections: dict[str, list[Template]] = {}
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
        for number, line in enumerate(lines, 1):
            self.end = f"{path}:{number}"
            self._add(line.strip())
        self._check()

    def _add(self, line: str) -> None:
        if heading := HEADING.fullmatch(line):
            name = heading.group(1)
            if name in self.sections:
                raise UserError(f'{self.end}: "{name}" has begun before, at {self.headings[name]}')
            self.headings[name], self.sections[name] = self.end, []
        elif line and not line.startswith("#"):
            if not self.sections:
                raise UserError(f"{self.end}: begin a section first, with a line == name ==")
            section = list(self.sections.values())[-1]
            section.append(Template("" if line == "-" else line, self.end))

    def _check(self) -> None:
        known: set[str] = set()
        for line in self.sections.pop("placeholders", []):
            if (declared := DECLARATION.match(line.text)) is None:
                raise UserError(f"{line.place}: begin with a placeholder such as {{name}}")
            known.update(PLACEHOLDER.findall(declared.group()))
        for name, lines in self.sections.items():
            if not lines:
                raise UserError(f'{self.headings[name]}: the section "{name}" is empty')
            for line in lines:
                line.check(known)

    def __getitem__(self, name: str) -> list[Template]:
        if name not in self.sections:
            raise UserError(f"{self.end}: the file ends without the section == {name} ==")
        return self.sections[name]

    def names(self, start: str) -> list[str]:
        """The names of the sections that begin with `start`, in the order of the file."""
        names = [name for name in self.sections if name.startswith(start)]
        if not names:
            raise UserError(f"{self.end}: the file ends without a section == {start}... ==")
        return names

    def lines(self, name: str) -> list[str]:
        """The lines of a section as they stand."""
        return [line.text for line in self[name]]

    def words(self, name: str) -> list[str]:
        """The words of a section, any number on a line."""
        return " ".join(self.lines(name)).split()

    def several(self, name: str, count: int) -> list[Template]:
        """The templates of a section that must have `count` lines."""
        lines = self[name]
        if len(lines) != count:
            raise UserError(f"{self.headings[name]}: {name} has {len(lines)} lines: use {count}")
        return lines

    def one(self, name: str) -> Template:
        """The only template of a section."""
        return self.several(name, 1)[0]

    def draw(self, name: str, values: Mapping[str, str], rng: random.Random) -> str:
        """Any template of a section, filled in."""
        return rng.choice(self[name]).fill(values, rng)

    def table(self, name: str, *columns: str) -> list[Row]:
        """The rows of a table; `columns` are those it must have."""
        head, *rows = self[name]
        found = [column.strip() for column in head.text.split("|")]
        if missing := [column for column in columns if column not in found]:
            raise UserError(f'{head.place}: the table "{name}" has no column "{missing[0]}"')
        if not rows:
            raise UserError(f'{head.place}: the table "{name}" has no rows')
        return [Row(row, found) for row in rows]


class Row(dict[str, str]):
    """The cells of a table's row by column; "-" is an empty one."""

    def __init__(self, line: Template, columns: Sequence[str]) -> None:
        cells = [cell.strip() for cell in line.text.split("|")]
        if len(cells) != len(columns):
            names = " | ".join(columns)
            raise UserError(f"{line.place}: the row has {len(cells)} cells: it must have {names}")
        self.place = line.place
        cells = ["" if cell == "-" else cell for cell in cells]
        super().__init__(zip(columns, cells, strict=True))

    def count(self, column: str) -> int:
        """A cell that holds a whole number; an empty one is 0."""
        if not re.fullmatch(r"\d*", self[column], re.ASCII):
            raise UserError(f"{self.place}: {column} is {self[column]}: use a whole number")
        return int(self[column] or 0)


class Language:
    """All texts of one language."""

    def __init__(self, code: str) -> None:
        self.code, self.space = code, SPACES[code]
        self.facts = TextFile(TEXTS / f"{code}_facts.txt")  # questions, answers and greetings
        self.chat = TextFile(TEXTS / f"{code}_chat.txt")  # everything else said in conversations
        self.stories = TextFile(TEXTS / f"{code}_stories.txt")
        self.prose = TextFile(TEXTS / f"{code}_prose.txt")  # other pretraining texts
        self.names = TextFile(TEXTS / f"{code}_names.txt")
        self.tools = TextFile(TEXTS / f"{code}_tools.txt")  # what needs a calculator or a calendar
        animals = world().table("animals of stories", f"animal_{code}")
        self.story_animals = [row[f"animal_{code}"] for row in animals]

    def pronouns(self, name: str) -> dict[str, str]:
        """What English stories call a person of this name: he, him, his, child ("boy" or "girl");
        Chinese ones need none."""
        if self.code == "en":
            for row in self.names.table("pronouns", "ending", "child"):
                if name.endswith(row["ending"]):
                    return {form: word for form, word in row.items() if form != "ending"}
        return {}


@cache
def language(code: str) -> Language:
    """The texts of "en" or "zh"."""
    return Language(code)


@cache
def world() -> TextFile:
    """The tables of countries, animals, colours and words of both languages."""
    return TextFile(TEXTS / "world.txt")
