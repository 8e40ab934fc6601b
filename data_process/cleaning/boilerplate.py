"""Lines of navigation, copyright, cookies, web novels and the like, and the licence of Project
Gutenberg, are taken out of texts.

A line is judged as a whole, by its form and by its place: what could stand in a story, a letter or
a play goes only where pages have their furniture, at the end of a document or in a block.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from data_process.text.files import data_lines
from data_process.text.licences import RULE as LICENCE
from data_process.text.licences import licence_lines

BOILERPLATE = Path(__file__).with_name("boilerplate_lines.txt")
"""What boilerplate lines look like."""
PLACES = ("anywhere", "end", "block", "byline")
SECTION = re.compile(rf"== (.+): ({'|'.join(PLACES)}) ==")
LONGEST_LINE = 160
"""Longer lines are prose, in characters."""
BLOCK, DENSE = 3, 0.2
"""So many different lines of boilerplate, and such a share, among short lines that follow one
another make a block."""
LONGEST_LABEL = 40
"""Characters of the short lines."""
PAUSES = tuple(".!?。！？…,;，、；:：\"'”’」』")
"""What labels do not end with."""
EDGES = "-=*#|•·►▶←[]【】()（） \t\u3000"
OF_PROSE = tuple(",;:，；：\"'”’」』")
"""What ends a line of prose, and nothing else."""
MENU_MARK = re.compile("[|｜»›·•]")
CHINESE = re.compile("[\u4e00-\u9fff]")
AFTER_LINE = r"[.!。！…»›>→\s]*"
SENTENCE_END = re.compile(r"[!?。！？]$|(?<!\.\.)\.$")
LINK_SEPARATOR = re.compile(r"\s*[|｜»›·•/>]\s*|\s{2,}|\u3000")
REPEATED = "in many documents"
"""The rule that takes out lines that were counted in many documents."""


class RemovedLine(NamedTuple):
    """A line that a text has no more."""

    number: int
    """Its number in the text, from 1."""
    line: str
    rule: str
    """A section of boilerplate_lines.txt, `LICENCE` or `REPEATED`."""


def without_boilerplate(
    text: str, repeated: Container[str] = ()
) -> tuple[str, Sequence[RemovedLine]]:
    """A text without its boilerplate lines, and these lines.

    Args:
        text: the text.
        repeated: `line_key` of the lines that stand in many documents.
    """
    lines = text.split("\n")
    suspects = {n: rule for n, line in enumerate(lines) if (rule := rule_of(line, repeated))}
    suspects.update(dict.fromkeys(licence_lines(text), Rule(LICENCE, "anywhere")))
    gone = those_that_go(lines, suspects) if suspects else ()
    removed = [RemovedLine(n + 1, lines[n], suspects[n].name) for n in gone]
    if not removed:
        return text, ()
    for line in reversed(removed):
        del lines[line.number - 1]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n"), removed


def those_that_go(lines: Sequence[str], suspects: Mapping[int, Rule]) -> Iterator[int]:
    """The suspects that go, for what they are or for where they stand."""
    filled = [n for n, line in enumerate(lines) if line and not line.isspace()]
    in_block: set[int] = set()
    for is_label, run in groupby(filled, lambda n: n in suspects or is_label_like(lines[n])):
        numbers = list(run)
        if is_label and is_block(numbers, lines, suspects):
            in_block.update(numbers)
    for is_suspect, run in groupby(filled, suspects.__contains__):
        numbers = list(run)
        if is_suspect:
            at_end = numbers[-1] == filled[-1]
            places = places_that_go(numbers, suspects, at_end, numbers[0] in in_block)
            yield from (n for n in numbers if suspects[n].place in places)


def places_that_go(
    run: Sequence[int], suspects: Mapping[int, Rule], at_end: bool, in_block: bool
) -> Collection[str]:
    """Which of the suspects that follow one another go."""
    places = PLACES[:3] if in_block else PLACES[:2] if at_end else PLACES[:1]
    others = any(suspects[n].place in places for n in run)
    return PLACES if in_block and others else (*places, "byline") if at_end and others else places


def is_label_like(line: str) -> bool:
    """Whether a line is as short as a link or a label, and ends without a mark."""
    return len(line) <= LONGEST_LABEL and not line.rstrip().endswith(PAUSES)


def is_block(run: Sequence[int], lines: Sequence[str], suspects: Mapping[int, Rule]) -> bool:
    """Whether short lines are a block of boilerplate: several different suspects are among them,
    and no sentence before them says that a list comes."""
    found = [n for n in run if n in suspects and suspects[n].place != "byline"]
    different = {lines[n].strip().lower() for n in found}
    if len(different) < BLOCK or len(found) < DENSE * len(run):
        return False
    before = next((line for n in range(run[0] - 1, -1, -1) if (line := lines[n].strip())), "")
    return not before.endswith((":", "："))


class Rule(NamedTuple):
    """Why a line may go, and where it does."""

    name: str
    place: str


@functools.cache
def rules(is_ascii: bool = False) -> tuple[re.Pattern[str], Sequence[Rule]]:
    """Matches a boilerplate line as a whole; and the rule of each of its groups.

    Args:
        is_ascii: only lines of ASCII will be matched, so patterns of Chinese, which are many, are
            left out.
    """
    found: dict[Rule, list[str]] = {}
    for line in data_lines(BOILERPLATE):
        if section := SECTION.fullmatch(line):
            patterns = found.setdefault(Rule(*section.groups()), [])
        elif not is_ascii or not CHINESE.search(line):
            patterns.append(line)
    in_order = sorted(filter(found.get, found), key=lambda rule: PLACES.index(rule.place))
    groups = (f"({'|'.join(found[rule])})" for rule in in_order)
    return re.compile(f"(?:{'|'.join(groups)}){AFTER_LINE}", re.IGNORECASE), in_order


def rule_of(line: str, repeated: Container[str] = ()) -> Rule | None:
    """The rule by which a line may be boilerplate, if there is one."""
    if len(line) > LONGEST_LINE or not line or line.isspace():
        return None
    if not line.endswith(OF_PROSE):
        core = line.strip(EDGES)
        if rule := form_of(core):
            return rule
        if is_menu(core):
            return Rule("navigation", "anywhere")
    if repeated and is_countable(line) and line_key(line) in repeated:
        return Rule(REPEATED, "anywhere")
    return None


def form_of(core: str) -> Rule | None:
    """The rule whose form a line has, without the marks around it."""
    pattern, in_order = rules(core.isascii())
    found = pattern.fullmatch(core)
    if not found or not found.lastindex:
        return None
    rule = in_order[found.lastindex - 1]
    return rule if rule.place == "anywhere" or not SENTENCE_END.search(core) else None


def is_countable(line: str) -> bool:
    """Whether a line that stands in many documents is boilerplate: not a short answer of a
    dialogue, nor the name of who answers."""
    line = line.strip()
    length = len(line) if line.isascii() else 2 * len(line)
    return length >= 16 and len(line) <= LONGEST_LINE and not line.endswith((":", "："))


def is_menu(line: str) -> bool:
    """Whether a line is a row of links: `Home | News | Contact us`."""
    if not MENU_MARK.search(line):
        return False
    items = [item for item in LINK_SEPARATOR.split(line) if item]
    links = sum(form_of(item) is not None for item in items)
    return len(items) >= 3 and links * 3 >= len(items) * 2


def line_key(line: str) -> str:
    """What a line is known by when it is counted in many documents; numbers in it do not count."""
    plain = re.sub(r"\d+", "0", line.strip().lower())
    return blake2b(plain.encode("utf-8"), digest_size=8).hexdigest()
