"""Bits per byte of texts and of what assistants say in conversations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_process.cleaning.language import script_of
from model.chat import render
from tool.evaluation.scoring import Judge, Outcome, Span, log_likelihoods

TURNS = (("user", "question"), ("assistant", "reference"))
"""Of a question with a reference: who says what."""


def measure_texts(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Bits per byte of texts. Every token counts once, with at least half a context before it
    where the text has one."""
    outcomes, spans, owners = [], [], []
    for number, record in enumerate(records):
        ids = [judge.tokenizer.end_of_text_id, *judge.tokenizer.encode(record["text"])]
        for span in windows(ids, judge.context):
            spans.append(span)
            owners.append(number)
    bits = [0.0] * len(records)
    for owner, value in zip(owners, log_likelihoods(judge, spans), strict=True):
        bits[owner] -= value / math.log(2)
    for record, value in zip(records, bits, strict=True):
        size = len(record["text"].encode("utf-8"))
        outcomes.append(Outcome(script_of(record["text"]), value, size))
    return outcomes


def windows(ids: Sequence[int], context: int) -> Iterator[Span]:
    """Spans that judge each token after the first once, moving by half a context."""
    done = 1
    while done < len(ids):
        end = min(len(ids), context if done == 1 else done + context // 2)
        begin = max(0, end - context)
        yield Span(ids[begin:end], done - begin)
        done = end


def measure_conversations(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Bits per byte of what an assistant says, as far as the context reaches; ends of turns are
    neither bits nor bytes. A record of which nothing is reached has no bytes."""
    spans, owners, sizes = [], [], []
    for number, record in enumerate(records):
        messages = record["conversations"]
        ids, mask = render(judge.tokenizer, messages)
        answered = [m["content"].strip() for m in messages if m["role"] == "assistant"]
        ids, mask = ids[: judge.context], mask[: judge.context]
        size = 0
        for begin, end in runs(mask):
            if ids[end - 1] == judge.tokenizer.im_end_id:
                size += len(answered.pop(0).encode("utf-8"))
                spans.append(Span(ids[: end - 1], begin))
                owners.append(number)
        sizes.append(size)
    bits = [0.0] * len(records)
    for owner, value in zip(owners, log_likelihoods(judge, spans), strict=True):
        bits[owner] -= value / math.log(2)
    groups = [script_of("".join(m["content"] for m in r["conversations"])) for r in records]
    return [Outcome(*found) for found in zip(groups, bits, sizes, strict=True)]


def measure_references(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Bits per byte of the reference answers to questions: of one-turn conversations. An open
    question, whose reference is empty, has no bytes."""
    answered = [record for record in records if record["reference"]]
    asked = [
        {"conversations": [{"role": role, "content": record[key]} for role, key in TURNS]}
        for record in answered
    ]
    found = iter(measure_conversations(judge, path, asked))
    outcomes = [next(found) if record["reference"] else Outcome("", 0, 0) for record in records]
    return [
        replace(outcome, group=str(record.get("class", outcome.group)))
        for record, outcome in zip(records, outcomes, strict=True)
    ]


def runs(mask: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where stretches of True begin and end."""
    begin = None
    for place, value in enumerate([*mask, False]):
        if value and begin is None:
            begin = place
        if not value and begin is not None:
            yield begin, place
            begin = None
