"""Choosing records by length, turns, roles, language, script, patterns and keys."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from config import Settings
from data_process.cleaning.language import SCRIPTS, language_of, letters_by_script, sample_of
from data_process.records.files import RecordStepConfig, run_records
from data_process.records.jsonl import Reading, counted
from data_process.records.kinds import messages_of, roles_of, text_of, value_at
from data_process.records.parts import FilesStep, jsonl_parts
from data_process.running.step import PartOutput
from model.tokenizer import EtudeTokenizer

Number = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class RecordFilter(Settings):
    """What is kept. A record must pass all that is asked for."""

    min_characters: Number = 0
    """Fewest characters of a text, or of all turns of a conversation together."""
    max_characters: int | None = None
    """Most characters."""
    min_tokens: Number = 0
    """Fewest tokens, with --tokenizer_dir."""
    max_tokens: int | None = None
    """Most tokens, with --tokenizer_dir."""
    tokenizer_dir: Path | None = None
    """The tokenizer that counts them."""
    min_turns: Number = 0
    """Fewest turns of a conversation, a system turn counted."""
    max_turns: int | None = None
    """Most turns."""
    with_roles: tuple[str, ...] = ()
    """Roles that a conversation must have, such as: system."""
    without_roles: tuple[str, ...] = ()
    """Roles that it must not have."""
    languages: tuple[str, ...] = ()
    """Languages to keep, such as: zh en. A text whose language cannot be recognised, for it is too
    short, is dropped (language und)."""
    scripts: tuple[str, ...] = ()
    """Scripts to keep, such as: han latin (the one that most letters are of)."""
    keep_pattern: str | None = None
    """Regular expression (of Python) that must be found."""
    drop_pattern: str | None = None
    """Regular expression that must not be found."""
    pattern_role: str | None = None
    """Look for patterns in the turns of this role only."""
    where: tuple[str, ...] = ()
    """Conditions on values, such as: lang=en "score>=3" meta.source!=web (keys may be nested). <
    and > compare numbers; a record without the key passes != alone."""
    with_keys: tuple[str, ...] = ()
    """Keys that a record must have."""
    without_keys: tuple[str, ...] = ()
    """Keys that it must not have."""

    def conflicts(self) -> list[str]:
        """What is wrong between the fields, a sentence each."""
        found = []
        for name in ("characters", "tokens", "turns"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if most is not None and most < least:
                found.append(f"max_{name} is {most}, below min_{name} {least}: nothing would pass")
        if (self.min_tokens or self.max_tokens is not None) and not self.tokenizer_dir:
            found.append("min_tokens and max_tokens need --tokenizer_dir")
        for condition in self.where:
            found += condition_problems(condition)
        found += pattern_problems("keep_pattern", self.keep_pattern)
        found += pattern_problems("drop_pattern", self.drop_pattern)
        known = [name for name, _ in SCRIPTS]
        if wrong := [script for script in self.scripts if script not in known]:
            found.append(f"scripts: {' '.join(wrong)} is not known; use {' '.join(known)}")
        if self == RecordFilter(tokenizer_dir=self.tokenizer_dir, pattern_role=self.pattern_role):
            found.append("nothing to filter by: give at least one condition; see --help")
        return found

    def reasons(self, record: dict[str, Any]) -> Iterator[str]:
        """Why a record is dropped; the costly conditions come last."""
        yield from (f"no key {key}" for key in self.with_keys if key not in record)
        yield from (f"has the key {key}" for key in self.without_keys if key in record)
        yield from (f"not {where}" for where in self.where if not is_met(where, record))
        text, messages = text_of(record), messages_of(record)
        yield from outside(len(text), self.min_characters, self.max_characters, "characters")
        yield from outside(len(messages), self.min_turns, self.max_turns, "turns")
        roles = roles_of(record)
        yield from (f"no turn of {role}" for role in self.with_roles if role not in roles)
        yield from (f"has a turn of {role}" for role in self.without_roles if role in roles)
        yield from self.pattern_reasons(text, messages)
        if self.scripts and (script := main_script(text)) not in self.scripts:
            yield f"script {script}"
        if self.languages and (language := language_of(text)[0]) not in self.languages:
            yield f"language {language}"
        if self.tokenizer_dir and (self.min_tokens or self.max_tokens is not None):
            tokens = len(tokenizer(self.tokenizer_dir).encode(text))
            yield from outside(tokens, self.min_tokens, self.max_tokens, "tokens")

    def pattern_reasons(self, text: str, messages: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Why a record does not pass the patterns."""
        texts = [text]
        if self.pattern_role is not None:
            texts = [content for role, content in messages if role == self.pattern_role]
        keep, drop = self.keep_pattern, self.drop_pattern
        if keep is not None and not any(re.search(keep, text) for text in texts):
            yield "keep_pattern not found"
        if drop is not None and any(re.search(drop, text) for text in texts):
            yield "drop_pattern found"


