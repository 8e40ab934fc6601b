"""What a JSONL file measures of a model, found by the keys of its records.

{"text"}                                     bits per byte of texts
{"conversations"}                            bits per byte of the assistant's turns
{"good", "bad"}                              minimal pairs: the good sentence is likelier
{"question", "choices", "answer"}            multiple choice, by length-normalised likelihood
{"content", "candidates", "answer"}          cloze: #idiom# is filled with each candidate
{"context", "choices", "answers"}            cloze: [BLANK1] ... are filled with sentences
{"passage", "query", "answer", "blank"}      cloze: the blank of the query, among ten words
{"prompt"}                                   free generations: repetition and distinct n-grams
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from config import SamplingConfig, UserError
from data_process.jsonl import read_records
from data_process.record_kinds import described
from data_process.script import script_of
from inference.batch import generate_batch
from model.chat import render, render_prompt
from tool.scoring import Judge, Span, log_likelihoods

CONTINUATION_TOKENS = 100
CHARACTERS_AFTER = 40
DISTRACTORS = 9
"""Words of other records beside the right one, where a record names no candidates."""


@dataclass(frozen=True)
class Outcome:
    """What one record gave."""

    group: str
    """Phenomenon, subject or script."""
    value: float
    weight: float = 1.0
    """The measure is the sum of values over the sum of weights: of bits per byte, the bytes."""


@dataclass(frozen=True)
class Question:
    """Candidates of which the likeliest is the model's answer."""

    spans: tuple[Span, ...]
    lengths: tuple[int, ...]
    """What the log-likelihoods are divided by: bytes, or 1."""
    answer: int
    group: str


@dataclass(frozen=True)
class Measure:
    """A kind of file."""

    name: str
    keys: tuple[str, ...]
    better: str
    """higher or lower"""
    run: Callable[[Judge, Path, list[dict[str, Any]]], list[Outcome]]
    chance: Callable[[list[dict[str, Any]]], float | None] = lambda records: None
    """What guessing gives; None: nothing sensible."""


def read_measures(path: Path, limit: int | None) -> tuple[list[Measure], list[dict[str, Any]]]:
    """What a file measures, and its records, the first `limit` of them.

    Raises:
        UserError: the kind is unknown, or a record is of another kind than the first; the line is
            named.
    """
    records: list[dict[str, Any]] = []
    measure = None
    for number, record in read_records(path):
        keys = record.keys() if isinstance(record, dict) else set()
        found = next((m for m in MEASURES if set(m.keys) <= keys), None)
        if found is None or measure not in (None, found):
            kinds = "; ".join(", ".join(m.keys) for m in MEASURES)
            raise UserError(
                f"{path}:{number}: found {described(record)}; all lines must have the keys of one "
                f"kind: {kinds}"
            )
        measure = found
        assert isinstance(record, dict)
        records.append(record)
        if len(records) == limit:
            break
    assert measure  # read_records refuses an empty file
    return [m for m in MEASURES if m.keys == measure.keys], records


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
    neither bits nor bytes."""
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
    return [
        Outcome(group, value, size)
        for group, value, size in zip(groups, bits, sizes, strict=True)
        if size
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


def measure_pairs(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Whether the good sentence of each pair is likelier than the bad one (arXiv 1912.00582)."""
    questions = []
    for record in records:
        spans = tuple(text_span(judge, record[key]) for key in ("good", "bad"))
        questions.append(Question(spans, (1, 1), 0, str(record.get("phenomenon", ""))))
    return answer_all(judge, questions)


