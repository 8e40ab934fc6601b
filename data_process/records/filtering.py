"""Choosing records by length, turns, roles, language, script, patterns and keys."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from config import in_range
from data_process.cleaning.language import SCRIPTS, language_of, letters_by_script, sample_of
from data_process.records.jsonl_parts import JsonlPart, jsonl_parts, plan_of
from data_process.records.kinds import messages_of, text_of
from data_process.records.output import tell, writing_streams
from data_process.records.record_lines import Reading, RecordLine, read_all, read_part, rejecter
from data_process.records.steps import RecordStepConfig
from data_process.running.run import StepResult, run_and_join, run_single
from data_process.running.step import REJECTED, Part, PartOutput, Step
from model.tokenizer import EtudeTokenizer

Test = Callable[[RecordLine], str | None]
"""Why a record is dropped, if it is."""


@dataclass(frozen=True)
class Wanted:
    """What is kept. A record must pass all that is asked for."""

    min_characters: int = 0
    """Fewest characters of a text, or of all turns of a conversation together."""
    max_characters: int | None = None
    """Most characters."""
    min_tokens: int = 0
    """Fewest tokens, with --tokenizer_dir."""
    max_tokens: int | None = None
    """Most tokens, with --tokenizer_dir."""
    tokenizer_dir: Path | None = None
    """The tokenizer that counts them."""
    min_turns: int = 0
    """Fewest turns of a conversation, a system turn counted."""
    max_turns: int | None = None
    """Most turns."""
    with_roles: tuple[str, ...] = ()
    """Roles that a conversation must have, such as: system."""
    without_roles: tuple[str, ...] = ()
    """Roles that it must not have."""
    languages: tuple[str, ...] = ()
    """Languages to keep, such as: zh en. A text that is too short to tell is dropped (language
    und)."""
    scripts: tuple[str, ...] = ()
    """Scripts to keep, such as: han latin (the one that most letters are of)."""
    keep_pattern: str | None = None
    """Regular expression (of Python) that must be found."""
    drop_pattern: str | None = None
    """Regular expression that must not be found."""
    pattern_role: str | None = None
    """Look for patterns in the turns of this role only."""
    with_keys: tuple[str, ...] = ()
    """Keys that a record must have."""
    without_keys: tuple[str, ...] = ()
    """Keys that it must not have."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = in_range(self, 0, 10**12, "min_characters", "min_tokens", "min_turns")
        for name in ("characters", "tokens", "turns"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if most is not None and most < least:
                found.append(f"max_{name} is {most}, below min_{name} {least}: nothing would pass")
        if (self.min_tokens or self.max_tokens is not None) and not self.tokenizer_dir:
            found.append("min_tokens and max_tokens need --tokenizer_dir")
        for name in ("keep_pattern", "drop_pattern"):
            found += pattern_problems(name, getattr(self, name))
        known = [name for name, _ in SCRIPTS]
        if wrong := [script for script in self.scripts if script not in known]:
            found.append(f"scripts: {' '.join(wrong)} is not known; use {' '.join(known)}")
        if self == Wanted(tokenizer_dir=self.tokenizer_dir, pattern_role=self.pattern_role):
            found.append("nothing to filter by: give at least one condition; see --help")
        return found


def pattern_problems(name: str, pattern: str | None) -> list[str]:
    """Why a pattern is no regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        return [f"{name} is {pattern!r}, no regular expression ({error}): see Python's re"]
    return []


def tests_for(wanted: Wanted) -> Iterator[Test]:
    """The conditions that were asked for."""
    if wanted.with_keys:
        yield lambda line: first(
            f"no key {key}" for key in wanted.with_keys if key not in line.record
        )
    if wanted.without_keys:
        yield lambda line: first(
            f"has the key {key}" for key in wanted.without_keys if key in line.record
        )
    if wanted.min_characters or wanted.max_characters is not None:
        bounds = (wanted.min_characters, wanted.max_characters, "characters")
        yield lambda line: outside(len(text_of(line.record)), *bounds)
    if wanted.min_turns or wanted.max_turns is not None:
        turns = (wanted.min_turns, wanted.max_turns, "turns")
        yield lambda line: outside(len(messages_of(line.record)), *turns)
    if wanted.with_roles or wanted.without_roles:
        yield lambda line: role_problem(messages_of(line.record), wanted)
    if wanted.keep_pattern is not None or wanted.drop_pattern is not None:
        yield lambda line: pattern_problem(line.record, wanted)
    if wanted.scripts:
        yield lambda line: script_problem(text_of(line.record), wanted.scripts)
    if wanted.languages:
        yield lambda line: language_problem(text_of(line.record), wanted.languages)
    if wanted.tokenizer_dir and (wanted.min_tokens or wanted.max_tokens is not None):
        place, limits = wanted.tokenizer_dir, (wanted.min_tokens, wanted.max_tokens, "tokens")
        yield lambda line: outside(count_tokens(place, text_of(line.record)), *limits)


def first(found: Iterator[str]) -> str | None:
    """The first one, if there is one."""
    return next(found, None)


def outside(size: int, least: int, most: int | None, unit: str) -> str | None:
    """Why a size is outside its bounds."""
    if size < least:
        return f"fewer than {least:,} {unit}"
    return f"more than {most:,} {unit}" if most is not None and size > most else None


def role_problem(messages: Sequence[tuple[str, str]], wanted: Wanted) -> str | None:
    """Why a conversation's roles are not those wanted."""
    roles = {role for role, _ in messages}
    missing = (f"no turn of {role}" for role in wanted.with_roles if role not in roles)
    present = (f"has a turn of {role}" for role in wanted.without_roles if role in roles)
    return first(missing) or first(present)


def pattern_problem(record: dict[str, Any], wanted: Wanted) -> str | None:
    """Why a record does not pass the patterns."""
    if wanted.pattern_role is None:
        texts = [text_of(record)]
    else:
        texts = [content for role, content in messages_of(record) if role == wanted.pattern_role]
    keep, drop = wanted.keep_pattern, wanted.drop_pattern
    if keep is not None and not any(re.search(keep, text) for text in texts):
        return "keep_pattern not found"
    if drop is not None and any(re.search(drop, text) for text in texts):
        return "drop_pattern found"
    return None


def script_problem(text: str, wanted: Sequence[str]) -> str | None:
    """Why a text's script is not wanted."""
    script = main_script(text)
    return None if script in wanted else f"script {script}"


def main_script(text: str) -> str:
    """The script of most letters of a text, by weight (see `language.py`); none without letters."""
    script, letters = max(letters_by_script(sample_of(text)).items(), key=lambda item: item[1])
    return script if letters else "none"


def language_problem(text: str, wanted: Sequence[str]) -> str | None:
    """Why a text's language is not wanted."""
    language, _ = language_of(text)
    return None if language in wanted else f"language {language}"


def count_tokens(directory: Path, text: str) -> int:
    """Tokens of a text."""
    return len(tokenizer(directory).encode(text))


@lru_cache(maxsize=1)
def tokenizer(directory: Path) -> EtudeTokenizer:
    """A tokenizer, read once a process."""
    return EtudeTokenizer.load(directory)


@dataclass(frozen=True)
class FilterStep(Step):
    """Filters records. The streams it writes: main, rejected."""

    files: tuple[JsonlPart, ...]
    wanted: Wanted
    reading: Reading
    title = "filtering"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        directory = self.wanted.tokenizer_dir
        return {
            "step": "filter 1",
            **plan_of(self.files),
            "settings": {**asdict(self.wanted), "tokenizer_dir": str(directory)},
            "reading": asdict(self.reading),
            "tokenizer": directory and tokenizer(directory).fingerprint,
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Filters the records of one part."""
        filter_records(read_part(self.files[number], self.reading, output), self.wanted, output)


def filter_records(lines: Iterator[RecordLine], wanted: Wanted, output: PartOutput) -> None:
    """Writes each record as it stands, or drops it with its reason."""
    tests = list(tests_for(wanted))
    for line in lines:
        reason = first(problem for test in tests if (problem := test(line)))
        if reason is None:
            output.count("out")
            output.write_bytes(line.raw)
        else:
            output.count(f"dropped: {reason}")
            output.write({**line.record, "reason": reason}, REJECTED)


@dataclass(frozen=True)
class FilterConfig(RecordStepConfig):
    """Records that pass every condition, in their order, as they stand."""

    wanted: Wanted = field(default_factory=Wanted)
    """What is kept."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        return self.wanted.problems() + super().problems()


def run_filter(config: FilterConfig) -> int:
    """Filters files part by part, or a pipe record by record."""
    if config.is_stream:
        filter_stream(config)
        return 0

    def work(work_dir: Path) -> StepResult:
        step = FilterStep(tuple(jsonl_parts(config.files())), config.wanted, config.reading)
        return run_single(step, work_dir, config.execution)

    run_and_join(config, work)
    return 0


def filter_stream(config: FilterConfig) -> None:
    """Filters what comes from a pipe or goes to one."""
    start = time.perf_counter()
    config.refuse_outputs()
    with writing_streams(config.output, config.rejected, REJECTED, config.overwrite) as output:
        report_bad = rejecter(output)
        lines = read_all(
            config.files(), config.reading, output.counts, FilterStep.title, report_bad
        )
        filter_records(lines, config.wanted, output)
    tell(output.counts, start, config.written)