CONDITION = re.compile(r"([^=!<>]+)(!=|>=|<=|==?|>|<)(.*)", re.DOTALL)
"""Key, sign and value."""
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def condition_problems(condition: str) -> list[str]:
    """Why a condition makes no sense."""
    found = CONDITION.fullmatch(condition)
    if not found:
        return [f"where: {condition!r} is no condition: use such as lang=en or 'score>=3'"]
    if found[2] in COMPARED and number_in(found[3]) is None:
        return [f"where: {condition!r} compares with {found[3]!r}, which is not a number"]
    return []


def is_met(condition: str, record: dict[str, Any]) -> bool:
    """Whether a record meets a condition."""
    key, sign, wanted = CONDITION.fullmatch(condition).groups()  # type: ignore[union-attr]
    value = value_at(record, key.strip())
    number, wanted_number = number_in(value), number_in(wanted)
    if sign in COMPARED:
        both = number is not None and wanted_number is not None
        return both and bool(COMPARED[sign](number, wanted_number))
    same = value == wanted or (number is not None and number == wanted_number)
    spelled = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    return (same or spelled == wanted.lower()) == (sign != "!=")


def number_in(value: object) -> float | None:
    """The number that a value is, or that a text spells."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def pattern_problems(name: str, pattern: str | None) -> list[str]:
    """Why a pattern is not a regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        return [f"{name} is {pattern!r}, not a regular expression ({error}): see Python's re"]
    return []


def outside(size: int, least: int, most: int | None, unit: str) -> Iterator[str]:
    """Why a size is outside its bounds."""
    if size < least:
        yield f"fewer than {least:,} {unit}"
    elif most is not None and size > most:
        yield f"more than {most:,} {unit}"


def main_script(text: str) -> str:
    """The script of most letters of a text, by weight (see `language.py`); none without letters."""
    script, letters = max(letters_by_script(sample_of(text)).items(), key=lambda item: item[1])
    return script if letters else "none"


@lru_cache(maxsize=1)
def tokenizer(directory: Path) -> EtudeTokenizer:
    """A tokenizer, read once a process."""
    return EtudeTokenizer.load(directory)


def fingerprint_of(directory: Path | None) -> str | None:
    """The fingerprint of a tokenizer, for the plan of a step."""
    return tokenizer(directory).fingerprint if directory else None


@dataclass(frozen=True)
class FilterStep(FilesStep):
    """Filters records. The streams it writes: main, rejected."""

    wanted: RecordFilter
    reading: Reading
    tokenizer: str | None = None
    """Its fingerprint."""
    title = "filtering"

    def run(self, number: int, output: PartOutput) -> None:
        """Writes each record of one part as it stands, or drops it with its reason."""
        for record in counted(self.reading.records(self.files[number], output), output):
            reason = next(self.wanted.reasons(record.value), None)
            if reason is None:
                output.keep(record.content)
            else:
                output.drop(record.value, reason)


@dataclass(frozen=True)
class FilterConfig(RecordStepConfig):
    """Records that pass every condition, in their order, as they stand."""

    wanted: RecordFilter = field(default_factory=RecordFilter)
    """What is kept."""


def run_filter(config: FilterConfig) -> None:
    """Filters files part by part."""

    def plan(files: Sequence[Path]) -> FilterStep:
        fingerprint = fingerprint_of(config.wanted.tokenizer_dir)
        parts = tuple(jsonl_parts(files, longest=config.reading.max_line_bytes))
        return FilterStep(parts, config.wanted, config.reading, fingerprint)

    run_records(config, plan)