def measure_choices(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Multiple choice: the answer whose log-likelihood per byte is largest, as lm-eval's
    acc_norm."""
    questions = []
    for record in records:
        prompt = question_prompt(judge, record["question"])
        spans = tuple(
            Span([*prompt, *judge.tokenizer.encode(str(choice))], len(prompt))
            for choice in record["choices"]
        )
        lengths = tuple(len(str(choice).encode("utf-8")) for choice in record["choices"])
        questions.append(Question(spans, lengths, record["answer"], str(record.get("subject", ""))))
    return answer_all(judge, questions)


def question_prompt(judge: Judge, question: str) -> list[int]:
    """What stands before an answer: a user's turn, or, for a pretrained model, the text and a
    line break."""
    if judge.is_chat:
        return render_prompt(judge.tokenizer, [{"role": "user", "content": question}])
    return [judge.tokenizer.end_of_text_id, *judge.tokenizer.encode(question + "\n")]


def measure_idioms(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze with given words: the word that makes the whole text likeliest."""
    questions = []
    for record in records:
        spans = tuple(
            text_span(judge, record["content"].replace("#idiom#", word))
            for word in record["candidates"]
        )
        questions.append(Question(spans, (1,) * len(spans), int(record["answer"]), ""))
    return answer_all(judge, questions)


def measure_sentences(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze with given sentences: each blank for itself, the others filled rightly; the sentence
    and a little of what follows are judged, per byte."""
    questions = []
    for record in records:
        choices, answers = record["choices"], record["answers"]
        for blank, answer in enumerate(answers):
            before, after = record["context"].split(f"[BLANK{blank + 1}]")
            for other, right in enumerate(answers):
                before = before.replace(f"[BLANK{other + 1}]", choices[right])
                after = after.replace(f"[BLANK{other + 1}]", choices[right])
            head = text_span(judge, before).ids
            tails = [choice + after[:CHARACTERS_AFTER] for choice in choices]
            spans = tuple(Span([*head, *judge.tokenizer.encode(tail)], len(head)) for tail in tails)
            lengths = tuple(len(tail.encode("utf-8")) for tail in tails)
            questions.append(Question(spans, lengths, int(answer), ""))
    return answer_all(judge, questions)


def measure_words(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """Cloze without given words: the right one among those of nine other records (drawn from a
    fixed seed); the passage and the filled query are judged."""
    words = sorted({record["answer"] for record in records})
    draw = random.Random(1)
    questions = []
    for record in records:
        others = [word for word in words if word != record["answer"]]
        candidates = [record["answer"], *draw.sample(others, min(DISTRACTORS, len(others)))]
        spans = tuple(
            text_span(judge, f"{record['passage']}\n{record['query']}".replace(record["blank"], w))
            for w in candidates
        )
        lengths = tuple(len(word.encode("utf-8")) for word in candidates)
        questions.append(Question(spans, (1,) * len(lengths), 0, str(record.get("source", ""))))
    return answer_all(judge, questions)


def text_span(judge: Judge, text: str) -> Span:
    """A whole text, as after the border of a document."""
    return Span([judge.tokenizer.end_of_text_id, *judge.tokenizer.encode(text)], 1)


def answer_all(judge: Judge, questions: Sequence[Question]) -> list[Outcome]:
    """1 where the right candidate is the likeliest, 0 where it is not; equal ones share the
    point."""
    found = iter(log_likelihoods(judge, [span for q in questions for span in q.spans]))
    outcomes = []
    for question in questions:
        scores = [next(found) / length for length in question.lengths]
        best = max(scores)
        winners = [number for number, value in enumerate(scores) if value == best]
        point = 1 / len(winners) if question.answer in winners else 0.0
        outcomes.append(Outcome(question.group, point))
    return outcomes


def measure_repetition(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """The share of 4-grams of tokens that a free continuation had written before."""
    outcomes = []
    for record, ids in zip(records, continuations(judge, path, records), strict=True):
        grams = list(zip(*(ids[n:] for n in range(4)), strict=False))
        repeated = len(grams) - len(set(grams))
        outcomes.append(Outcome(str(record.get("lang", "")), repeated, len(grams)))
    return outcomes


def measure_distinct(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[Outcome]:
    """The share of different ones among the pairs of tokens of each free continuation (distinct-2,
    arXiv 1510.03055)."""
    outcomes = []
    for record, ids in zip(records, continuations(judge, path, records), strict=True):
        pairs = list(pairwise(ids))
        outcomes.append(Outcome(str(record.get("lang", "")), len(set(pairs)), len(pairs)))
    return outcomes


def continuations(judge: Judge, path: Path, records: list[dict[str, Any]]) -> list[list[int]]:
    """What the model writes to each prompt, with the sampling of a chat and fixed seeds."""
    if path not in judge.written:
        sampling = SamplingConfig(max_tokens=CONTINUATION_TOKENS, seed=1)
        room = judge.context - CONTINUATION_TOKENS
        prompts = [question_prompt(judge, record["prompt"])[-room:] for record in records]
        stops = judge.tokenizer.stop_ids if judge.is_chat else (judge.tokenizer.end_of_text_id,)
        made = generate_batch(judge.model, prompts, sampling, stops)
        judge.written[path] = [generation.ids for generation in made]
    return judge.written[path]


def share_of(*keys: str) -> Callable[[list[dict[str, Any]]], float]:
    """Chance: one over the number of candidates, over all records."""

    def chance(records: list[dict[str, Any]]) -> float:
        sizes = [len(record[key]) for record in records for key in keys]
        return sum(1 / size for size in sizes) / len(sizes)

    return chance


MEASURES = (
    Measure("bits per byte", ("text",), "lower", measure_texts),
    Measure("bits per byte", ("conversations",), "lower", measure_conversations),
    Measure("minimal pairs", ("good", "bad"), "higher", measure_pairs, lambda records: 0.5),
    Measure(
        "multiple choice",
        ("question", "choices", "answer"),
        "higher",
        measure_choices,
        share_of("choices"),
    ),
    Measure(
        "cloze",
        ("content", "candidates", "answer"),
        "higher",
        measure_idioms,
        share_of("candidates"),
    ),
    Measure(
        "cloze", ("context", "choices", "answers"), "higher", measure_sentences, share_of("choices")
    ),
    Measure(
        "cloze",
        ("passage", "query", "answer", "blank"),
        "higher",
        measure_words,
        lambda records: 1 / (1 + min(DISTRACTORS, len({r["answer"] for r in records}) - 1)),
    ),
    Measure("repeated 4-grams", ("prompt",), "lower", measure_repetition),
    Measure("distinct 2-grams", ("prompt",), "higher", measure_distinct),
)
"""The kinds of files; the first whose keys a record has, and others of the same keys."""
